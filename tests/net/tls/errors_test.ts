/** What each end reports about a failed handshake. */
import { assert, assertEquals, assertInstanceOf, assertMatch, assertRejects } from "@std/assert";
import { EmptyPreambleError, type Socket, TlsError } from "@degu/degu/base";
import { SSLClient, type SSLClientOptions } from "@degu/degu/client";
import { handshakeError } from "@degu/internal/net/tls/errors.ts";
import { TempPKI } from "@degu/internal/misc/pki.ts";
import type { App, Session } from "@degu/degu/server";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { RawPeer, RawServer, within } from "@degu/testing/raw_peer.ts";
import { eachRow } from "@degu/testing/rows.ts";
import { sharedPki, startTls } from "@degu/testing/tls_endpoints.ts";
import { converse, unlessMissing } from "@degu/testing/tls_openssl.ts";

const pki = await sharedPki();

const needsOpenssl = await unlessMissing("openssl");

const noContent: App = () => [204, "No Content", {}, null];

/** A TLS record with a fatal alert. */
function alert(description: number): Uint8Array {
  return Uint8Array.of(21, 3, 3, 0, 2, 2, description);
}

/** Waits for the line that tells why a handshake failed, without who it was. */
async function reasonOf({ logger }: Awaited<ReturnType<typeof startTls>>): Promise<string> {
  const [line = "", ...more] = await logger.waitFor("info");
  assertEquals(more, []);
  logger.lines.length = 0;
  return line.replace(/^.*:\d+: the handshake failed: /, "");
}

Deno.test("a client's TlsError has a code for what the other end does, and the underlying error", async (t) => {
  using server = new RawServer();
  const closed = /^CLOSED .*: the peer closed the connection$/;
  const answer = "HTTP/1.1 400 Bad Request\r\n\r\n";
  const rows: readonly [string, (peer: RawPeer) => Promise<void>, RegExp][] = [
    ["it speaks HTTP", (peer) => peer.send(answer), /^NOT_TLS .*corrupt message/],
    ["it says nothing that means anything", (peer) => peer.send(new Uint8Array(64)), /^NOT_TLS /],
    ["it closes", (peer) => Promise.resolve(peer.close()), closed],
    ["it ends its side", (peer) => peer.closeWrite(), closed],
    ["an alert", (peer) => peer.send(alert(40)), /^REFUSED_BY_PEER .*alert: HandshakeFailure$/],
    [
      "an unknown alert",
      (peer) => peer.send(alert(200)),
      /^REFUSED_BY_PEER .*alert: [\x20-\x7e]+$/,
    ],
  ];
  await eachRow(t, rows, async (_name, act, expected) => {
    const client = new SSLClient(pki.clientSslconfig, server.address, { timeout: 10 });
    const connecting = rejectionOf(client.connect(), "connecting");
    const peer = await server.accept();
    await peer.readExactly(1);
    await act(peer);
    const error = await within(connecting, "an error");
    assertInstanceOf(error, TlsError);
    assertMatch(`${error.code} ${error.message}`, expected);
    assertMatch(error.message, /^the TLS handshake with 127\.0\.0\.1:\d+ failed: [\x20-\x7e]+$/);
    assertInstanceOf(error.cause, Error);
    peer.close();
  });
});

Deno.test("a server's log has a code for what a client does", async (t) => {
  await using endpoint = await startTls(pki, noContent);
  const { server: { address } } = endpoint;
  const rows: readonly [string, (peer: RawPeer) => Promise<void>, RegExp][] = [
    ["it speaks HTTP", (peer) => peer.send("GET / HTTP/1.1\r\n\r\n"), /^NOT_TLS: [\x20-\x7e]+$/],
    ["it closes", (peer) => Promise.resolve(peer.close()), /^CLOSED: the peer closed the connect/],
    ["it ends its side", (peer) => peer.closeWrite(), /^CLOSED: the peer closed the connection$/],
    [
      "it sends an alert",
      (peer) => peer.send(alert(48)),
      /^REFUSED_BY_PEER: .*alert: UnknownCA; it doesn't trust the authority of this end's certificate$/,
    ],
  ];
  await eachRow(t, rows, async (_name, act, expected) => {
    using peer = await RawPeer.connect(address);
    await act(peer);
    assertMatch(await reasonOf(endpoint), expected);
  });
});

