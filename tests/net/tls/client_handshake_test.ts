import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { X509Certificate } from "node:crypto";
import * as net from "node:net";
import * as tls from "node:tls";
import {
  type Address,
  ConnectionClosedError,
  DeguError,
  type PeerCertificate,
  ProtocolError,
  type Socket,
} from "@degu/degu/base";
import { Client, SSLClient } from "@degu/degu/client";
import { TempPKI } from "@degu/internal/misc/pki.ts";
import type { Request, Session } from "@degu/degu/server";
import { hasIPv6 } from "@degu/testing/endpoints.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { runScript } from "@degu/testing/processes.ts";
import { RawPeer, RawServer, within } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { startTls } from "@degu/testing/tls_endpoints.ts";

/** A server of `node:tls` for one connection, with the certificates of a PKI. */
async function serveRaw(
  pki: TempPKI,
  handle: (socket: tls.TLSSocket) => void,
  options: tls.TlsOptions = {},
) {
  const { caFile = "", certFile, keyFile } = pki.serverSslconfig;
  const server = tls.createServer({
    ca: await Deno.readTextFile(caFile),
    cert: await Deno.readTextFile(certFile),
    key: await Deno.readTextFile(keyFile),
    requestCert: true,
    rejectUnauthorized: true,
    ...options,
  }, (socket) => {
    socket.on("error", () => {});
    handle(socket);
  });
  const sockets = new Set<{ destroy(): void }>();
  server.on("connection", (socket) => sockets.add(socket));
  const listening = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", () => listening.resolve());
  await listening.promise;
  const address: Address = ["127.0.0.1", (server.address() as net.AddressInfo).port];
  return {
    address,
    client: new SSLClient(pki.clientSslconfig, address, { timeout: 10 }),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      const closed = Promise.withResolvers<void>();
      server.close(() => closed.resolve());
      await within(closed.promise, "node:tls closes");
    },
  };
}

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

Deno.test("a client hears of a server that sends much with the handshake, and is gone before it is read", async () => {
  await using pki = await TempPKI.create();
  const answer = new Uint8Array(200_000);
  new TextEncoder().encodeInto("HTTP/1.1 200 OK\r\ncontent-length: 400000\r\n\r\n", answer);
  // In TLS 1.2 the last word of the handshake is the server's.
  const options = { maxVersion: "TLSv1.2" } as const;
  await using server = await serveRaw(pki, (socket) => void socket.end(answer), options);
  using relay = new RawServer();
  const relayed = relayAtOnce(relay, server.address);
  using conn = await new SSLClient(pki.clientSslconfig, relay.address, { timeout: 30 }).connect();
  const exchange = async () => await (await conn.get("/")).body?.bytes();
  await within(assertRejects(exchange, DeguError), "the client hears that the server is gone", 2);
  await relayed;
});

