/**
 * Handshakes: early ends, the errors of clients and servers, optional certificates, and protocols.
 */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { join } from "@std/path";
import net from "node:net";
import {
  type Address,
  ConnectionError,
  EmptyPreambleError,
  type PeerCertificate,
  type Socket,
  TlsError,
} from "@degu/degu/base";
import { type ClientSslconfig, SSLClient, type SSLClientOptions } from "@degu/degu/client";
import {
  type App,
  buildServerSslctx,
  publicKey256,
  Server,
  type Session,
  SSLServer,
  type SSLServerOptions,
} from "@degu/degu/server";
import { TempPKI } from "@degu/internal/misc/pki.ts";
import { errorCodeOf } from "@degu/internal/internal/caught_errors.ts";
import { tlsError } from "@degu/internal/net/tls/errors.ts";
import { createIdentity } from "./certificates.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { hasIPv6 } from "../endpoints.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { runScript } from "@degu/testing/processes.ts";
import { patch } from "@degu/testing/patching.ts";
import { recordUnhandledRejections } from "@degu/testing/rejections.ts";
import { RawPeer, RawServer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { openSharedPki, serveRaw, startTls } from "@degu/testing/tls_endpoints.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { needsOpenssl, runWithInput } from "./tls_openssl.ts";
import * as fc from "fast-check";
import { describeTrust } from "@degu/testing/sessions.ts";

const pki = await openSharedPki();

Deno.test("timeout and signal limit every phase of connecting over TLS", async (t) => {
  using silentServer = new RawServer();
  await t.step("a server that never answers the handshake", async () => {
    const client = new SSLClient(pki.clientSslconfig, silentServer.address, { timeout: 0.1 });
    const error = await assertRejects(() => client.connect(), ConnectionError);
    assertEquals(error.fault, "timed out");
    assertMatch(error.message, /^the TLS handshake with 127\.0\.0\.1:\d+ took over 0\.1 s$/);
    await (await silentServer.accept()).readToEnd();
  });
  await t.step("aborted within the handshake", async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const client = new SSLClient(pki.clientSslconfig, silentServer.address, { signal });
    const connected = client.connect();
    const peer = await silentServer.accept();
    await peer.readExactly(1);
    controller.abort(new Error("enough"));
    await assertRejects(() => connected, Error, "enough");
    await peer.readToEnd();
  });
});