Deno.test("each end learns of the other's refusal, as far as TLS reports it", async (t) => {
  await using other = await TempPKI.create();
  await using endpoint = await startTls(pki, noContent);
  const { server: { address } } = endpoint;
  const connect = (sslconfig: object, options: SSLClientOptions = {}) =>
    new SSLClient({ ...pki.clientSslconfig, ...sslconfig }, address, { timeout: 10, ...options });
  await t.step("the client does not trust the server", async () => {
    const { caFile } = other.clientSslconfig;
    const error = await assertRejects(() => connect({ caFile }).connect(), TlsError);
    assertEquals(error.code, "UNTRUSTED");
    assertInstanceOf(error.cause, Error);
    assert("code" in error.cause, "the library's error");
    const reason =
      "REFUSED_BY_PEER: received fatal alert: UnknownCA; it doesn't trust the authority";
    assert((await reasonOf(endpoint)).startsWith(reason));
  });
  await t.step("the server's certificate is for another host", async () => {
    const client = connect({ checkHostname: true }, { sslHost: "door.local" });
    const error = await assertRejects(() => client.connect(), TlsError);
    assertEquals(error.code, "WRONG_NAME");
    assertMatch(error.message, /is not for "door\.local"/);
  });
  await t.step("the client has no certificate", async () => {
    const client = new SSLClient(pki.anonymousClientSslconfig, address, { timeout: 10 });
    endpoint.logger.lines.length = 0;
    using conn = await client.connect();
    const error = await assertRejects(() => conn.get("/"), TlsError);
    assertEquals(error.code, "REFUSED_BY_PEER");
    const wanted =
      "received fatal alert: CertificateRequired; it wants a certificate: give certFile and keyFile";
    assertEquals(error.message, wanted);
    assertInstanceOf(error.cause, Error);
    assert(conn.closed);
    assertEquals(await reasonOf(endpoint), "NO_CERTIFICATE: peer sent no certificates");
  });
  await t.step("the server does not trust the client, and says nothing", async () => {
    const { certFile, keyFile } = other.clientSslconfig;
    const asking = connect({ certFile, keyFile }).request("GET", "/");
    await assertRejects(() => asking, EmptyPreambleError);
    const why = /^UNTRUSTED: the client's certificate was refused \([A-Z_]+\): /;
    assertMatch(await reasonOf(endpoint), why);
  });
});

Deno.test(
  "a TLS socket reports its version and cipher suite on both ends",
  needsOpenssl,
  async (t) => {
    const socks: Socket[] = [];
    const app = {
      onConnect(_session: Session, sock: Socket) {
        socks.push(sock);
        return true;
      },
      handle: noContent,
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
      const { stdout } = await converse("openssl", args, "GET / HTTP/1.1\r\n\r\n");
      assertMatch(stdout, /^HTTP\/1\.1 204 /);
      const { protocol, cipher } = socks.pop()!;
      assertEquals([protocol, cipher], ["TLSv1.2", suite]);
    });
  },
);

Deno.test("a missing permission, a timeout and a reason that is not an error are passed on unchanged", () => {
  const missing = new Deno.errors.NotCapable("no");
  for (const error of [missing, "a reason", undefined]) {
    assertEquals(handshakeError("a server", error), error);
  }
  const timedOut = handshakeError("a server", new Deno.errors.TimedOut("late"));
  assertInstanceOf(timedOut, Deno.errors.TimedOut);
  assertMatch(timedOut.message, /^the TLS handshake with a server failed: /);
});
