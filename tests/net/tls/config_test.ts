/** The options of an sslconfig, the contents of its files, and the resulting context. */
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
import { X509Certificate } from "node:crypto";
import { getCiphers, type TLSSocket } from "node:tls";
import { TlsError } from "@degu/degu/base";
import {
  buildClientSslctx,
  type ClientSslconfig,
  type ClientSslctx,
  SSLClient,
} from "@degu/degu/client";
import { buildServerSslctx, type ServerSslconfig, SSLServer } from "@degu/degu/server";
import { TempPKI } from "@degu/internal/misc/pki.ts";
import { formatPem } from "@degu/internal/net/tls/certificate.ts";
import { checkNegotiated, CIPHERS, LIBRARY_OPTIONS } from "@degu/internal/net/tls/policy.ts";
import { makeAuthority } from "@degu/testing/authorities.ts";
import { derOf } from "@degu/testing/certificates.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { callWith } from "@degu/testing/expectations.ts";
import { runScript } from "@degu/testing/processes.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { assertNoSecret, readTexts } from "@degu/testing/tls_configs.ts";
import { openSharedPki, startTls } from "@degu/testing/tls_endpoints.ts";
import { formatTimeFromNow, KEY, testWithOpenssl } from "@degu/testing/tls_openssl.ts";

const pki = await openSharedPki();

/** Configurations that are refused with a message: with a TypeError, and with a RangeError. */
type Rows = Record<"types" | "ranges", readonly (readonly [string, config: unknown, RegExp])[]>;

