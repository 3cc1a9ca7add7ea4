import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { X509Certificate } from "node:crypto";
import {
  type Address,
  DeguError,
  type PeerCertificate,
  ProtocolError,
  type Socket,
} from "@degu/degu/base";
import { Client, SSLClient } from "@degu/degu/client";
import type { Session } from "@degu/degu/server";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { unusedPort } from "@degu/testing/ports.ts";
import { RawPeer, RawServer, within } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { sharedPki, startTls } from "@degu/testing/tls_endpoints.ts";
import { serveRaw } from "@degu/testing/raw_tls.ts";

const pki = await sharedPki();

/** Relays a connection; what the server sends after its first words arrives at once, with its end. */
async function relayAtOnce(relay: RawServer, address: Address): Promise<void> {
  const client = await relay.accept();
  using server = await RawPeer.connect(address);
  const flight = new Uint8Array(65536);
  const pass = async (from: RawPeer, to: RawPeer) => {
    const count = await within(from.conn.read(flight), "the handshake goes on") ?? 0;
    await to.send(flight.slice(0, count));
  };
  await pass(client, server);
  await pass(server, client);
  await pass(client, server);
  await client.send((await server.readToEnd()).received);
  await client.closeWrite();
}

Deno.test("a client receives the response of a server that sends much with the handshake and disconnects", async () => {
  const answer = new Uint8Array(200_000);
  new TextEncoder().encodeInto("HTTP/1.1 200 OK\r\ncontent-length: 400000\r\n\r\n", answer);
  // In TLS 1.2 the last word of the handshake is the server's.
  const options = { maxVersion: "TLSv1.2" } as const;
  await using server = await serveRaw(pki, (socket) => void socket.end(answer), options);
  using relay = new RawServer();
  const relayed = relayAtOnce(relay, server.address);
  using conn = await new SSLClient(pki.clientSslconfig, relay.address, { timeout: 30 }).connect();
  const exchange = async () => await (await conn.get("/")).body?.bytes();
  await within(assertRejects(exchange, DeguError), "the client hears that the server is gone");
  await relayed;
});

Deno.test("timeout and signal limit every phase of connecting over TLS", async (t) => {
  using silent = new RawServer();
  await t.step("a server that never answers the handshake", async () => {
    const client = new SSLClient(pki.clientSslconfig, silent.address, { timeout: 0.1 });
    const error = await assertRejects(() => client.connect(), Deno.errors.TimedOut);
    assertMatch(error.message, /^the TLS handshake with 127\.0\.0\.1:\d+ took over 0\.1 s$/);
    await (await silent.accept()).readToEnd();
  });
  await t.step("aborted within the handshake", async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const client = new SSLClient(pki.clientSslconfig, silent.address, { signal });
    const connecting = client.connect();
    const peer = await silent.accept();
    await peer.readExactly(1);
    controller.abort(new Error("enough"));
    await assertRejects(() => connecting, Error, "enough");
    await peer.readToEnd();
  });
  await t.step("aborted before", async () => {
    const signal = AbortSignal.abort(new Error("never"));
    const client = new SSLClient(pki.clientSslconfig, silent.address, { signal });
    await assertRejects(() => client.connect(), Error, "never");
  });
  await t.step("aborted later", async () => {
    const controller = new AbortController();
    const { signal } = controller;
    await using endpoint = await startTls(pki, () => new Promise(() => {}), { client: { signal } });
    using conn = await endpoint.client.connect();
    const asking = conn.get("/");
    controller.abort(new Error("enough"));
    await assertRejects(() => asking, Error, "enough");
    assert(conn.closed);
  });
});

Deno.test("a connection error has the same class as that of a plain client", async (t) => {
  const port = await unusedPort();
  const rows: readonly [Address, new () => Error][] = [
    [["127.0.0.1", port], Deno.errors.ConnectionRefused],
    [["::1", port, 0, 1], Error],
    ["/tmp/degu-no-such-socket", Deno.errors.NotFound],
    [new TextEncoder().encode("\0degu-nobody"), Deno.errors.ConnectionRefused],
  ];
  for (const [address, Class] of rows) {
    await t.step(Deno.inspect(address), async () => {
      const client = new SSLClient(pki.clientSslconfig, address, { timeout: 10 });
      assertInstanceOf(await assertRejects(() => client.connect()), Class);
    });
  }
});

