import { assert, assertEquals, assertInstanceOf, assertMatch, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { type Address, DeguError, EmptyPreambleError } from "@degu/degu/base";
import { SSLClient } from "@degu/degu/client";
import { createDevicePki } from "@degu/degu/device";
import { type App, SSLServer } from "@degu/degu/server";
import { tempDir } from "@degu/testing/directories.ts";
import { hasIPv6 } from "@degu/testing/endpoints.ts";
import { runScript } from "@degu/testing/processes.ts";
import { RawPeer, within } from "@degu/testing/raw_peer.ts";
import { eachRow } from "@degu/testing/rows.ts";
import { readTexts } from "@degu/testing/tls_configs.ts";
import { sharedPki, startTls } from "@degu/testing/tls_endpoints.ts";
import { opensslTest } from "@degu/testing/tls_openssl.ts";
import * as fc from "fast-check";

const pki = await sharedPki();

const noContent: App = () => [204, "No Content", {}, null];

Deno.test("SSLServer and SSLClient work with scoped addresses, which node:net can't reach", async (t) => {
  if (!hasIPv6) return console.warn("there is no IPv6: skipped");
  const length = 1_000_000;
  const app: App = async (request, session) => {
    assertEquals(session.peerCertificate?.subject, "CN=TempPKI client");
    const body = await request.body?.bytes();
    return [200, "OK", {}, body ?? null];
  };
  // The index of the loopback interface, wherever there is one.
  const scope = 1;
  const rows: readonly [string, Address, (address: Address) => Address][] = [
    ["the server's", ["::1", 0, 0, scope], (address) => ["::1", Number(address[1])]],
    ["the client's", ["::1", 0], (address) => ["::1", Number(address[1]), 0, scope]],
    ["both", ["::1", 0, 0, scope], (address) => address],
  ];
  await eachRow(t, rows, async (_which, address, translate) => {
    await using endpoint = await startTls(pki, app, {}, address, translate);
    using conn = await endpoint.client.connect();
    const body = crypto.getRandomValues(new Uint8Array(65536));
    for (let i = 0; i < 2; i++) {
      const response = await conn.post("/", {}, body);
      assertEquals(await response.body?.bytes(), body);
    }
    const long = new Uint8Array(length).fill(7);
    assertEquals((await (await conn.put("/", {}, long)).body?.bytes())?.length, length);
    conn.close();
    await endpoint.server.shutdown();
  });
});

Deno.test("a peer that sends one byte at a time does not extend the time for its handshake", async () => {
  await using endpoint = await startTls(pki, noContent, { server: { timeout: 0.3 } });
  using slow = await RawPeer.connect(endpoint.server.address);
  const hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
  const refused = endpoint.logger.waitFor("info");
  let over = false;
  refused.then(() => over = true);
  for (let i = 0; !over && i < 100; i++) {
    await slow.send(Uint8Array.of(hello[i] ?? 0)).catch(() => over = true);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assertMatch((await refused)[0]!, /the TLS handshake took over 0\.3 s/);
});

Deno.test("a connection without TLS is refused without a byte of HTTP, and logged once", async () => {
  let requests = 0;
  const app: App = () => (requests++, [204, "No Content", {}, null]);
  await using endpoint = await startTls(pki, app, { server: { timeout: 2 } });
  const assertRefused = async (bytes: Uint8Array | string) => {
    endpoint.logger.lines.length = 0;
    using peer = await RawPeer.connect(endpoint.server.address);
    await peer.send(bytes).catch(() => {});
    await peer.closeWrite().catch(() => {});
    const { received } = await peer.readToEnd();
    assert(!received.includes("HTTP"), received);
    const [line, ...more] = await endpoint.logger.waitFor("info");
    assertEquals(more, []);
    assertMatch(line!, /^127\.0\.0\.1:\d+: the handshake failed: [\x20-\x7e]+$/);
  };
  for (const bytes of ["GET / HTTP/1.1\r\n\r\n", ""]) await assertRefused(bytes);
  const any = fc.uint8Array({ minLength: 1, maxLength: 300 });
  const record = fc.tuple(fc.constantFrom(0x14, 0x15, 0x16, 0x17, 0x80), any)
    .map(([type, rest]) => Uint8Array.of(type, 3, 1, ...rest));
  const property = fc.asyncProperty(fc.oneof(any, record), assertRefused);
  await fc.assert(property, { numRuns: 60 });
  assertEquals(requests, 0);
  assertEquals((await endpoint.client.request("GET", "/")).status, 204);
});

Deno.test("each session has the certificate of its own client, however many connect at the same time", async () => {
  await using dir = await tempDir();
  const names = ["one", "two", "stranger"];
  const devices = await Promise.all(names.map((name) => createDevicePki(dir.path, name)));
  const [one, two] = devices;
  const texts = await Promise.all([one!, two!].map(({ caFile }) => Deno.readTextFile(caFile)));
  const caFile = join(dir.path, "trusted.pem");
  await Deno.writeTextFile(caFile, texts.join(""));
  const own = { certFile: one!.certFile, keyFile: one!.keyFile };
  const trust = { serverSslconfig: { ...own, caFile }, clientSslconfig: { caFile: one!.caFile } };
  await using endpoint = await startTls(trust, (_request, { peerCertificate }) => {
    return [200, "OK", { name: peerCertificate?.subjectAltNames.join() ?? "nobody" }, null];
  });
  const options = { sslHost: "one", timeout: 10 };
  const clients = devices.map(({ certFile, keyFile }) => {
    const sslconfig = { certFile, keyFile, caFile: one!.caFile };
    return new SSLClient(sslconfig, endpoint.server.address, options);
  });
  const knock = async (index: number): Promise<string> => {
    try {
      using conn = await clients[index % 3]!.connect();
      return String((await conn.get("/")).headers["name"]);
    } catch (error) {
      assertInstanceOf(error, EmptyPreambleError);
      return "refused";
    }
  };
  for (let round = 0; round < 3; round++) {
    const got = await Promise.all(Array.from({ length: 24 }, (_, index) => knock(index)));
    assertEquals(got, Array.from({ length: 8 }, () => ["DNS:one", "DNS:two", "refused"]).flat());
  }
  assertEquals(endpoint.logger.at("info").length, 24);
  for (const line of endpoint.logger.at("info")) {
    assertMatch(line, /client's certificate was refused/);
  }
});

Deno.test("an app receives requests of clients that send much with the handshake and disconnect", async () => {
  const clients = 10;
  let heard = 0;
  const allHeard = Promise.withResolvers<void>();
  const app: App = async ({ body }, { signal }) => {
    const aborted = new Promise((resolve) => signal.addEventListener("abort", resolve));
    await assertRejects(async () => await body?.bytes(), DeguError);
    if (!signal.aborted) await aborted;
    if (++heard === clients) allHeard.resolve();
    return [400, "Bad Request", {}, null];
  };
  await using endpoint = await startTls(pki, app, { server: { timeout: 30 } });
  const { ca, ...own } = await readTexts(pki.clientSslconfig);
  const trust = { hostname: "localhost", caCerts: [ca] };
  const port = Number(endpoint.server.address[1]);
  const upload = new Uint8Array(300_000);
  new TextEncoder().encodeInto("PUT / HTTP/1.1\r\ncontent-length: 400000\r\n\r\n", upload);
  for (let i = 0; i < clients; i++) {
    // It ends its handshake with the first write, so that all of it arrives at once.
    using peer = new RawPeer(await Deno.connectTls({ port, ...trust, ...own }));
    await peer.send(upload);
  }
  await within(allHeard.promise, "the app hears that every client is gone");
  await within(endpoint.server.shutdown(), "no session is left");
});

Deno.test("an address that can't be bound rejects ready and serveForever()", async (t) => {
  await using dir = await tempDir();
  const taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const file = join(dir.path, "file");
  await Deno.writeTextFile(file, "mine");
  const rows: readonly [string, Address, new () => Error][] = [
    ["a port that is taken", ["127.0.0.1", taken.addr.port], Deno.errors.AddrInUse],
    ["a path that exists", file, Deno.errors.AddrInUse],
    ["a path without directory", join(dir.path, "no", "socket"), Deno.errors.NotFound],
    ["an address of another machine", ["203.0.113.7", 0], Deno.errors.AddrNotAvailable],
    ["a scope of another machine", ["fe80::1", 0, 0, 1], Deno.errors.AddrNotAvailable],
  ];
  await eachRow(t, rows, async (_name, address, Class) => {
    await using server = new SSLServer(pki.serverSslconfig, address, noContent);
    const serving = server.serveForever();
    assertInstanceOf(await assertRejects(() => server.ready), Class);
    assertInstanceOf(await assertRejects(() => serving), Class);
    assertEquals(server.address, address);
  });
  await t.step("a missing permission", async () => {
    const script = `
      import { SSLServer } from "./server.ts";
      const server = new SSLServer(JSON.parse(Deno.env.get("CONFIG")), ["127.0.0.1", 0], () => {});
      const name = (error) => error.name;
      const serving = server.serveForever();
      console.log(await server.ready.catch(name), await serving.catch(name));
    `;
    const permissions = ["--allow-read", "--allow-env=CONFIG"];
    const env = { CONFIG: JSON.stringify(pki.serverSslconfig) };
    assertEquals(await runScript(script, permissions, env), "NotCapable NotCapable\n");
  });
  taken.close();
  assertEquals(await Deno.readTextFile(file), "mine");
});

Deno.test("a server closes at once, and its address is free", async (t) => {
  await using dir = await tempDir();
  const path = join(dir.path, "socket");
  const make = (address: Address) => new SSLServer(pki.serverSslconfig, address, noContent);
  await t.step("before it is bound", async () => {
    await using server = make(["127.0.0.1", 0]);
    const serving = server.serveForever();
    server.close();
    await within(server.ready, "ready settles");
    await within(serving, "serveForever() settles");
  });
  await t.step("a path", async () => {
    for (let i = 0; i < 2; i++) {
      await using server = make(path);
      const serving = server.serveForever();
      await server.ready;
      assert((await Deno.lstat(path)).isSocket);
      server.close();
      await within(serving, "serveForever() settles");
      await assertRejects(() => Deno.lstat(path), Deno.errors.NotFound);
    }
  });
});

opensslTest(
  "both ends accept a chain of authorities that have signed each other, and are trusted",
  async (openssl) => {
    const [a, b] = [await openssl.authority("a"), await openssl.authority("b")];
    const aByB = await openssl.authority("a_by_b", { keyOf: a, commonName: "a", issuer: b });
    const bByA = await openssl.authority("b_by_a", { keyOf: b, commonName: "b", issuer: a });
    const both = await openssl.join("both.pem", aByB.certFile, bByA.certFile);
    const client = await openssl.client("client", { issuer: a });
    const server = await openssl.server("server", { issuer: b });
    const sent = await openssl.join("client_sent.pem", client.certFile, aByB.certFile);
    const shown = await openssl.join("server_sent.pem", server.certFile, bByA.certFile);
    const trust = {
      serverSslconfig: { certFile: shown, keyFile: server.keyFile, caFile: both },
      clientSslconfig: {
        ...pki.clientSslconfig,
        caFile: both,
        certFile: sent,
        keyFile: client.keyFile,
      },
    };
    await using endpoint = await startTls(trust, () => [204, "No Content", {}, null]);
    assertEquals((await endpoint.client.request("GET", "/")).status, 204);
  },
);