Deno.test("a wrong config is an error before any connection is made, and shows nothing of a key", async (t) => {
  const { serverSslconfig } = pki;
  const { certFile, keyFile, caFile } = pki.clientSslconfig;
  const { cert, key, ca } = await readTexts(pki.clientSslconfig);
  const { key: otherKey } = await readTexts(pki.serverSslconfig);
  const gaps: unknown[] = [ca];
  gaps.length = 2;
  const both: Rows = {
    types: [
      ["null", null, /must be an object or an sslctx; got null/],
      ["a string", "caFile", /got string/],
      ["an array", [], /got Array/],
      ["an unknown option", { cafile: caFile }, /unknown option "cafile"/],
      ["a path that is a number", { caFile: 1 }, /^caFile: must be a string; got number/],
      ["a path that is null", { caPath: null }, /^caPath: must be a string; got null/],
      ["ca and caFile", { ca, caFile }, /^ca, caFile: .*got both/],
      ["ca and caPath", { ca, caPath: pki.clientSslconfig.caFile }, /^ca, caPath: /],
      ["an empty ca and caFile", { ca: [], caFile }, /^ca, caFile: /],
      ["cert and certFile", { cert, key, certFile }, /^cert, certFile: /],
      ["key and keyFile", { cert, key, keyFile }, /^cert, keyFile: /],
      ["cert with keyFile", { cert, keyFile, ca }, /^cert, keyFile: /],
      ["certFile with key", { certFile, key, ca }, /^key, certFile: /],
      ["a ca that is a number", { ca: 1 }, /^ca: must be a string or an array/],
      ["a ca that is null", { ca: null }, /^ca: .*got null/],
      ["a ca of bytes", { ca: new Uint8Array(3) }, /^ca: .*got Uint8Array/],
      ["a list with a number", { ca: [ca, 1] }, /^ca: must be an array of strings/],
      ["a list with a gap", { ca: gaps }, /^ca: must be an array of strings/],
      ["a list in a list", { ca: [[ca]] }, /^ca: must be an array of strings/],
      ["a cert in a list", { cert: [cert], key }, /^cert: must be a string/],
      ["a key of bytes", { cert, key: new Uint8Array(3) }, /^key: must be a string/],
    ],
    ranges: [
      ["a relative path", { caFile: "ca.pem" }, /^caFile: must be .* path; got "ca.pem"/],
      ["a relative directory", { caPath: "./ca" }, /^caPath: must be an absolute path/],
      ["a path with NUL", { caFile: "/tmp/\0" }, /^caFile: must be an absolute path/],
      ["an empty text", { cert, key, ca: "" }, /^ca: the text holds no certificate/],
      ["an empty text in a list", { cert, key, ca: [ca, ""] }, /^ca: text 2 holds no/],
      ["a path as text", { cert, key, ca: caFile }, /^ca: the text holds no cert/],
      ["a leaf", { cert, key, ca: [ca, cert] }, /^ca: certificate 1 in text 2, .*CA:TRUE/],
      ["a key as authority", { cert, key, ca: key }, /^ca: the text holds no certificate/],
      ["a cut ca", { cert, key, ca: ca.slice(0, 200) }, /^ca: certificate 1 in the text/],
      ["a key of another", { cert, key: otherKey, ca }, /^key: .* does not belong/],
      ["no key in it", { cert, key: cert, ca }, /^key: must have one private key/],
      ["a damaged key", { cert, key: key.replace(/^M.{30}/m, "MAAA"), ca }, /^key: the/],
      ["a text as path", { certFile, keyFile: key, ca }, /^keyFile: .*belongs in key$/],
      ["a text as caFile", { caFile: ca, cert, key }, /^caFile: .*belongs in ca$/],
    ],
  };
  const clients: Rows = {
    types: [
      ["checkHostname: 1", { checkHostname: 1 }, /^checkHostname: must be a boolean/],
    ],
    ranges: [
      ["no name and no authority", { checkHostname: false }, /caFile or caPath/],
      ["a certFile without keyFile", { certFile }, /^certFile, keyFile: must both be/],
      ["a keyFile without certFile", { keyFile }, /^certFile, keyFile: must both be/],
      ["a keyFile as caFile", { caFile: keyFile }, /^caFile: .* holds no certificate/],
      ["a certFile as keyFile", { certFile, keyFile: certFile }, /^keyFile: .*got 0/],
      ["a leaf as caFile", { caFile: certFile }, /^caFile: .*is not the certificate of an/],
      ["an empty ca", { ca: [] }, /^ca: must have an authority/],
      ["a cert without key", { cert, ca }, /^cert, key: must both be given/],
      ["a key without cert", { key, ca }, /^cert, key: must both be given/],
    ],
  };
  const servers: Rows = {
    types: [
      ["no certFile", { caFile }, /^certFile: must be a string/],
      ["no keyFile", { certFile, caFile }, /^keyFile: must be a string/],
      [
        "1 for everybody",
        { cert, key, allowUnauthenticatedClients: 1 },
        /must be a boolean; got number/,
      ],
      [
        "not everybody, and no authority",
        { cert, key, allowUnauthenticatedClients: false },
        /must have ca, caFile or caPath.*or allowUnauthenticatedClients: true.*got neither/,
      ],
      ["no ca", { cert, key }, /got neither/],
      ["an option of clients", { ...serverSslconfig, checkHostname: true }, /unknown/],
      ["a cert without key", { cert, ca }, /^key: must be a string/],
      ["a key without cert", { key, ca }, /^cert: must be a string/],
    ],
    ranges: [],
  };
  const secrets = [cert, key, ca, otherKey].map((text) => text.split("\n")[1]!.slice(0, 16));
  const check = (build: (config: never) => unknown, { types, ranges }: Rows) => {
    for (const [Class, rows] of [[TypeError, types], [RangeError, ranges]] as const) {
      for (const [name, config, message] of rows) {
        const error = assertThrows(() => callWith(build, config), Class);
        assertMatch(error.message, message, name);
        for (const secret of secrets) assert(!error.message.includes(secret), error.message);
        assertNoSecret(error.message);
      }
    }
  };
  for (const rows of [both, clients]) await t.step("client", () => check(buildClientSslctx, rows));
  for (const rows of [both, servers]) await t.step("server", () => check(buildServerSslctx, rows));
});

Deno.test("sslHost defaults to the host of the address, and is required if names are checked", async (t) => {
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
      if (sslHost === null) assertThrows(make, RangeError, "sslHost: must be the name");
      else assertEquals(make().sslHost, sslHost);
    });
  }
  await t.step("null on purpose", () => {
    const options = { sslHost: null };
    assertThrows(() => new SSLClient({}, ["example.com", 443], options), RangeError, "sslHost");
  });
  await t.step("values that are not allowed", () => {
    // The Kelvin sign is k in lower case.
    const kelvin = ["\u212a.local", "k.\u212aOM", "\u0130.local"];
    const wrong = ["", "a b", "a..b", "*.example", "1.2.3", "a".repeat(64), ".a", ...kelvin];
    for (const sslHost of wrong) {
      assertThrows(() => new SSLClient({}, ["a", 1], { sslHost }), RangeError, "sslHost", sslHost);
    }
    const options: unknown = { sslHost: 1 };
    const make = () => Reflect.construct(SSLClient, [{}, ["a", 1], options]);
    assertThrows(make, TypeError, "sslHost: must be a string or null; got number");
  });
  await t.step("port 443 is omitted from host", () => {
    assertEquals(new SSLClient({}, ["example.com", 443]).host, "example.com");
    assertEquals(new SSLClient({}, ["example.com", 80]).host, "example.com:80");
  });
});