Deno.test("connecting over TLS is bounded by timeout and by signal, in each phase", async (t) => {
  await using pki = await TempPKI.create();
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

Deno.test("an error of connecting has the class that a plain client's has", async (t) => {
  await using pki = await TempPKI.create();
  const free = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = free.addr;
  free.close();
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
  await t.step("a server that speaks no TLS", async () => {
    using server = new RawServer();
    const client = new SSLClient(pki.clientSslconfig, server.address, { timeout: 10 });
    const connecting = client.connect();
    const peer = await server.accept();
    await peer.readExactly(1);
    await peer.send("HTTP/1.1 400 Bad Request\r\n\r\n");
    const error = await assertRejects(() => connecting, Error, "the TLS handshake with 127.0.0.1:");
    assertMatch(error.message, /corrupt message/);
  });
  await t.step("a server that closes", async () => {
    using server = new RawServer();
    const client = new SSLClient(pki.clientSslconfig, server.address, { timeout: 10 });
    const connecting = client.connect();
    (await server.accept()).close();
    await assertRejects(() => connecting, Error, "failed: the peer closed the connection");
  });
});

Deno.test("both ends tell the certificate of the other", async () => {
  await using pki = await TempPKI.create();
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
    assertEquals(certificate?.subject, expected.subject);
    assertEquals(certificate?.issuer, expected.issuer);
    assertEquals(certificate?.subjectAltNames, names);
    assertEquals(certificate?.fingerprint256, expected.fingerprint256);
    assertEquals(certificate?.validFrom, new Date(expected.validFrom));
    assertEquals(certificate?.validTo, new Date(expected.validTo));
    assertEquals(certificate?.raw, new Uint8Array(expected.raw));
  };
  await assertDescribes(conn.sock.peerCertificate, pki.serverSslconfig.certFile, [
    "DNS:localhost",
    "IP Address:127.0.0.1",
    "IP Address:::1",
  ]);
  await assertDescribes(session?.peerCertificate, pki.clientSslconfig.certFile!, []);
  const local = conn.sock.localAddr as Deno.NetAddr;
  assertEquals(session?.address, ["127.0.0.1", local.port]);
  assertEquals(conn.sock.remoteAddr, {
    transport: "tcp",
    hostname: "127.0.0.1",
    port: endpoint.server.address[1],
  });
});

Deno.test("a response that is cut is an error, whether or not the cut says it is an end", async (t) => {
  await using pki = await TempPKI.create();
  const cuts = { "close_notify": "end", "no close_notify": "destroy" } as const;
  const messages: readonly [string, string, code: string][] = [
    ["nothing", "", "EMPTY_PREAMBLE"],
    ["a preamble", "HTTP/1.1 200 OK\r\ncontent-le", "PREAMBLE_INCOMPLETE"],
    [
      "a body",
      "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
      "BODY_INCOMPLETE",
    ],
    [
      "a chunk",
      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\na\r\nhello",
      "BODY_INCOMPLETE",
    ],
    [
      "the chunks but the last",
      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
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

Deno.test("where one end speaks TLS and the other does not, neither waits for a time-out", async (t) => {
  await using pki = await TempPKI.create();
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
  await t.step("a client without TLS at a server that only sends an alert", async () => {
    using server = new RawServer();
    const failing = rejectionOf(
      new Client(server.address, options).request("GET", "/"),
      "a request",
    );
    const peer = await server.accept();
    await peer.readPreamble();
    await peer.send("\x15\x03\x03\x00\x02\x02\x16");
    const failed = await within(failing, "an error");
    assertInstanceOf(failed, ProtocolError);
    assertMatch(failed.message, /the server seems to speak TLS/);
  });
});

/** The files of a client, for `tls.connect`. */
async function readIdentity({ clientSslconfig }: TempPKI) {
  const { caFile, certFile = "", keyFile = "" } = clientSslconfig;
  return {
    ca: await Deno.readTextFile(caFile),
    cert: await Deno.readTextFile(certFile),
    key: await Deno.readTextFile(keyFile),
    checkServerIdentity: () => undefined,
  };
}

Deno.test("a client that has said everything and ends its side is still answered", async () => {
  await using pki = await TempPKI.create();
  const body = new Uint8Array(300_000).fill(120);
  await using endpoint = await startTls(pki, () => [200, "OK", {}, body]);
  const below = net.connect({
    host: "127.0.0.1",
    port: Number(endpoint.server.address[1]),
    allowHalfOpen: true,
  });
  const closed = Promise.withResolvers<void>();
  const socket = tls.connect({ socket: below, ...await readIdentity(pki) }, () => {
    socket.end("GET / HTTP/1.1\r\n\r\n");
  });
  let answer = "";
  socket.on("data", (piece: Uint8Array) => answer += String(piece));
  socket.on("close", () => closed.resolve());
  await within(closed.promise, "the server ends its side too");
  assertEquals(answer, `HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n${"x".repeat(300_000)}`);
});

Deno.test("a request that is cut never reaches the application as a whole", async (t) => {
  await using pki = await TempPKI.create();
  const bodies: unknown[] = [];
  await using endpoint = await startTls(pki, async (request) => {
    try {
      bodies.push(await request.body?.bytes());
    } catch (error) {
      bodies.push(error);
    }
    return [204, "No Content", {}, null];
  });
  const port = Number(endpoint.server.address[1]);
  const options = { host: "127.0.0.1", port, ...await readIdentity(pki) };
  for (const method of ["end", "destroy"] as const) {
    await t.step(method === "end" ? "with close_notify" : "without close_notify", async () => {
      bodies.length = 0;
      endpoint.logger.lines.length = 0;
      const closed = Promise.withResolvers<void>();
      const socket = tls.connect(options, () => {
        socket.write("POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\nhello", () => socket[method]());
      });
      let answer = "";
      socket.on("data", (piece: Uint8Array) => answer += String(piece));
      socket.on("error", () => {});
      socket.on("close", () => closed.resolve());
      await endpoint.logger.waitFor("info");
      await within(closed.promise, "the connection ends");
      assertEquals(answer, "");
      assertEquals(bodies.length, 1);
      assertInstanceOf(bodies[0], ProtocolError);
    });
  }
});

/** Sends until nothing has been taken for a while, and goes on where something is taken again. */
function flood(socket: tls.TLSSocket): { sent(): number; stuck(): Promise<void> } {
  const piece = new Uint8Array(65536);
  let sent = 0;
  const send = () => {
    while (!socket.destroyed && socket.writableLength < 1_000_000) {
      socket.write(piece, () => sent += piece.length);
    }
  };
  socket.on("drain", send);
  send();
  return {
    sent: () => sent,
    async stuck() {
      for (let before = -1; before !== sent;) {
        before = sent;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    },
  };
}

/** More than the buffers of the kernel and ours hold, and far less than a peer sends in that time. */
const MOST_UNREAD = 32_000_000;

Deno.test("a server that sends without end does not fill the memory of a client that does not read", async () => {
  await using pki = await TempPKI.create();
  const flooding = Promise.withResolvers<ReturnType<typeof flood>>();
  await using server = await serveRaw(pki, (socket) => {
    socket.once("data", () => {
      socket.write("HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n");
      flooding.resolve(flood(socket));
    });
  });
  using conn = await server.client.connect();
  const response = await conn.get("/");
  const { sent, stuck } = await flooding.promise;
  await within(stuck(), "the server has to wait");
  const unread = sent();
  assert(unread < MOST_UNREAD, `${unread} bytes were taken that nobody has read`);
  for (let read = 0; read < MOST_UNREAD;) read += (await response.body!.read(1_000_000)).length;
  assert(sent() > unread, "reading did not let the server go on");
});

Deno.test("a client that sends without end does not fill the memory of a server that does not read", async (t) => {
  await using pki = await TempPKI.create();
  const identity = await readIdentity(pki);
  const addresses: Record<string, Address> = {
    "over a socket of node:net": ["127.0.0.1", 0],
    "over a connection of Deno": ["::1", 0, 0, 1],
  };
  for (const [how, address] of Object.entries(addresses)) {
    await t.step({
      name: how,
      ignore: address[0] === "::1" && !hasIPv6,
      fn: async () => {
        const reading = Promise.withResolvers<void>();
        const read = Promise.withResolvers<void>();
        const app = async (request: Request) => {
          await reading.promise;
          for (let count = 0; count < MOST_UNREAD;) {
            count += (await request.body!.read(1_000_000)).length;
          }
          read.resolve();
          return [503, "Service Unavailable", {}, null] as const;
        };
        await using endpoint = await startTls(pki, app, {}, address);
        const [host, port] = endpoint.server.address as [string, number];
        const connected = Promise.withResolvers<void>();
        const closed = Promise.withResolvers<void>();
        const socket = tls.connect({ host, port, ...identity }, () => connected.resolve());
        socket.on("error", () => {});
        socket.on("close", () => closed.resolve());
        await connected.promise;
        socket.write("POST / HTTP/1.1\r\ncontent-length: 1073741824\r\n\r\n");
        const { sent, stuck } = flood(socket);
        await within(stuck(), "the client has to wait");
        const unread = sent();
        assert(unread < MOST_UNREAD, `${unread} bytes were taken that nobody has read`);
        reading.resolve();
        await within(read.promise, "the application gets the bytes");
        assert(sent() > unread, "reading did not let the client go on");
        socket.destroy();
        await within(closed.promise, "the client is closed");
      },
    });
  }
});

Deno.test("close() ends what waits on a TLS socket, and using it later fails", async () => {
  await using pki = await TempPKI.create();
  await using server = await serveRaw(pki, () => {});
  const sock = await server.client.createSocket();
  const reading = assertRejects(() => sock.read(new Uint8Array(10)), Deno.errors.Interrupted);
  await assertRejects(() => sock.read(new Uint8Array(10)), Deno.errors.Busy);
  assertEquals(await sock.write(new Uint8Array(0)), 0);
  const piece = new Uint8Array(1_000_000);
  const writing = assertRejects(async () => {
    // Nobody reads, so that a write has to wait at some time.
    for (;;) await sock.write(piece);
  }, Deno.errors.Interrupted);
  assertEquals(await Promise.race([writing, Promise.resolve("waits")]), "waits");
  await new Promise((resolve) => setTimeout(resolve));
  sock.close();
  sock.close();
  await Promise.all([reading, writing]);
  await assertRejects(() => sock.read(new Uint8Array(1)), Deno.errors.BadResource);
  await assertRejects(() => sock.write(new Uint8Array(1)), Deno.errors.BadResource);
});

Deno.test("a connection is closed by close(), and its other requests reject", async () => {
  await using pki = await TempPKI.create();
  await using server = await serveRaw(pki, () => {});
  using conn = await server.client.connect();
  const asking = conn.get("/");
  conn.close();
  await assertRejects(() => asking, ConnectionClosedError);
  await assertRejects(() => conn.get("/"), ConnectionClosedError);
});

Deno.test("an idle TLS connection and an idle TLS server keep no process alive", async () => {
  await using pki = await TempPKI.create();
  await using server = await serveRaw(pki, () => {});
  const script = `
    import { SSLClient } from "./client.ts";
    import { SSLServer } from "./server.ts";
    const { address, clientSslconfig, serverSslconfig } = JSON.parse(Deno.env.get("CONFIG"));
    const server = new SSLServer(serverSslconfig, ["127.0.0.1", 0], () => {});
    await server.ready;
    globalThis.kept = [server, await new SSLClient(clientSslconfig, address).connect()];
    console.log("connected");
  `;
  const { clientSslconfig, serverSslconfig } = pki;
  const config = { address: server.client.address, clientSslconfig, serverSslconfig };
  const running = runScript(
    script,
    ["--allow-net=127.0.0.1", "--allow-read", "--allow-env=CONFIG"],
    { CONFIG: JSON.stringify(config) },
  );
  assertEquals(await within(running, "the process ends by itself"), "connected\n");
});

Deno.test("what TLS needs is loaded when it is needed, and not before", async () => {
  for (const folder of ["net", "net/tls"]) {
    for await (
      const { name, isFile } of Deno.readDir(new URL(`../../../${folder}/`, import.meta.url))
    ) {
      if (!isFile) continue;
      const text = await Deno.readTextFile(new URL(`../../../${folder}/${name}`, import.meta.url));
      for (const [line] of text.matchAll(/^import .* from "node:.*$/gm)) {
        assertMatch(line, /^import type /, `${folder}/${name} loads a module at start`);
      }
    }
  }
});
