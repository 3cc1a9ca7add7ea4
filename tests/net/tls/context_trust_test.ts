/** What a server and a client trust if a process uses several authorities. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { TempPKI } from "@degu/internal/misc/pki.ts";
import type { ServerSslconfig } from "@degu/degu/server";
import { runScript } from "@degu/testing/processes.ts";
import { startTls, type TlsEndpoint } from "@degu/testing/tls_endpoints.ts";
import { converse, type Issued, OpensslPki, unlessMissing } from "@degu/testing/tls_openssl.ts";

const needsOpenssl = await unlessMissing("openssl");

const GET = "GET / HTTP/1.1\r\n\r\n";
const ANSWER = "HTTP/1.1 200 OK";

function show({ certFile, keyFile }: Issued): string[] {
  return ["-cert", certFile, "-key", keyFile];
}

/** Asks with `openssl s_client`, which tells whether the session was resumed. */
async function ask(
  { server }: TlsEndpoint,
  ...args: readonly string[]
): Promise<{ answered: boolean; resumed: boolean }> {
  const [host, port] = server.address as [string, number];
  const { stdout } = await converse(
    "openssl",
    ["s_client", "-connect", `${host}:${port}`, "-ign_eof", ...args],
    GET,
  );
  return { answered: stdout.includes(ANSWER), resumed: stdout.includes("\nReused, TLSv1.") };
}

/** Starts a server that counts its requests; each connection makes one. */
async function startCounting(serverSslconfig: ServerSslconfig, caFile: string) {
  let requests = 0;
  const endpoint = await startTls(
    { serverSslconfig, clientSslconfig: { caFile } },
    (_request, session) => {
      requests++;
      const subject = session.peerCertificate?.subject ?? "nobody";
      return [200, "OK", { subject }, null];
    },
    { server: { maxRequests: 1 } },
  );
  return { endpoint, requests: () => requests };
}

Deno.test({
  name: "a TLS session is resumed only under the same trust that has verified its certificate",
  ...needsOpenssl,
  async fn(t) {
    await using pki = await OpensslPki.create();
    const serverAuthority = await pki.authority("server_authority");
    const clientAuthority = await pki.authority("client_authority");
    const otherAuthority = await pki.authority("other_authority");
    const own = await pki.server("server", { issuer: serverAuthority });
    const client = await pki.client("client", { issuer: clientAuthority });
    const trusting = (authority: Issued) =>
      startCounting({ ...own, caFile: authority.certFile }, serverAuthority.certFile);
    const first = await trusting(clientAuthority);
    await using _first = first.endpoint;
    const second = await trusting(otherAuthority);
    await using _second = second.endpoint;
    const open = await startCounting(
      { ...own, allowUnauthenticatedClients: true },
      serverAuthority.certFile,
    );
    await using _open = open.endpoint;
    for (const version of ["tls1_3", "tls1_2"]) {
      const ticket = pki.path(`${version}.ticket`);
      await t.step(`${version}: at the server that verified it: resumed and answered`, async () => {
        const args = [`-${version}`, ...show(client)];
        assertEquals(await ask(first.endpoint, ...args, "-sess_out", ticket), {
          answered: true,
          resumed: false,
        });
        assertEquals(await ask(first.endpoint, ...args, "-sess_in", ticket), {
          answered: true,
          resumed: true,
        });
      });
      await t.step(`${version}: at a server that trusts somebody else: refused`, async () => {
        const before = second.requests();
        const { answered, resumed } = await ask(
          second.endpoint,
          ...[`-${version}`, "-sess_in", ticket],
        );
        assert(resumed, "the TLS library did not resume it, so there was nothing to refuse");
        assertEquals([answered, second.requests()], [false, before]);
      });
      await t.step(`${version}: from a server that lets everybody in: refused`, async () => {
        const anonymous = pki.path(`${version}.anonymous`);
        const got = await ask(open.endpoint, `-${version}`, "-sess_out", anonymous);
        assertEquals(got, { answered: true, resumed: false });
        const before = first.requests();
        const { answered, resumed } = await ask(
          first.endpoint,
          ...[`-${version}`, "-sess_in", anonymous],
        );
        assert(resumed, "the TLS library did not resume it, so there was nothing to refuse");
        assertEquals([answered, first.requests()], [false, before]);
      });
    }
    for (const { endpoint: { logger } } of [first, second]) {
      for (const line of logger.at("info")) {
        assertMatch(line, /the client resumed a session|was not verified/);
      }
    }
    assertEquals(second.endpoint.logger.at("info").length, 2);
  },
});

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
