import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { join } from "@std/path";
import { getCiphers, type TLSSocket } from "node:tls";
import { TlsError } from "@degu/degu/base";
import {
  buildClientSslctx,
  type ClientSslconfig,
  type ClientSslctx,
  SSLClient,
} from "@degu/degu/client";
import { buildServerSslctx, type ServerSslconfig, SSLServer } from "@degu/degu/server";
import { checkNegotiated, CIPHERS, LIBRARY_OPTIONS } from "@degu/internal/net/tls/policy.ts";
import { runScript } from "@degu/testing/processes.ts";
import { eachRow } from "@degu/testing/rows.ts";
import { assertNoSecret, readTexts } from "@degu/testing/tls_configs.ts";
import { sharedPki, startTls } from "@degu/testing/tls_endpoints.ts";
import { KEY, opensslTest, timeFromNow } from "@degu/testing/tls_openssl.ts";

const pki = await sharedPki();
const EXPECTED_CIPHERS = [
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-RSA-CHACHA20-POLY1305",
  "TLS_AES_128_GCM_SHA256",
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
];

Deno.test("an sslctx shows the policy, frozen, and nothing of the files", () => {
  const client = buildClientSslctx(pki.clientSslconfig);
  const server = buildServerSslctx(pki.serverSslconfig);
  for (const sslctx of [client, server]) {
    assertEquals([sslctx.minVersion, sslctx.maxVersion], ["TLSv1.2", "TLSv1.3"]);
    assertEquals(sslctx.ciphers.toSorted(), EXPECTED_CIPHERS);
    assertEquals(sslctx.warnings, []);
    assert([sslctx, sslctx.ciphers, sslctx.warnings].every(Object.isFrozen));
    const shown = [
      Deno.inspect(sslctx, { showHidden: true, depth: 9 }),
      JSON.stringify(sslctx),
      JSON.stringify(structuredClone(sslctx)),
    ];
    for (const text of shown) {
      assertNoSecret(text);
      assert(!text.includes("BEGIN"), text);
      assert(!text.includes("degu-pki-"), text);
    }
  }
  assertEquals([client.verify, client.checkHostname], [true, false]);
  assertEquals(buildClientSslctx({}).checkHostname, true);
  assertEquals(server.verify, true);
  assertEquals(buildServerSslctx(pki.anonymousServerSslconfig).verify, false);
});

Deno.test("an sslctx is accepted unchanged, and a config is converted to one", async () => {
  const sslctx = buildClientSslctx(pki.clientSslconfig);
  assertStrictEquals(new SSLClient(sslctx, "/run/socket").sslctx, sslctx);
  assertEquals(new SSLClient(pki.clientSslconfig, "/run/socket").sslctx, sslctx);
  const copy: unknown = { ...sslctx };
  const message = 'unknown option "minVersion"';
  assertThrows(() => new SSLClient(copy as ClientSslctx, "/run/socket"), TypeError, message);

  const serverSslctx = buildServerSslctx(pki.serverSslconfig);
  const app = () => [204, "No Content", {}, null] as const;
  await using server = new SSLServer(serverSslctx, ["127.0.0.1", 0], app);
  assertStrictEquals(server.sslctx, serverSslctx);
  await server.ready;
});

Deno.test("a server with an empty ca refuses everybody, and warns about it", async (t) => {
  const { cert, key } = await readTexts(pki.serverSslconfig);
  const serverSslconfig = { cert, key, ca: [] };
  const sslctx = buildServerSslctx(serverSslconfig);
  assertEquals(sslctx.verify, true);
  assertEquals(sslctx.warnings, ["ca: no authority is trusted yet, so no client is accepted"]);
  let requests = 0;
  const trust = { serverSslconfig, clientSslconfig: pki.clientSslconfig };
  const app = () => (requests++, [204, "No Content", {}, null] as const);
  await using endpoint = await startTls(trust, app);
  const { server: { address }, logger } = endpoint;
  const rows: readonly [string, ClientSslconfig, string][] = [
    ["a client with a certificate", pki.clientSslconfig, "UNTRUSTED"],
    ["a client without", pki.anonymousClientSslconfig, "NO_CERTIFICATE"],
  ];
  await eachRow(t, rows, async (_name, config, code) => {
    logger.lines.length = 0;
    const client = new SSLClient(config, address, { timeout: 10 });
    await assertRejects(() => client.request("GET", "/"));
    const [line] = await logger.waitFor("info");
    assertStringIncludes(line!, `the handshake failed: ${code}: `);
  });
  assertEquals(requests, 0);
});

