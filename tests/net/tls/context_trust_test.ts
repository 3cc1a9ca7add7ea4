/** What a server and a client trust if a process uses several authorities. */
import { assertEquals, assertMatch } from "@std/assert";
import { TempPKI } from "@degu/internal/misc/pki.ts";
import { runScript } from "@degu/testing/processes.ts";
import { startTls } from "@degu/testing/tls_endpoints.ts";
import { OpensslPki, unlessMissing } from "@degu/testing/tls_openssl.ts";

const needsOpenssl = await unlessMissing("openssl");

Deno.test("a server that accepts everybody warns once, and requests no certificate", async () => {
  await using pki = await TempPKI.create();
  const trust = {
    serverSslconfig: pki.anonymousServerSslconfig,
    clientSslconfig: pki.clientSslconfig,
  };
  await using endpoint = await startTls(trust, (_request, session) => {
    return [200, "OK", { subject: session.peerCertificate?.subject ?? "nobody" }, null];
  });
  for (let i = 0; i < 2; i++) {
    const { headers } = await endpoint.client.request("GET", "/");
    assertEquals(headers["subject"], "nobody");
  }
  const warnings = endpoint.logger.at("warn");
  assertEquals(warnings.length, 1);
  assertMatch(warnings[0]!, /allowUnauthenticatedClients/);
});

/** Runs with `AUTHORITY` in Deno's default trust store; prints who trusted whom. */
const DEFAULT_STORE = `
import { SSLClient } from "./client.ts";
import { SSLServer } from "./server.ts";
const { own, publicOne, publicClient, authority, clientAuthority, client } = JSON.parse(Deno.env.get("FILES"));
const quiet = { debug() {}, info() {}, warn() {}, error() {} };
async function outcome(serverSslconfig, clientSslconfig) {
  const server = new SSLServer(serverSslconfig, ["127.0.0.1", 0], () => [204, "No Content", {}, null], { logger: quiet });
  const serving = server.serveForever();
  await server.ready;
  try {
    const { status } = await new SSLClient(clientSslconfig, server.address, { sslHost: "localhost" }).request("GET", "/");
    return status === 204 ? "accepted" : "other";
  } catch (error) {
    return error.code === "UNTRUSTED" ? "refused by the client"
      : error.name === "EmptyPreambleError" ? "refused by the server" : String(error);
  } finally {
    server.close();
    await serving;
  }
}
const open = { allowUnauthenticatedClients: true };
console.log(JSON.stringify({
  "{} and a server of the default store": await outcome({ ...publicOne, ...open }, {}),
  "{} and a server of a private authority": await outcome({ ...own, ...open }, {}),
  "caFile and a server of the default store": await outcome({ ...publicOne, ...open }, { caFile: authority }),
  "caFile and a server of that authority": await outcome({ ...own, ...open }, { caFile: authority }),
  "a server and a client of the default store": await outcome({ ...own, caFile: clientAuthority }, { caFile: authority, ...publicClient }),
  "a server and a client of its authority": await outcome({ ...own, caFile: clientAuthority }, { caFile: authority, ...client }),
}));
`;

Deno.test({
  name: "a private authority replaces the default trust store, on both ends",
  ...needsOpenssl,
  async fn(t) {
    await using pki = await OpensslPki.create();
    const authority = await pki.authority("authority");
    const clientAuthority = await pki.authority("client_authority");
    const world = await pki.authority("world");
    const files = {
      authority: authority.certFile,
      clientAuthority: clientAuthority.certFile,
      own: await pki.server("own", { issuer: authority }),
      client: await pki.client("client", { issuer: clientAuthority }),
      publicOne: await pki.server("public", { issuer: world }),
      publicClient: await pki.client("public_client", { issuer: world }),
    };
    const expected = {
      "{} and a server of the default store": "accepted",
      "{} and a server of a private authority": "refused by the client",
      "caFile and a server of the default store": "refused by the client",
      "caFile and a server of that authority": "accepted",
      "a server and a client of the default store": "refused by the server",
      "a server and a client of its authority": "accepted",
    };
    const permissions = [
      "--allow-net=127.0.0.1",
      `--allow-read=${pki.dir}`,
      "--allow-env=FILES",
    ];
    const env = { FILES: JSON.stringify(files), DENO_CERT: world.certFile };
    await t.step("as it is", async () => {
      assertEquals(JSON.parse(await runScript(DEFAULT_STORE, permissions, env)), expected);
    });
    await t.step("no known way to disable verification has any effect", async () => {
      const off = [...permissions, "--unsafely-ignore-certificate-errors"];
      const unsafe = { ...env, NODE_TLS_REJECT_UNAUTHORIZED: "0" };
      assertEquals(JSON.parse(await runScript(DEFAULT_STORE, off, unsafe)), expected);
    });
  },
});
