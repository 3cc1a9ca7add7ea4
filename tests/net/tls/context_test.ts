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
import { X509Certificate } from "node:crypto";
import { join } from "@std/path";
import {
  buildClientSslctx,
  type ClientSslconfig,
  type ClientSslctx,
  SSLClient,
} from "@degu/degu/client";
import { TempPKI } from "@degu/internal/misc/pki.ts";
import { buildServerSslctx, type ServerSslconfig, SSLServer } from "@degu/degu/server";
import { tempDir } from "@degu/testing/directories.ts";
import { runScript } from "@degu/testing/processes.ts";
import { startTls } from "@degu/testing/tls_endpoints.ts";
import { KEY, OpensslPki, timeFromNow, unlessMissing } from "@degu/testing/tls_openssl.ts";

const needsOpenssl = await unlessMissing("openssl");

const CIPHERS = [
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

/** Calls with a config that its type does not allow. */
function buildWith(build: (config: never) => unknown, config: unknown): unknown {
  return Reflect.apply(build, null, [config]);
}

function assertNoSecret(text: string): void {
  assert(!text.includes("PRIVATE KEY"), text);
  assert(!text.includes("MIG"), text);
}

Deno.test("an sslctx shows the policy, frozen, and nothing of the files", async () => {
  await using pki = await TempPKI.create();
  const client = buildClientSslctx(pki.clientSslconfig);
  const server = buildServerSslctx(pki.serverSslconfig);
  for (const sslctx of [client, server]) {
    assertEquals([sslctx.minVersion, sslctx.maxVersion], ["TLSv1.2", "TLSv1.3"]);
    assertEquals(sslctx.ciphers.toSorted(), CIPHERS);
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

Deno.test("an sslctx is taken as it is, and a config makes one", async () => {
  await using pki = await TempPKI.create();
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

Deno.test("a config with a mistake is refused before anything is connected", async (t) => {
  await using pki = await TempPKI.create();
  const { caFile, certFile = "", keyFile = "" } = pki.clientSslconfig;
  const { serverSslconfig } = pki;
  const bad: unknown = null;
  const clients: readonly [string, unknown, ErrorConstructor, string][] = [
    ["null", bad, TypeError, "need an object or an sslctx; got null"],
    ["a string", "caFile", TypeError, "got string"],
    ["an array", [], TypeError, "got Array"],
    ["an unknown option", { cafile: caFile }, TypeError, 'unknown option "cafile"'],
    ["a path that is a number", { caFile: 1 }, TypeError, "caFile: need a string; got number"],
    ["a path that is null", { caPath: null }, TypeError, "caPath: need a string; got null"],
    ["a relative path", { caFile: "ca.pem" }, RangeError, "caFile: need an absolute path"],
    ["a relative directory", { caPath: "./ca" }, RangeError, "caPath: need an absolute path"],
    ["a path with NUL", { caFile: "/tmp/\0" }, RangeError, "caFile: need an absolute path"],
    ["checkHostname: 1", { checkHostname: 1 }, TypeError, "checkHostname: need a boolean"],
    ["no name and no authority", { checkHostname: false }, RangeError, "caFile or caPath"],
    ["a certificate without key", { certFile }, RangeError, "need both or neither"],
    ["a key without certificate", { keyFile }, RangeError, "need both or neither"],
    [
      "a key of another certificate",
      { certFile, keyFile: serverSslconfig.keyFile },
      RangeError,
      "keyFile: the key in",
    ],
    ["a key as authority", { caFile: keyFile }, RangeError, "caFile: "],
    ["a certificate as key", { certFile, keyFile: certFile }, RangeError, "found 0"],
    ["a leaf as authority", { caFile: certFile }, RangeError, "is not the certificate of an"],
  ];
  for (const [name, config, Class, message] of clients) {
    await t.step(`client: ${name}`, () => {
      const error = assertThrows(() => buildWith(buildClientSslctx, config), Class, message);
      assertNoSecret(error.message);
    });
  }
  const servers: readonly [string, unknown, ErrorConstructor, string][] = [
    ["no certificate", { caFile }, TypeError, "certFile: need a string"],
    ["no key", { certFile, caFile }, TypeError, "keyFile: need a string"],
    ["no trust", { certFile, keyFile }, RangeError, "got neither"],
    [
      "both trusts",
      { certFile, keyFile, caFile, allowUnauthenticatedClients: true },
      RangeError,
      "got both",
    ],
    [
      "allowUnauthenticatedClients: false",
      { certFile, keyFile, caFile, allowUnauthenticatedClients: false },
      RangeError,
      "need true",
    ],
    [
      "allowUnauthenticatedClients: 1",
      { certFile, keyFile, allowUnauthenticatedClients: 1 },
      TypeError,
      "need true; got number",
    ],
    ["an option of clients", { ...serverSslconfig, checkHostname: true }, TypeError, "unknown"],
  ];
  for (const [name, config, Class, message] of servers) {
    await t.step(`server: ${name}`, () => {
      const error = assertThrows(() => buildWith(buildServerSslctx, config), Class, message);
      assertNoSecret(error.message);
    });
  }
});

/** The texts in the files of a configuration. */
async function readTexts(files: { certFile?: string; keyFile?: string; caFile?: string }) {
  const [cert, key, ca] = await Promise.all(
    [files.certFile, files.keyFile, files.caFile].map((path) => Deno.readTextFile(path!)),
  );
  return { cert: cert!, key: key!, ca: ca! };
}

Deno.test("PEM text takes the place of files, on both ends, in one piece or in several", async (t) => {
  await using pki = await TempPKI.create();
  await using other = await TempPKI.create();
  const server = await readTexts(pki.serverSslconfig);
  const client = { ...await readTexts(pki.clientSslconfig), checkHostname: false };
  const stranger = await readTexts(other.serverSslconfig);
  const crlf = (text: string) => text.replaceAll("\n", "\r\n");
  const rows: readonly [string, ServerSslconfig, ClientSslconfig][] = [
    ["one text", server, client],
    ["a list", { ...server, ca: [server.ca] }, { ...client, ca: [client.ca] }],
    ["several", { ...server, ca: [stranger.ca, server.ca] }, {
      ...client,
      ca: [stranger.ca + client.ca, stranger.ca],
    }],
    ["text around it, other line ends", { ...server, ca: `Hello\n${server.ca}world` }, {
      ...client,
      cert: crlf(client.cert),
      key: crlf(client.key),
      ca: crlf(client.ca),
    }],
    ["text for the one, files for the other", {
      cert: server.cert,
      key: server.key,
      caFile: pki.serverSslconfig.caFile,
    }, { ...pki.clientSslconfig, caFile: undefined, ca: client.ca }],
  ];
  for (const [name, serverSslconfig, clientSslconfig] of rows) {
    await t.step(name, async () => {
      const sslconfigs = { serverSslconfig, clientSslconfig };
      await using endpoint = await startTls(sslconfigs, (_, { peerCertificate }) => [
        200,
        "OK",
        { authority: peerCertificate?.authority?.fingerprint256 ?? "nobody" },
        null,
      ]);
      const { headers } = await endpoint.client.request("GET", "/");
      assertEquals(headers["authority"], new X509Certificate(server.ca).fingerprint256);
    });
  }
});

Deno.test("PEM text needs no permission to read", async () => {
  await using pki = await TempPKI.create();
  const { cert, key, ca } = await readTexts(pki.serverSslconfig);
  const client = { ...await readTexts(pki.clientSslconfig), checkHostname: false };
  const script = `
    import { SSLClient } from "./client.ts";
    import { SSLServer } from "./server.ts";
    const { server: own, client: other } = JSON.parse(Deno.env.get("CONFIGS"));
    const server = new SSLServer(own, ["127.0.0.1", 0], () => [204, "No Content", {}, null]);
    const serving = server.serveForever();
    await server.ready;
    const { status } = await new SSLClient(other, server.address).request("GET", "/");
    server.close();
    await serving;
    console.log(status);
  `;
  const env = { CONFIGS: JSON.stringify({ server: { cert, key, ca }, client }) };
  const permissions = ["--allow-net=127.0.0.1", "--allow-env=CONFIGS"];
  assertEquals(await runScript(script, permissions, env), "204\n");
});

Deno.test("text that can't be used, and text beside files, are errors that show none of it", async (t) => {
  await using pki = await TempPKI.create();
  const { certFile, keyFile, caFile } = pki.clientSslconfig;
  const { cert, key, ca } = await readTexts(pki.clientSslconfig);
  const { key: otherKey } = await readTexts(pki.serverSslconfig);
  const gaps: unknown[] = [ca];
  gaps.length = 2;
  const both: readonly [string, unknown, ErrorConstructor, RegExp][] = [
    ["ca and caFile", { ca, caFile }, TypeError, /^ca, caFile: .*got both/],
    ["ca and caPath", { ca, caPath: pki.clientSslconfig.caFile }, TypeError, /^ca, caPath: /],
    ["an empty ca and caFile", { ca: [], caFile }, TypeError, /^ca, caFile: /],
    ["cert and certFile", { cert, key, certFile }, TypeError, /^cert, certFile: /],
    ["key and keyFile", { cert, key, keyFile }, TypeError, /^cert, keyFile: /],
    ["cert with keyFile", { cert, keyFile, ca }, TypeError, /^cert, keyFile: /],
    ["certFile with key", { certFile, key, ca }, TypeError, /^key, certFile: /],
    ["a ca that is a number", { ca: 1 }, TypeError, /^ca: need a string or an array/],
    ["a ca that is null", { ca: null }, TypeError, /^ca: .*got null/],
    ["a ca of bytes", { ca: new Uint8Array(3) }, TypeError, /^ca: .*got Uint8Array/],
    ["a list with a number", { ca: [ca, 1] }, TypeError, /^ca: need an array of strings/],
    ["a list with a gap", { ca: gaps }, TypeError, /^ca: need an array of strings/],
    ["a list in a list", { ca: [[ca]] }, TypeError, /^ca: need an array of strings/],
    ["a cert in a list", { cert: [cert], key }, TypeError, /^cert: need a string/],
    ["a key of bytes", { cert, key: new Uint8Array(3) }, TypeError, /^key: need a string/],
    ["an empty text", { cert, key, ca: "" }, RangeError, /^ca: the text holds no certificate/],
    ["an empty text in a list", { cert, key, ca: [ca, ""] }, RangeError, /^ca: text 2 holds no/],
    ["a path as text", { cert, key, ca: caFile }, RangeError, /^ca: the text holds no cert/],
    [
      "a leaf",
      { cert, key, ca: [ca, cert] },
      RangeError,
      /^ca: certificate 1 in text 2, .*CA:TRUE/,
    ],
    [
      "a key as authority",
      { cert, key, ca: key },
      RangeError,
      /^ca: the text holds no certificate/,
    ],
    ["a cut ca", { cert, key, ca: ca.slice(0, 200) }, RangeError, /^ca: certificate 1 in the text/],
    ["a key of another", { cert, key: otherKey, ca }, RangeError, /^key: .* does not belong/],
    ["no key in it", { cert, key: cert, ca }, RangeError, /^key: need one private key/],
    ["a damaged key", { cert, key: key.replace(/^M.{30}/m, "MAAA"), ca }, RangeError, /^key: the/],
    ["a text as path", { certFile, keyFile: key, ca }, RangeError, /^keyFile: .*belongs in key$/],
    ["a text as caFile", { caFile: ca, cert, key }, RangeError, /^caFile: .*belongs in ca$/],
  ];
  const clients: typeof both = [
    ["an empty ca", { ca: [] }, RangeError, /^ca: need an authority/],
    ["a cert without key", { cert, ca }, RangeError, /^cert, key: need both or neither/],
    ["a key without cert", { key, ca }, RangeError, /^cert, key: need both or neither/],
  ];
  const servers: typeof both = [
    ["a cert without key", { cert, ca }, TypeError, /^key: need a string/],
    ["a key without cert", { key, ca }, TypeError, /^cert: need a string/],
    [
      "ca and everybody",
      { cert, key, ca, allowUnauthenticatedClients: true },
      RangeError,
      /got both/,
    ],
    [
      "nobody and everybody",
      { cert, key, ca: [], allowUnauthenticatedClients: true },
      RangeError,
      /got both/,
    ],
    ["no ca", { cert, key }, RangeError, /got neither/],
  ];
  const secrets = [cert, key, ca, otherKey].map((text) => text.split("\n")[1]!.slice(0, 16));
  const check = (build: (config: never) => unknown, rows: typeof both) => {
    for (const [name, config, Class, message] of rows) {
      const error = assertThrows(() => buildWith(build, config), Class);
      assertMatch(error.message, message, name);
      for (const secret of secrets) assert(!error.message.includes(secret), error.message);
      assertNoSecret(error.message);
    }
  };
  await t.step("client", () => check(buildClientSslctx, [...both, ...clients]));
  await t.step("server", () => check(buildServerSslctx, [...both, ...servers]));
});

Deno.test("a server with an empty ca lets nobody in yet, and says so", async (t) => {
  await using pki = await TempPKI.create();
  const { cert, key } = await readTexts(pki.serverSslconfig);
  const serverSslconfig = { cert, key, ca: [] };
  const sslctx = buildServerSslctx(serverSslconfig);
  assertEquals(sslctx.verify, true);
  assertEquals(sslctx.warnings, ["ca: no authority is trusted yet, so nobody is let in"]);
  let requests = 0;
  const trust = { serverSslconfig, clientSslconfig: pki.clientSslconfig };
  await using endpoint = await startTls(trust, () => {
    requests++;
    return [204, "No Content", {}, null];
  });
  const { server: { address }, logger } = endpoint;
  const rows: readonly [string, ClientSslconfig, string][] = [
    ["a client with a certificate", pki.clientSslconfig, "UNTRUSTED"],
    ["a client without", pki.anonymousClientSslconfig, "NO_CERTIFICATE"],
  ];
  for (const [name, config, code] of rows) {
    await t.step(name, async () => {
      logger.lines.length = 0;
      const client = new SSLClient(config, address, { timeout: 10 });
      await assertRejects(() => client.request("GET", "/"));
      const [line] = await logger.waitFor("info");
      assertStringIncludes(line!, `the handshake failed: ${code}: `);
    });
  }
  assertEquals(requests, 0);
});

Deno.test("a file that is missing or not what it should be is named with its option", async (t) => {
  await using pki = await TempPKI.create();
  await using dir = await tempDir();
  const { caFile, certFile = "", keyFile = "" } = pki.clientSslconfig;
  const certificate = await Deno.readTextFile(certFile);
  const key = await Deno.readTextFile(keyFile);
  const write = async (name: string, text: string) => {
    await Deno.writeTextFile(join(dir.path, name), text);
    return join(dir.path, name);
  };
  const cut = await write("cut.pem", certificate.slice(0, 200));
  const damaged = await write("damaged.pem", certificate.replace("MII", "AAA"));
  const second = await write("second.pem", certificate + certificate.replace("MII", "AAA"));
  const der = join(dir.path, "der.pem");
  await Deno.writeFile(der, Uint8Array.fromBase64(certificate.split("-----")[2]!));
  const missing = join(dir.path, "missing");
  const twoKeys = await write("two_keys.pem", key + key);
  const cutKey = await write("cut_key.pem", key.replace(/^M.{30}/m, "MAAA"));
  const rows: readonly [string, ClientSslconfig, new () => Error, RegExp][] = [
    ["missing", { caFile: missing }, Deno.errors.NotFound, /^caFile: .*\/missing/],
    ["missing directory", { caPath: missing }, Deno.errors.NotFound, /^caPath: /],
    ["a directory", { caFile: dir.path }, Error, /^caFile: /],
    ["no PEM", { caFile: await write("text", "hello") }, RangeError, /^caFile: .* no certificate/],
    ["empty", { caFile: await write("empty", "") }, RangeError, /^caFile: .* no certificate/],
    ["DER", { caFile: der }, RangeError, /^caFile: .* no certificate/],
    ["cut", { caFile: cut }, RangeError, /^caFile: certificate 1 in .*cut\.pem" can't be read/],
    ["damaged", { caFile: damaged }, RangeError, /^caFile: certificate 1 .* can't be read/],
    ["the second one", { certFile: second, keyFile }, RangeError, /^certFile: certificate 2 /],
    ["two keys", { certFile, keyFile: twoKeys }, RangeError, /^keyFile: .*; found 2$/],
    ["a damaged key", { certFile, keyFile: cutKey }, RangeError, /^keyFile: .* can't be read$/],
    [
      "an empty directory",
      { caPath: await Deno.makeTempDir({ dir: dir.path }) },
      RangeError,
      /no file/,
    ],
  ];
  for (const [name, config, Class, message] of rows) {
    await t.step(name, () => {
      const error = assertThrows(() => buildClientSslctx(config));
      assertInstanceOf(error, Class);
      assertMatch(error.message, message);
      assertNoSecret(error.message);
    });
  }
  await t.step("a directory in which one file is not an authority's", async () => {
    const caPath = await Deno.makeTempDir({ dir: dir.path });
    await Deno.copyFile(caFile, join(caPath, "a.pem"));
    await Deno.writeTextFile(join(caPath, "b.crt"), key);
    assertThrows(() => buildClientSslctx({ caPath }), RangeError, 'b.crt" holds no certificate');
  });
});

Deno.test({
  name: "keys that are encrypted, weak or of an unknown kind are refused; others are taken",
  ...needsOpenssl,
  async fn(t) {
    await using pki = await OpensslPki.create();
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
    const refused: readonly [string, ServerSslconfig, string][] = [
      ["PKCS #8, encrypted", await convert("good", "encrypted", ...encryption), "is encrypted"],
      [
        "PKCS #1, encrypted",
        await convert("rsa", "encrypted1", "-traditional", ...encryption),
        "is encrypted",
      ],
    ];
    const kinds: readonly [string, readonly string[]][] = [
      ["rsa1024", KEY.rsa1024],
      ["secp256k1", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"]],
      ["ed448", ["-algorithm", "ED448"]],
    ];
    for (const [name, key] of kinds) await pki.server(name, { issuer: authority, key });
    const weak = kinds.map(([name]) =>
      [name, config(name), "of a kind that can't be used"] as const
    );
    for (const [name, given, message] of [...refused, ...weak]) {
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
});

Deno.test({
  name: "certificates that peers will not like are listed in warnings",
  ...needsOpenssl,
  async fn() {
    await using pki = await OpensslPki.create();
    const authority = await pki.authority("authority", { to: timeFromNow(-1) });
    const early = await pki.server("early", { issuer: authority, from: timeFromNow(1) });
    const server = buildServerSslctx({ ...early, caFile: authority.certFile });
    assertEquals(server.warnings.length, 2);
    assertMatch(
      server.warnings[0]!,
      /^certFile: certificate 1, of "CN=early", is not valid before 2/,
    );
    assertMatch(
      server.warnings[1]!,
      /^caFile: certificate 1 in .*, of "CN=authority", has expired at 2/,
    );
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
  },
});

Deno.test({
  name: "caFile and caPath together trust all of their authorities, bundles and hashed names too",
  ...needsOpenssl,
  async fn() {
    await using pki = await OpensslPki.create();
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
});

Deno.test("sslHost is the host of the address, and is needed where names are checked", async (t) => {
  await using pki = await TempPKI.create();
  const { caFile } = pki.clientSslconfig;
  const name = new TextEncoder().encode("\0name");
  const hosts: readonly [ConstructorParameters<typeof SSLClient>[1], string | null][] = [
    [["www.example.com", 443], "www.example.com"],
    [["203.0.113.7", 443], "203.0.113.7"],
    [["2001:db8::1", 443, 0, 0], "2001:db8::1"],
    [["fe80::1%eth0", 443], "fe80::1"],
    [["fe80::1", 443, 0, 3], "fe80::1"],
    ["/run/socket", null],
    [name, null],
  ];
  for (const [address, sslHost] of hosts) {
    await t.step(Deno.inspect(address), () => {
      const unchecked = { caFile, checkHostname: false };
      assertEquals(new SSLClient(unchecked, address).sslHost, sslHost);
      const given = new SSLClient({ caFile }, address, { sslHost: "a.example" });
      assertEquals(given.sslHost, "a.example");
      const make = () => new SSLClient({ caFile }, address);
      if (sslHost === null) assertThrows(make, RangeError, "sslHost: need a name");
      else assertEquals(make().sslHost, sslHost);
    });
  }
  await t.step("null on purpose", () => {
    const options = { sslHost: null };
    assertThrows(() => new SSLClient({}, ["example.com", 443], options), RangeError, "sslHost");
  });
  await t.step("values that are not allowed", () => {
    for (const sslHost of ["", "a b", "a..b", "*.example", "1.2.3", "a".repeat(64), ".a"]) {
      assertThrows(() => new SSLClient({}, ["a", 1], { sslHost }), RangeError, "sslHost", sslHost);
    }
    const options: unknown = { sslHost: 1 };
    const make = () => Reflect.construct(SSLClient, [{}, ["a", 1], options]);
    assertThrows(make, TypeError, "sslHost: need a string or null; got number");
  });
  await t.step("the port is left out of host where it is 443", () => {
    assertEquals(new SSLClient({}, ["example.com", 443]).host, "example.com");
    assertEquals(new SSLClient({}, ["example.com", 80]).host, "example.com:80");
  });
});