opensslTest(
  "encrypted, weak and unknown kinds of keys are refused; others are accepted",
  async (pki, t) => {
    const authority = await pki.authority("authority");
    const config = (name: string): ServerSslconfig => ({
      certFile: pki.path(`${name}.pem`),
      keyFile: pki.path(`${name}.key`),
      allowUnauthenticatedClients: true,
    });
    const good = await pki.server("good", { issuer: authority });
    await pki.server("rsa", { issuer: authority, key: KEY.rsa2048 });
    const convert = async (from: string, to: string, ...args: string[]) => {
      await pki.run("pkey", "-in", `${from}.key`, "-out", `${to}.key`, ...args);
      return { ...config(from), keyFile: pki.path(`${to}.key`) };
    };
    const encryption = ["-aes128", "-passout", "pass:secret"];
    const traditional = await convert("rsa", "encrypted1", "-traditional", ...encryption);
    const refused: [string, ServerSslconfig, string][] = [
      ["PKCS #8, encrypted", await convert("good", "encrypted", ...encryption), "is encrypted"],
      ["PKCS #1, encrypted", traditional, "is encrypted"],
    ];
    const kinds: readonly [string, readonly string[]][] = [
      ["rsa1024", KEY.rsa1024],
      ["secp256k1", ["EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"]],
      ["ed448", ["ED448"]],
    ];
    for (const [name, key] of kinds) {
      await pki.server(name, { issuer: authority, key });
      refused.push([name, config(name), "of an unsupported kind"]);
    }
    for (const [name, given, message] of refused) {
      await t.step(`refused: ${name}`, () => {
        const error = assertThrows(() => buildServerSslctx(given), RangeError, message);
        assertNoSecret(error.message);
      });
    }
    await pki.server("p384", { issuer: authority, key: KEY.p384 });
    await pki.server("ed25519", { issuer: authority, key: KEY.ed25519 });
    const taken = [
      config("good"),
      await convert("good", "sec1", "-traditional"),
      await convert("rsa", "pkcs1", "-traditional"),
      config("p384"),
      config("ed25519"),
      { ...config("good"), keyFile: await pki.join("both.pem", good.certFile, good.keyFile) },
    ];
    for (const given of taken) {
      await t.step(`taken: ${given.keyFile?.slice(pki.dir.length)}`, () => {
        assertEquals(buildServerSslctx(given).warnings, []);
      });
    }
  },
);

opensslTest("certificates that peers will reject are listed in warnings", async (pki) => {
  const authority = await pki.authority("authority", { to: timeFromNow(-1) });
  const early = await pki.server("early", { issuer: authority, from: timeFromNow(1) });
  const server = buildServerSslctx({ ...early, caFile: authority.certFile });
  const notYet = /^certFile: certificate 1, of "CN=early", is not valid before 2/;
  const over = /^caFile: certificate 1 in .*, of "CN=authority", has expired at 2/;
  assertEquals(server.warnings.length, 2);
  for (const [i, warning] of [notYet, over].entries()) assertMatch(server.warnings[i]!, warning);
  const client = await pki.client("client", { issuer: authority });
  const chain = await pki.join("chain.pem", client.certFile, authority.certFile);
  const { warnings } = buildServerSslctx({
    certFile: chain,
    keyFile: client.keyFile,
    allowUnauthenticatedClients: true,
  });
  assertEquals(warnings.length, 2);
  assertStringIncludes(warnings[0]!, "an extendedKeyUsage without serverAuth");
  assertMatch(warnings[1]!, /^certFile: certificate 2, of "CN=authority", has expired/);
});

opensslTest(
  "caFile and caPath together trust all of their authorities, including bundles and hashed names",
  async (pki) => {
    const first = await pki.authority("first");
    const second = await pki.authority("second");
    const third = await pki.authority("third");
    const fourth = await pki.authority("fourth");
    const caPath = pki.path("authorities");
    await Deno.mkdir(join(caPath, "folder.pem"), { recursive: true });
    await Deno.writeTextFile(join(caPath, "README"), "not looked at");
    await pki.join("authorities/bundle.crt", first.certFile, second.certFile);
    await Deno.copyFile(third.certFile, join(caPath, "0a1b2c3d.0"));
    const own = await pki.server("own", { issuer: first });
    const trust = {
      serverSslconfig: { ...own, caFile: fourth.certFile, caPath },
      clientSslconfig: { caPath: `${caPath}/`, caFile: first.certFile },
    };
    await using endpoint = await startTls(trust, () => [204, "No Content", {}, null]);
    for (const [index, issuer] of [first, second, third, fourth].entries()) {
      const client = await pki.client(`client${index}`, { issuer });
      const sslconfig = { ...trust.clientSslconfig, ...client };
      const sslclient = new SSLClient(sslconfig, endpoint.server.address, { timeout: 10 });
      assertEquals((await sslclient.request("GET", "/")).status, 204);
    }
  },
);

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

opensslTest(
  "a private authority replaces the default trust store, on both ends",
  async (pki, t) => {
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
    const permissions = ["--allow-net=127.0.0.1", `--allow-read=${pki.dir}`, "--allow-env=FILES"];
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
);

/** What a handshake has led to; no library of today leads to most of it. */
function negotiated(version: string | null, name: string | undefined): TLSSocket {
  return { getProtocol: () => version, getCipher: () => ({ name }) } as unknown as TLSSocket;
}

Deno.test("the policy is passed to the library, consists of suites it knows, and can't be changed", () => {
  assertEquals(LIBRARY_OPTIONS.ciphers.split(":"), [...CIPHERS]);
  const { minVersion, maxVersion } = LIBRARY_OPTIONS;
  assertEquals([minVersion, maxVersion], ["TLSv1.2", "TLSv1.3"]);
  const known = getCiphers();
  for (const name of CIPHERS) assert(known.includes(name.toLowerCase()), name);
  assert(Object.isFrozen(CIPHERS) && Object.isFrozen(LIBRARY_OPTIONS));
});

Deno.test("anything outside the policy is refused, whatever the library accepts", () => {
  for (const version of ["TLSv1.2", "TLSv1.3"]) {
    for (const name of CIPHERS) checkNegotiated(negotiated(version, name), null);
    for (const name of ["AES256-SHA", "ECDHE-RSA-AES128-SHA", "NULL", "", undefined, "TLS_"]) {
      const error = assertThrows(() => checkNegotiated(negotiated(version, name), null), TlsError);
      assertEquals(error.code, "POLICY");
    }
  }
  for (const version of ["TLSv1.1", "TLSv1", "SSLv3", "TLSv1.4", "", null, "unknown"]) {
    const refused = () => checkNegotiated(negotiated(version, CIPHERS[0]), null);
    assertEquals(assertThrows(refused, TlsError).code, "POLICY");
  }
});
