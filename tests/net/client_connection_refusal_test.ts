/** The error of a client that is refused after its handshake, and what it can explain. */
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { EmptyPreambleError, TlsError } from "@degu/degu/base";
import { Client, type Connection, SSLClient } from "@degu/degu/client";
import { TempPKI } from "@degu/degu/misc";
import { Server } from "@degu/degu/server";
import { explainRefusal } from "@degu/internal/net/client_connection.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { startTls } from "@degu/testing/tls_endpoints.ts";

const HINT = "your membership has ended: renew it";
const noContent = () => [204, "No Content", {}, null] as const;

/** Requests something over a connection, explained or not. */
function ask(connection: Connection, isExplained: boolean): () => Promise<unknown> {
  if (isExplained) explainRefusal(connection, HINT);
  return () => connection.get("/");
}

Deno.test("an alert keeps its code, followed by an explanation", async () => {
  await using pki = await TempPKI.create();
  await using endpoint = await startTls(pki, noContent);
  const client = new SSLClient(pki.anonymousClientSslconfig, endpoint.server.address);
  for (const isExplained of [false, true]) {
    using connection = await client.connect();
    const error = await assertRejects(ask(connection, isExplained), TlsError);
    assertEquals(error.code, "REFUSED_BY_PEER");
    const alert =
      "received fatal alert: CertificateRequired; it wants a certificate: give certFile and keyFile";
    assertEquals(error.message, isExplained ? `${alert}; ${HINT}` : alert);
  }
});

Deno.test("a server that closes without a response is explained, or the error refers to its log", async () => {
  await using pki = await TempPKI.create();
  await using other = await TempPKI.create();
  await using endpoint = await startTls(pki, noContent);
  const { certFile, keyFile } = other.clientSslconfig;
  const sslconfig = { ...pki.clientSslconfig, certFile: certFile!, keyFile: keyFile! };
  const client = new SSLClient(sslconfig, endpoint.server.address);
  for (const isExplained of [false, true]) {
    using connection = await client.connect();
    const error = await assertRejects(ask(connection, isExplained), EmptyPreambleError);
    assertMatch(error.message, /refuse this client's certificate: /);
    assertEquals(error.message.endsWith(HINT), isExplained);
    assertEquals(error.message.endsWith("the server's log says why, at level info"), !isExplained);
  }
});

Deno.test("after the first response, the end of a connection is not reported as a refusal", async () => {
  await using pki = await TempPKI.create();
  await using endpoint = await startTls(pki, noContent);
  using connection = await endpoint.client.connect();
  await ask(connection, true)();
  endpoint.server.close();
  const error = await assertRejects(() => connection.get("/"), Error);
  assertEquals(error.message.includes(HINT), false);
});

Deno.test("a plain server refuses a request: the error of the client refers to the log of the server, which says why", async () => {
  const logger = new RecordingLogger();
  await using server = new Server(["127.0.0.1", 0], () => [200, "OK", {}, "text" as never], {
    logger,
  });
  server.serveForever();
  using connection = await new Client(server.address).connect();
  const error = await assertRejects(() => connection.get("/"), EmptyPreambleError);
  const what = "the server closed the connection before it answered anything";
  assertEquals(error.message, `${what}; the server's log says why, at level info`);
  assertMatch(logger.at("error")[0] ?? "", /body: must be null, a Uint8Array/);
});

Deno.test("a client that disconnects normally is not an error in the log of the server", async () => {
  const logger = new RecordingLogger();
  await using server = new Server(["127.0.0.1", 0], noContent, { logger });
  server.serveForever();
  (await new Client(server.address).connect()).close();
  await logger.waitFor("debug");
  const ended = "ended: the peer closed the connection before the first byte of a message";
  assertEquals(logger.lines.map(([, line]) => line.replace(/^\S+ /, "")), [ended]);
});