Deno.test("both ends report the certificate and the addresses of the other", async () => {
  const sessions: Session[] = [];
  const socks: Socket[] = [];
  const app = {
    onConnect(session: Session, sock: Socket) {
      sessions.push(session);
      socks.push(sock);
      return true;
    },
    handle: () => [204, "No Content", {}, null] as const,
  };
  await using endpoint = await startTls(pki, app);
  using conn = await endpoint.client.connect();
  assertEquals((await conn.get("/")).status, 204);
  const [session] = sessions;
  assertStrictEquals(socks[0]?.peerCertificate, session?.peerCertificate);
  const assertDescribes = async (
    certificate: PeerCertificate | null | undefined,
    path: string,
    names: string[],
  ) => {
    const expected = new X509Certificate(await Deno.readTextFile(path));
    assertEquals([certificate?.subject, certificate?.subjectAltNames], [expected.subject, names]);
    assertEquals(certificate?.raw, new Uint8Array(expected.raw));
  };
  await assertDescribes(conn.sock.peerCertificate, pki.serverSslconfig.certFile, [
    "DNS:localhost",
    "IP Address:127.0.0.1",
    "IP Address:::1",
  ]);
  await assertDescribes(session?.peerCertificate, pki.clientSslconfig.certFile!, []);
  const { localAddr, remoteAddr } = conn.sock;
  assertEquals([socks[0]?.remoteAddr, socks[0]?.localAddr], [localAddr, remoteAddr]);
  assertEquals(session?.address, ["127.0.0.1", (localAddr as Deno.NetAddr).port]);
  const port = Number(endpoint.server.address[1]);
  assertEquals(remoteAddr, { transport: "tcp", hostname: "127.0.0.1", port });
});

Deno.test("a truncated response is an error, whether or not TLS was closed cleanly", async (t) => {
  const cuts = { "close_notify": "end", "no close_notify": "destroy" } as const;
  const messages: readonly [string, string, code: string][] = [
    ["nothing", "", "EMPTY_PREAMBLE"],
    ["a preamble", "HTTP/1.1 200 OK\r\ncontent-le", "PREAMBLE_INCOMPLETE"],
    ["a body", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello", "BODY_INCOMPLETE"],
    [
      "a chunk",
      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\na\r\nhello",
      "BODY_INCOMPLETE",
    ],
  ];
  for (const [how, method] of Object.entries(cuts)) {
    for (const [what, text, code] of messages) {
      await t.step(`${what}, ${how}`, async () => {
        await using server = await serveRaw(pki, (socket) => {
          socket.once("data", () => {
            if (text === "") socket[method]();
            else socket.write(text, () => socket[method]());
          });
        });
        using conn = await server.client.connect();
        const error = await assertRejects(async () => await (await conn.get("/")).body?.bytes());
        assertInstanceOf(error, ProtocolError);
        assertEquals(error.code, code);
        assert(conn.closed);
      });
    }
  }
});

Deno.test("if only one end speaks TLS, neither waits for a timeout", async (t) => {
  const app = () => [200, "OK", {}, null] as const;
  const options = { timeout: null };
  await t.step("an SSLClient at a server without TLS", async () => {
    await using serving = serve(app, options);
    const client = new SSLClient(pki.clientSslconfig, serving.address, options);
    const failed = await within(rejectionOf(client.connect(), "connecting"), "an error");
    assertInstanceOf(failed, Error);
    assertMatch(failed.message, /^the TLS handshake with 127\.0\.0\.1:\d+ failed: /);
    const [line = ""] = await serving.logger.waitFor("info");
    assertMatch(line, /the client seems to speak TLS/);
  });
  await t.step("a client without TLS at an SSLServer", async () => {
    await using endpoint = await startTls(pki, app, { server: options });
    const client = new Client(endpoint.server.address, options);
    const failed = await within(rejectionOf(client.request("GET", "/"), "a request"), "an error");
    assertInstanceOf(failed, ProtocolError);
    await endpoint.logger.waitFor("info");
  });
});

Deno.test("the modules for TLS are loaded only when they are needed", async () => {
  for (const folder of ["net", "net/tls"]) {
    const directory = new URL(`../../../${folder}/`, import.meta.url);
    for await (const { name, isFile } of Deno.readDir(directory)) {
      if (!isFile) continue;
      const text = await Deno.readTextFile(new URL(name, directory));
      for (const [line] of text.matchAll(/^import .* from "node:.*$/gm)) {
        assertMatch(line, /^import type /, `${folder}/${name} loads a module at start`);
      }
    }
  }
});