Deno.test("a truncated response is an error, with and without close_notify", async (t) => {
  const endMethods = { "close_notify": "end", "no close_notify": "destroy" } as const;
  const OK = "HTTP/1.1 200 OK\r\n";
  const messages: readonly [string, string, code: string][] = [
    ["no byte", "", "EMPTY_PREAMBLE"],
    ["a body", `${OK}content-length: 10\r\n\r\nhello`, "BODY_INCOMPLETE"],
    ["a chunk", `${OK}transfer-encoding: chunked\r\n\r\na\r\nhello`, "BODY_INCOMPLETE"],
  ];
  for (const [ending, method] of Object.entries(endMethods)) {
    for (const [messageName, text, code] of messages) {
      await t.step(`${messageName}, ${ending}`, async () => {
        await using server = await serveRaw(pki, (socket) => {
          socket.once("data", () => {
            if (text === "") socket[method]();
            else socket.write(text, () => socket[method]());
          });
        });
        using conn = await server.client.connect();
        const error = await assertRejects(async () => await (await conn.get("/")).body?.bytes());
        assertInstanceOf(error, ConnectionError);
        assertEquals(error.code, code);
        assert(conn.closed);
      });
    }
  }
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

// ───────────────────────── servers

const sendNoContent: App = () => [204, "No Content", {}, null];

Deno.test("SSLServer and SSLClient work with scoped addresses, which node:net doesn't support", async () => {
  if (!hasIPv6) return console.warn("there is no IPv6: skipped");
  const app: App = async ({ body }) => [200, "OK", {}, await body!.bytes()];
  // The scope 1 is the loopback interface.
  await using endpoint = await startTls(pki, app, {}, ["::1", 0, 0, 1], (address) => address);
  const body = crypto.getRandomValues(new Uint8Array(65536));
  const response = await endpoint.client.request("POST", "/", {}, body);
  assertEquals(await response.bytes(), body);
  await endpoint.server.shutdown();
});

Deno.test("sending one byte at a time doesn't extend the time limit of a handshake", async () => {
  await using endpoint = await startTls(pki, sendNoContent, { server: { timeout: 0.3 } });
  using slowPeer = await RawPeer.connect(endpoint.server.address);
  const clientHello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
  const refusalLogged = endpoint.logger.waitFor("info");
  let isRefused = false;
  refusalLogged.then(() => isRefused = true);
  for (let i = 0; !isRefused && i < 100; i++) {
    await slowPeer.send(Uint8Array.of(clientHello[i] ?? 0)).catch(() => isRefused = true);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assertMatch((await refusalLogged)[0]!, /the TLS handshake took over 0\.3 s/);
});

Deno.test("a TLS server refuses a connection without TLS without a byte of HTTP, and logs it once", async () => {
  let requestCount = 0;
  const app: App = () => (requestCount++, [204, "No Content", {}, null]);
  await using endpoint = await startTls(pki, app, { server: { timeout: 60 } });
  const assertRefused = async (bytes: Uint8Array | string) => {
    endpoint.logger.lines.length = 0;
    using peer = await RawPeer.connect(endpoint.server.address);
    await peer.send(bytes).catch(() => {});
    await peer.closeWrite().catch(() => {});
    const { received } = await peer.readToEnd();
    assert(!received.includes("HTTP"), received);
    const [line, ...otherLines] = await endpoint.logger.waitFor("info");
    assertEquals(otherLines, []);
    assertMatch(line!, /^127\.0\.0\.1:\d+: the handshake failed: [\x20-\x7e]+$/);
  };
  for (const bytes of ["GET / HTTP/1.1\r\n\r\n", ""]) await assertRefused(bytes);
  const anyBytes = fc.uint8Array({ minLength: 1, maxLength: 300 });
  const tlsRecord = fc.tuple(fc.constantFrom(0x14, 0x15, 0x16, 0x17, 0x80), anyBytes)
    .map(([type, content]) => Uint8Array.of(type, 3, 1, ...content));
  const property = fc.asyncProperty(fc.oneof(anyBytes, tlsRecord), assertRefused);
  await fc.assert(property, { numRuns: 60 });
  assertEquals(requestCount, 0);
  assertEquals((await endpoint.client.request("GET", "/")).status, 204);
});

Deno.test("each session has its own client's certificate, even if many clients connect at once", async () => {
  const [one, two, stranger] = ["one", "two", "stranger"].map(createIdentity);
  const trust = {
    serverSslconfig: { ...one!, ca: [one!.ca, two!.ca] },
    clientSslconfig: { ca: one!.ca },
  };
  await using endpoint = await startTls(trust, (_request, { peerCertificate }) => {
    return [200, "OK", { name: peerCertificate?.subjectAltNames.join() ?? "none" }, null];
  });
  const options = { sslHost: "one", timeout: 10 };
  const clients = [one, two, stranger].map((identity) =>
    new SSLClient({ ...identity!, ca: one!.ca }, endpoint.server.address, options)
  );
  const requestName = async (index: number): Promise<string> => {
    try {
      using conn = await clients[index % 3]!.connect();
      return String((await conn.get("/")).headers["name"]);
    } catch (error) {
      assertInstanceOf(error, EmptyPreambleError);
      return "refused";
    }
  };
  for (let round = 0; round < 3; round++) {
    const names = await Promise.all(Array.from({ length: 24 }, (_, index) => requestName(index)));
    assertEquals(names, Array.from({ length: 8 }, () => ["DNS:one", "DNS:two", "refused"]).flat());
  }
  assertEquals(endpoint.logger.messagesOf("info").length, 24);
  for (const line of endpoint.logger.messagesOf("info")) {
    assertMatch(line, /client's certificate was refused/);
  }
});

Deno.test("a client sends the DNS name that it checks in lower case, and no IP address", async () => {
  for (const [sslHost, isSent] of [["Device.Example", true], ["192.0.2.7", false]] as const) {
    using server = new RawServer();
    const client = new SSLClient(pki.clientSslconfig, server.address, { sslHost });
    const failing = catchRejection(client.connect(), "a handshake");
    using peer = await server.accept();
    const header = await peer.readExactly(5);
    const hello = await peer.readExactly(256 * header.charCodeAt(3) + header.charCodeAt(4));
    assertEquals(hello.includes(sslHost.toLowerCase()), isSent);
    peer.close();
    await failing;
  }
});

Deno.test("a socket over TLS has the addresses of both ends", async () => {
  await using endpoint = await startTls(pki, sendNoContent);
  const [hostname, port] = endpoint.server.address as [string, number];
  const socket = await endpoint.client.createSocket();
  assertEquals(socket.remoteAddr, { transport: "tcp", hostname, port });
  assertEquals((socket.localAddr as Deno.NetAddr).hostname, hostname);
  socket.close();
});

Deno.test("the error for a path without a socket has the class of Deno", async () => {
  const client = new SSLClient(pki.clientSslconfig, "/tmp/degu-no-such", { sslHost: "a" });
  await assertRejects(() => client.connect(), Deno.errors.NotFound);
});

Deno.test("the reason for a refused certificate has the time of the clock only if the dates may matter", () => {
  const rows = [["CERT_HAS_EXPIRED", true], ["SELF_SIGNED_CERT_IN_CHAIN", false]] as const;
  for (const [code, isDated] of rows) {
    const { message } = tlsError("server", Object.assign(new Error(), { code }));
    assertEquals(message.includes("the clock of this device"), isDated, message);
  }
});

Deno.test("a fault of a bound server is logged, and the server goes on", async () => {
  const servers: net.Server[] = [];
  const record = (create: typeof net.createServer) => (...args: Parameters<typeof create>) => {
    const server = create(...args);
    servers.push(server);
    return server;
  };
  using _recording = patch(net, "createServer", (create) => record(create) as typeof create);
  await using endpoint = await startTls(pki, sendNoContent);
  servers[0]!.emit("error", new Error("no descriptor"));
  const warnings = endpoint.logger.messagesOf("warn");
  assertEquals(warnings, ["accepting connections fails: no descriptor"]);
  assertEquals((await endpoint.client.get("/")).status, 204);
});

Deno.test("a server that can't be bound, and isn't asked for it, causes no unhandled rejection", async () => {
  using unhandled = recordUnhandledRejections();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const server = new SSLServer(pki.serverSslconfig, ["127.0.0.1", port], sendNoContent);
  for (let turn = 0; turn < 10; turn++) await waitForTick();
  server.close();
  assertEquals(unhandled.reasons, []);
});

Deno.test("an address that can't be bound rejects ready and serveForever() with the message of a plain server", async (t) => {
  await using dir = await createTempDir();
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const file = join(dir.path, "file");
  await Deno.writeTextFile(file, "mine");
  const rows: readonly [string, Address, new () => Error][] = [
    ["a port in use", ["127.0.0.1", listener.addr.port], Deno.errors.AddrInUse],
    ["an address of another machine", ["203.0.113.7", 0], Deno.errors.AddrNotAvailable],
    ["an interface of another machine", ["fe80::1%nowhere", 0], Error],
  ];
  await testEachRow(t, rows, async (_name, address, Class) => {
    await using server = new SSLServer(pki.serverSslconfig, address, sendNoContent);
    const serving = server.serveForever();
    const error = await assertRejects(() => server.ready, Class);
    assertStrictEquals(await assertRejects(() => serving), error);
    const plainError = assertThrows(() => new Server(address, sendNoContent), Class);
    assertEquals(error.message, plainError.message);
    assertEquals(errorCodeOf(error), errorCodeOf(plainError));
    const isUnknown = String(address[0]).endsWith("%nowhere");
    assertEquals(error.message.endsWith(": this machine has no interface nowhere"), isUnknown);
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
  listener.close();
  assertEquals(await Deno.readTextFile(file), "mine");
});

// ───────────────────────── reports of failed handshakes

/** Makes a TLS record with a fatal alert. */
function makeAlert(description: number): Uint8Array {
  return Uint8Array.of(21, 3, 3, 0, 2, 2, description);
}

/** Waits for the log line of a failed handshake, and returns its reason. */
async function waitForReason({ logger }: Awaited<ReturnType<typeof startTls>>): Promise<string> {
  const [line = "", ...otherLines] = await logger.waitFor("info");
  assertEquals(otherLines, []);
  logger.lines.length = 0;
  return line.replace(/^.*:\d+: the handshake failed: /, "");
}

Deno.test("a client's TlsError has a code for each fault of the server, and the underlying error", async (t) => {
  using server = new RawServer();
  const closedMessage = /^CLOSED .*: the peer closed the connection$/;
  const response = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
  const rows: readonly [string, (peer: RawPeer) => Promise<void>, RegExp][] = [
    ["it speaks HTTP", (peer) => peer.send(response), /^NOT_TLS .*corrupt message/],
    [
      "it sends a handshake message that can't be read",
      (peer) => peer.send(Uint8Array.of(22, 3, 3, 0, 6, 2, 0, 0, 2, 9, 9)),
      /^CLOSED .*corrupt message/,
    ],
    [
      "it sends an unexpected message",
      (peer) => peer.send(Uint8Array.of(22, 3, 3, 0, 4, 14, 0, 0, 0)),
      /^POLICY .*unexpected/,
    ],
    [
      "it closes after the start of a record",
      async (peer) => {
        await peer.send(Uint8Array.of(22, 3, 3, 0, 100, 2));
        peer.close();
      },
      /^CLOSED .*: the peer closed the connection$/,
    ],
    [
      "an alert about the version",
      (peer) => peer.send(makeAlert(70)),
      /^REFUSED_BY_PEER .*alert: ProtocolVersion; the peer may support only TLS 1\.1 or older$/,
    ],
    ["it closes", (peer) => Promise.resolve(peer.close()), closedMessage],
    ["an alert", (peer) => peer.send(makeAlert(40)), /^REFUSED_BY_PEER .*alert: HandshakeFailure$/],
    ...[[20, "BadRecordMac"], [50, "DecodeError"], [22, "RecordOverflow"], [
      10,
      "UnexpectedMessage",
    ]]
      .map(([number, name]): [string, (peer: RawPeer) => Promise<void>, RegExp] => [
        `an alert about damaged bytes, ${name}`,
        (peer) => peer.send(makeAlert(number as number)),
        new RegExp(`^CLOSED .*alert: ${name}$`),
      ]),
    [
      "an unknown alert",
      (peer) => peer.send(makeAlert(200)),
      /^REFUSED_BY_PEER .*alert: [\x20-\x7e]+$/,
    ],
  ];
  const failConnecting = async (
    sslconfig: ClientSslconfig,
    sendBytes: (peer: RawPeer) => Promise<void>,
  ): Promise<TlsError> => {
    const client = new SSLClient(sslconfig, server.address, { timeout: 60 });
    const connectError = catchRejection(client.connect(), "connecting");
    using peer = await server.accept();
    await peer.readExactly(1);
    await sendBytes(peer);
    const error = await withTimeout(connectError, "an error");
    assertInstanceOf(error, TlsError);
    return error;
  };
  await testEachRow(t, rows, async (_name, sendBytes, expected) => {
    const error = await failConnecting(pki.clientSslconfig, sendBytes);
    assertMatch(`${error.code} ${error.message}`, expected);
    assertMatch(error.message, /^the TLS handshake with 127\.0\.0\.1:\d+ failed: [\x20-\x7e]+$/);
    assertInstanceOf(error.cause, Error);
  });
});

Deno.test("a server's log has a code for each fault of a client", async (t) => {
  await using endpoint = await startTls(pki, sendNoContent);
  const { server: { address } } = endpoint;
  const rows: readonly [string, (peer: RawPeer) => Promise<void>, RegExp][] = [
    ["it speaks HTTP", (peer) => peer.send("GET / HTTP/1.1\r\n\r\n"), /^NOT_TLS: [\x20-\x7e]+$/],
    ["it closes", (peer) => Promise.resolve(peer.close()), /^CLOSED: the peer closed the connect/],
    ["it ends its side", (peer) => peer.closeWrite(), /^CLOSED: the peer closed the connection$/],
    [
      "it sends an alert",
      (peer) => peer.send(makeAlert(48)),
      /^REFUSED_BY_PEER: .*alert: UnknownCA; it doesn't trust the authority of the local certificate$/,
    ],
  ];
  await testEachRow(t, rows, async (_name, sendBytes, expected) => {
    using peer = await RawPeer.connect(address);
    await sendBytes(peer);
    assertMatch(await waitForReason(endpoint), expected);
  });
});

Deno.test("client and server report the peer's refusal as far as TLS transmits it", async (t) => {
  await using otherPki = await TempPKI.create();
  await using endpoint = await startTls(pki, sendNoContent);
  const { server: { address } } = endpoint;
  const connect = (sslconfig: object, options: SSLClientOptions = {}) =>
    new SSLClient({ ...pki.clientSslconfig, ...sslconfig }, address, { timeout: 10, ...options });
  await t.step("the client does not trust the server", async () => {
    const { caFile } = otherPki.clientSslconfig;
    const error = await assertRejects(() => connect({ caFile }).connect(), TlsError);
    assertEquals([error.code, error.isRefusal], ["UNTRUSTED", false]);
    assertInstanceOf(error.cause, Error);
    assert("code" in error.cause, "the library's error");
    const reason =
      "REFUSED_BY_PEER: received fatal alert: UnknownCA; it doesn't trust the authority";
    assert((await waitForReason(endpoint)).startsWith(reason));
  });
  await t.step("the server's certificate is for another host", async () => {
    const client = connect({ checkHostname: true }, { sslHost: "door.local" });
    const error = await assertRejects(() => client.connect(), TlsError);
    assertEquals(error.code, "WRONG_NAME");
    assertMatch(error.message, /is not for "door\.local"/);
  });
  await t.step("the client has no certificate", async () => {
    const client = new SSLClient(pki.anonymousClientSslconfig, address, { timeout: 60 });
    endpoint.logger.lines.length = 0;
    using conn = await client.connect();
    const error = await assertRejects(() => conn.get("/"), TlsError);
    assertEquals([error.code, error.isRefusal], ["REFUSED_BY_PEER", true]);
    assertEquals(error.message, "received fatal alert: CertificateRequired");
    assertInstanceOf(error.cause, Error);
    assert(conn.closed);
    assertEquals(await waitForReason(endpoint), "NO_CERTIFICATE: peer sent no certificates");
  });
  await t.step("the server does not trust the client, and sends no alert", async () => {
    const { certFile, keyFile } = otherPki.clientSslconfig;
    const requestFailed = connect({ certFile, keyFile }).request("GET", "/");
    const error = await assertRejects(() => requestFailed, EmptyPreambleError);
    assertEquals(error.isRefusal, true);
    const expectedReason = /^UNTRUSTED: the client's certificate was refused \([A-Z_]+\): /;
    assertMatch(await waitForReason(endpoint), expectedReason);
  });
});

Deno.test(
  "client and server report the TLS version and the cipher suite",
  needsOpenssl,
  async (t) => {
    const socks: Socket[] = [];
    const app = {
      onConnect(_session: Session, sock: Socket) {
        socks.push(sock);
        return true;
      },
      handle: sendNoContent,
    };
    await using endpoint = await startTls(pki, app, { server: { maxRequests: 1 } });
    await t.step("TLS 1.3", async () => {
      using conn = await endpoint.client.connect();
      await conn.get("/");
      for (const { protocol, cipher } of [conn.sock, socks.pop()!]) {
        assertEquals([protocol, cipher], ["TLSv1.3", "TLS_AES_256_GCM_SHA384"]);
      }
    });
    await t.step("TLS 1.2", async () => {
      const [host, port] = endpoint.server.address as [string, number];
      const { certFile, keyFile } = pki.clientSslconfig;
      const suite = "ECDHE-ECDSA-AES128-GCM-SHA256";
      const args = [
        ...["s_client", "-connect", `${host}:${port}`, "-quiet", "-tls1_2", "-cipher", suite],
        ...["-cert", certFile!, "-key", keyFile!],
      ];
      const { stdout } = await runWithInput("openssl", args, "GET / HTTP/1.1\r\n\r\n");
      assertMatch(stdout, /^HTTP\/1\.1 204 /);
      const { protocol, cipher } = socks.pop()!;
      assertEquals([protocol, cipher], ["TLSv1.2", suite]);
    });
  },
);

// ───────────────────────── optional certificates

/** An app that responds with the key of the client's certificate, and with describeTrust(session). */
const app: App = async (_request, session) => {
  const key = session.peerCertificate?.publicKey256 ?? "none";
  return [200, "OK", { key, trust: await describeTrust(session) }, null];
};
const requestingConfigs = {
  serverSslconfig: { ...pki.serverSslconfig, allowUnauthenticatedClients: true },
  clientSslconfig: pki.clientSslconfig,
};

Deno.test("with authorities and allowUnauthenticatedClients a client is identified by its certificate, and accepted without a certificate", async () => {
  await using otherPki = await TempPKI.create();
  await using endpoint = await startTls(requestingConfigs, app);
  const { server, logger } = endpoint;
  const { certFile, keyFile, caFile } = pki.clientSslconfig;
  const anonymous = { caFile, checkHostname: false };
  const stranger = { ...otherPki.clientSslconfig, caFile };
  const requestKey = async (sslconfig: ClientSslconfig) => {
    return (await new SSLClient(sslconfig, server.address).get("/")).headers.key;
  };
  const key = publicKey256(await Deno.readTextFile(certFile!));
  assertEquals(await requestKey({ ...anonymous, certFile, keyFile }), key);
  assertEquals(await requestKey(anonymous), "none");
  assertEquals(await requestKey(stranger), "none");
  assertEquals(server.sslctx.verify, false);
  assertEquals(logger.messagesOf("warn"), [
    "every client is accepted, because allowUnauthenticatedClients is true",
  ]);
  assertEquals(
    buildServerSslctx({ ...requestingConfigs.serverSslconfig, caFile: undefined, ca: [] }).warnings,
    [],
  );
});

Deno.test("a client with a certificate is trusted only while its authority is trusted", async () => {
  await using otherPki = await TempPKI.create();
  await using endpoint = await startTls(requestingConfigs, app);
  const { server } = endpoint;
  const { caFile } = pki.clientSslconfig;
  using identifiedConn = await endpoint.client.connect();
  using anonymous = await new SSLClient({ caFile, checkHostname: false }, server.address).connect();
  assertEquals((await identifiedConn.get("/")).headers.trust, "trusted");
  assertEquals((await anonymous.get("/")).headers.trust, "anonymous");
  const [session] = [...server.sessions].filter(({ peerCertificate }) => peerCertificate !== null);
  server.setSslctx({
    ...requestingConfigs.serverSslconfig,
    caFile: otherPki.serverSslconfig.caFile,
  });
  assertEquals(await describeTrust(session!), "untrusted");
  await assertRejects(() => identifiedConn.get("/"));
  assertEquals((await anonymous.get("/")).headers.trust, "anonymous");
  const { headers } = await endpoint.client.get("/");
  assertEquals([headers.key, headers.trust], ["none", "anonymous"]);
});

Deno.test("with authorities, allowUnauthenticatedClients is false by default, and a client without a certificate of an authority is refused", async () => {
  const serverSslconfig = { ...pki.serverSslconfig, allowUnauthenticatedClients: false };
  await using endpoint = await startTls({ ...requestingConfigs, serverSslconfig }, app);
  const { server, client, logger } = endpoint;
  assertEquals(server.sslctx.verify, true);
  assertEquals(logger.messagesOf("warn"), []);
  assertEquals((await client.get("/")).status, 200);
  const anonymous = new SSLClient(pki.anonymousClientSslconfig, server.address);
  await assertRejects(() => anonymous.get("/"), TlsError);
  assertStringIncludes((await logger.waitFor("info"))[0]!, "NO_CERTIFICATE");
});

// ───────────────────────── protocols

/** Serves over TLS, and returns a function that reports the result of a request. */
async function serve(options: SSLServerOptions) {
  const endpoint = await startTls(pki, sendNoContent, { server: options });
  return {
    ...endpoint,
    async requestStatus(options: SSLClientOptions): Promise<number | string> {
      const client = new SSLClient(pki.clientSslconfig, endpoint.server.address, options);
      try {
        return (await client.get("/")).status;
      } catch (error) {
        return error instanceof TlsError ? error.code : (error as Error).name;
      }
    },
  };
}

Deno.test("a server with a protocol accepts only clients that offer it", async () => {
  await using served = await serve({ protocol: "lamp/1" });
  assertEquals(served.server.options.protocol, "lamp/1");
  assertEquals(await served.requestStatus({ protocol: "lamp/1" }), 204);
  const otherOptions: SSLClientOptions[] = [{}, { protocol: "lamp/2" }, { protocol: "LAMP/1" }];
  for (const options of otherOptions) {
    const fate = await served.requestStatus(options);
    assertEquals(typeof fate, "string", `${options.protocol}: ${fate}`);
  }
  assertEquals(served.logger.messagesOf("info").length, 3);
});

Deno.test("a client with a protocol accepts only servers that select it", async () => {
  await using served = await serve({});
  assertEquals(await served.requestStatus({ protocol: "lamp/1" }), "POLICY");
  assertEquals(await served.requestStatus({}), 204);
});

Deno.test("a protocol is a text of 1 to 255 visible ASCII characters", async () => {
  const makers = [
    (...options: unknown[]) =>
      Reflect.construct(SSLClient, [pki.clientSslconfig, ["127.0.0.1", 81], ...options]),
    (...options: unknown[]) =>
      Reflect.construct(SSLServer, [
        pki.serverSslconfig,
        ["127.0.0.1", 0],
        sendNoContent,
        ...options,
      ]),
  ];
  const longest = "a".repeat(255);
  for (const make of makers) {
    for (const protocol of ["", `${longest}a`, "a b", "é"]) {
      assertThrows(() => make({ protocol }), RangeError, "protocol: must be 1 to 255", protocol);
    }
    assertThrows(() => make({ protocol: null }), TypeError, "protocol: must be a string");
  }
  await using served = await serve({ protocol: longest });
  assertEquals(await served.requestStatus({ protocol: longest }), 204);
});

Deno.test("the connections of a peer share the description of its certificate, and none can change it", async () => {
  const certificates: PeerCertificate[] = [];
  await using endpoint = await startTls(await openSharedPki(), (_request, session) => {
    const certificate = session.peerCertificate!;
    const { subjectAltNames, validFrom, validTo, raw, authority } = certificate;
    certificates.push(certificate);
    const copy = structuredClone(certificate);
    raw.fill(0);
    authority!.raw.fill(0);
    validFrom.setTime(0);
    validTo.setTime(0);
    subjectAltNames.push("DNS:evil");
    assert(Object.isFrozen(certificate) && Object.isFrozen(authority));
    assertEquals(structuredClone(certificate), copy);
    assertEquals(copy.raw[0], 0x30);
    return [204, "No Content", {}, null];
  });
  for (let count = 0; count < 3; count++) {
    using conn = await endpoint.client.connect();
    assertEquals((await conn.get("/")).status, 204);
  }
  for (const certificate of certificates) assertStrictEquals(certificate, certificates[0]);
  assertEquals(certificates.length, 3);
});
