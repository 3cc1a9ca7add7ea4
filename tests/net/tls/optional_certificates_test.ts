/** Servers that request certificates, but also accept clients without one. */
import { type ClientSslconfig, SSLClient, TlsError } from "@degu/degu/client";
import { TempPKI } from "@degu/degu/misc";
import { type App, buildServerSslctx, publicKey256 } from "@degu/degu/server";
import { openSharedPki, startTls } from "@degu/testing/tls_endpoints.ts";
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";

/** An app that responds with the key of the client's certificate, and with session.trust(). */
const app: App = async (_request, session) => {
  const key = session.peerCertificate?.publicKey256 ?? "none";
  return [200, "OK", { key, trust: await session.trust() }, null];
};

const pki = await openSharedPki();
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
  assertEquals(await session!.trust(), "untrusted");
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