Deno.test("PEM text replaces files, on both ends, as a single string or several", async (t) => {
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
      caFile: pki.serverSslconfig.caFile!,
    }, { ...pki.clientSslconfig, caFile: undefined, ca: client.ca }],
  ];
  await testEachRow(t, rows, async (_name, serverSslconfig, clientSslconfig) => {
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
});

Deno.test("PEM text needs no permission to read", async () => {
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

Deno.test("a missing or invalid file is reported with its option", async (t) => {
  await using dir = await createTempDir();
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
  // CA:TRUE, in a form that other programs take for it.
  const padded = makeAuthority().der.toHex().replace("30030101ff", "3003010101");
  const noDer = await write("no_der.pem", formatPem(Uint8Array.fromHex(padded)));
  const missing = join(dir.path, "missing");
  const empty = await Deno.makeTempDir({ dir: dir.path });
  const twoKeys = await write("two_keys.pem", key + key);
  const cutKey = await write("cut_key.pem", key.replace(/^M.{30}/m, "MAAA"));
  const rows: readonly [string, ClientSslconfig, new () => Error, RegExp][] = [
    ["missing", { caFile: missing }, Deno.errors.NotFound, /^caFile: .*\/missing/],
    ["missing directory", { caPath: missing }, Deno.errors.NotFound, /^caPath: /],
    ["a directory", { caFile: dir.path }, Error, /^caFile: /],
    ["no PEM", { caFile: await write("text", "hello") }, RangeError, /^caFile: .* no certificate/],
    ["empty", { caFile: await write("empty", "") }, RangeError, /^caFile: .* no certificate/],
    ["DER", { caFile: der }, RangeError, /^caFile: .* no certificate/],
    ["cut", { caFile: cut }, RangeError, /^caFile: certificate 1 in ".* can't be read/],
    ["damaged", { caFile: damaged }, RangeError, /^caFile: certificate 1 .* can't be read/],
    ["no DER", { caFile: noDer }, RangeError, /^caFile: certificate 1 .*: DER: a boolean that is/],
    ["the second one", { certFile: second, keyFile }, RangeError, /^certFile: certificate 2 /],
    ["two keys", { certFile, keyFile: twoKeys }, RangeError, /^keyFile: .*; got 2$/],
    ["a damaged key", { certFile, keyFile: cutKey }, RangeError, /^keyFile: .* can't be read$/],
    ["an empty directory", { caPath: empty }, RangeError, /no file/],
  ];
  await testEachRow(t, rows, (_name, config, Class, message) => {
    const error = assertThrows(() => buildClientSslctx(config));
    assertInstanceOf(error, Class);
    assertMatch(error.message, message);
    assertNoSecret(error.message);
  });
  await t.step("a directory with a file that holds no certificate of an authority", async () => {
    const caPath = await Deno.makeTempDir({ dir: dir.path });
    await Deno.copyFile(caFile, join(caPath, "a.pem"));
    await Deno.writeTextFile(join(caPath, "b.crt"), key);
    assertThrows(() => buildClientSslctx({ caPath }), RangeError, "holds no certificate");
  });
});

// ───────────────────────── the contexts that are made of it

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
  await testEachRow(t, rows, async (_name, config, code) => {
    logger.lines.length = 0;
    const client = new SSLClient(config, address, { timeout: 60 });
    await assertRejects(() => client.request("GET", "/"));
    const [line] = await logger.waitFor("info");
    assertStringIncludes(line!, `the handshake failed: ${code}: `);
  });
  assertEquals(requests, 0);
});

testWithOpenssl("encrypted, weak and unknown kinds of keys are refused", async (pki, t) => {
  const authority = await pki.createAuthority("authority");
  const config = (name: string) => ({
    certFile: pki.makePath(`${name}.pem`),
    keyFile: pki.makePath(`${name}.key`),
    allowUnauthenticatedClients: true,
  });
  const good = await pki.createServerCertificate("good", { issuer: authority });
  await pki.createServerCertificate("rsa", { issuer: authority, key: KEY.rsa2048 });
  const convert = async (from: string, to: string, ...args: string[]) => {
    await pki.run("pkey", "-in", `${from}.key`, "-out", `${to}.key`, ...args);
    return { ...config(from), keyFile: pki.makePath(`${to}.key`) };
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
    await pki.createServerCertificate(name, { issuer: authority, key });
    refused.push([name, config(name), "of an unsupported kind"]);
  }
  for (const [name, given, message] of refused) {
    await t.step(`refused: ${name}`, () => {
      const error = assertThrows(() => buildServerSslctx(given), RangeError, message);
      assertNoSecret(error.message);
    });
  }
  await pki.createServerCertificate("p384", { issuer: authority, key: KEY.p384 });
  await pki.createServerCertificate("ed25519", { issuer: authority, key: KEY.ed25519 });
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
});

testWithOpenssl("certificates that peers will reject are listed in warnings", async (pki) => {
  const authority = await pki.createAuthority("authority", { to: formatTimeFromNow(-1) });
  const early = await pki.createServerCertificate("early", {
    issuer: authority,
    from: formatTimeFromNow(1),
  });
  const server = buildServerSslctx({ ...early, caFile: authority.certFile });
  const notYet = /^certFile: certificate 1, of "CN=early", is not valid before 2/;
  const over = /^caFile: certificate 1 in .*, of "CN=authority", has expired at 2/;
  assertEquals(server.warnings.length, 2);
  for (const [i, warning] of [notYet, over].entries()) assertMatch(server.warnings[i]!, warning);
  const client = await pki.createClientCertificate("client", { issuer: authority });
  const chain = await pki.join("chain.pem", client.certFile, authority.certFile);
  const { warnings } = buildServerSslctx({
    certFile: chain,
    keyFile: client.keyFile,
    allowUnauthenticatedClients: true,
  });
  assertEquals(warnings.length, 2);
  assertStringIncludes(warnings[0]!, "an extendedKeyUsage without serverAuth");
  assertMatch(warnings[1]!, /^certFile: certificate 2, of "CN=authority", has expired/);
  const [cert, key] = [
    await Deno.readTextFile(client.certFile),
    await Deno.readTextFile(client.keyFile),
  ];
  // [0] of a certificate has its version.
  const older = derOf(cert).toHex().replace("a003020102", "a003020101");
  const old = buildClientSslctx({ cert: formatPem(Uint8Array.fromHex(older)), key });
  assertStringIncludes(old.warnings[0]!, "the certificate has version 2 instead of 3");
});

testWithOpenssl("caFile and caPath together trust all of their authorities", async (pki) => {
  const first = await pki.createAuthority("first");
  const second = await pki.createAuthority("second");
  const third = await pki.createAuthority("third");
  const fourth = await pki.createAuthority("fourth");
  const caPath = pki.makePath("authorities");
  await Deno.mkdir(join(caPath, "folder.pem"), { recursive: true });
  await Deno.writeTextFile(join(caPath, "README"), "not looked at");
  await pki.join("authorities/bundle.crt", first.certFile, second.certFile);
  await Deno.copyFile(third.certFile, join(caPath, "0a1b2c3d.0"));
  const own = await pki.createServerCertificate("own", { issuer: first });
  const trust = {
    serverSslconfig: { ...own, caFile: fourth.certFile, caPath },
    clientSslconfig: { caPath: `${caPath}/`, caFile: first.certFile },
  };
  await using endpoint = await startTls(trust, () => [204, "No Content", {}, null]);
  for (const [index, issuer] of [first, second, third, fourth].entries()) {
    const client = await pki.createClientCertificate(`client${index}`, { issuer });
    const sslconfig = { ...trust.clientSslconfig, ...client };
    const sslclient = new SSLClient(sslconfig, endpoint.server.address, { timeout: 60 });
    assertEquals((await sslclient.request("GET", "/")).status, 204);
  }
});

/** Runs with `AUTHORITY` in Deno's default trust store; prints the results of handshakes. */
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

testWithOpenssl("a private authority replaces the default trust store", async (pki, t) => {
  const authority = await pki.createAuthority("authority");
  const clientAuthority = await pki.createAuthority("client_authority");
  const world = await pki.createAuthority("world");
  const files = {
    authority: authority.certFile,
    clientAuthority: clientAuthority.certFile,
    own: await pki.createServerCertificate("own", { issuer: authority }),
    client: await pki.createClientCertificate("client", { issuer: clientAuthority }),
    publicOne: await pki.createServerCertificate("public", { issuer: world }),
    publicClient: await pki.createClientCertificate("public_client", { issuer: world }),
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
});

/** Results of a handshake, most of which no current library allows. */
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

Deno.test("a handshake outside the policy is refused, even if the library accepts it", () => {
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
