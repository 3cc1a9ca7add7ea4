/** The options of an sslconfig, the contents of its files, and the resulting context. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { join } from "@std/path";
import { X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { TlsError } from "@degu/degu/base";
import { buildClientSslctx, type ClientSslconfig, SSLClient } from "@degu/degu/client";
import { buildServerSslctx, type ServerSslconfig } from "@degu/degu/server";
import { TempPKI } from "@degu/internal/misc/pki.ts";
import { formatPem } from "@degu/internal/net/tls/certificate.ts";
import { checkNegotiatedParameters, CIPHERS } from "@degu/internal/net/tls/context.ts";
import { derOf } from "./certificates.ts";
import { runCommand } from "@degu/testing/commands.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { callWith } from "@degu/testing/expectations.ts";
import { patch } from "@degu/testing/patching.ts";
import { runScript } from "@degu/testing/processes.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { openSharedPki, readTexts, startTls } from "@degu/testing/tls_endpoints.ts";
import { formatTimeFromNow, KEY, needsOpenssl, OpensslPki } from "./tls_openssl.ts";

/** Asserts that a text has no part of a PEM file. */
function assertNoSecret(text: string): void {
  assert(!text.includes("PRIVATE KEY"), text);
  assert(!text.includes("MIG"), text);
}

const pki = await openSharedPki();

/** Configurations that are refused with a TypeError (`types`) or a RangeError (`ranges`). */
type RefusedConfigs = Record<
  "types" | "ranges",
  readonly (readonly [string, config: unknown, RegExp])[]
>;

Deno.test("a wrong config is an error before connecting, and the message doesn't quote a key", async (t) => {
  const { serverSslconfig } = pki;
  const { certFile, keyFile, caFile } = pki.clientSslconfig;
  const { cert, key, ca } = await readTexts(pki.clientSslconfig);
  const { key: otherKey } = await readTexts(pki.serverSslconfig);
  const commonRows: RefusedConfigs = {
    types: [
      ["null", null, /must be an object or an sslctx; got null/],
      ["an unknown option", { cafile: caFile }, /unknown option "cafile"/],
      ["ca and caFile", { ca, caFile }, /^ca, caFile: .*got both/],
      ["cert with keyFile", { cert, keyFile, ca }, /^cert, keyFile: /],
      ["a ca that is a number", { ca: 1 }, /^ca: must be a string or an array/],
    ],
    ranges: [
      ["a relative path", { caFile: "ca.pem" }, /^caFile: must be .* path; got "ca.pem"/],
      ["an empty text", { cert, key, ca: "" }, /^ca: the text holds no certificate/],
      ["a leaf", { cert, key, ca: [ca, cert] }, /^ca: certificate 1 in text 2, .*CA:TRUE/],
      ["a cut ca", { cert, key, ca: ca.slice(0, 200) }, /^ca: certificate 1 in the text/],
      ["the key of another certificate", { cert, key: otherKey, ca }, /^key: .* does not belong/],
      ["a key in PEM without a key", { cert, key: cert, ca }, /^key: must have one private key/],
      ["a damaged key", { cert, key: key.replace(/^M.{30}/m, "MAAA"), ca }, /^key: the/],
      ["a text as path", { certFile, keyFile: key, ca }, /^keyFile: .*belongs in key$/],
      ["a text as caFile", { caFile: ca, cert, key }, /^caFile: .*belongs in ca$/],
    ],
  };
  const clientRows: RefusedConfigs = {
    types: [["checkHostname: 1", { checkHostname: 1 }, /^checkHostname: must be a boolean/]],
    ranges: [
      ["no name and no authority", { checkHostname: false }, /caFile or caPath/],
      ["a certFile without keyFile", { certFile }, /^certFile, keyFile: must both be/],
      ["an empty ca", { ca: [] }, /^ca: must have an authority/],
      ["a key without cert", { key, ca }, /^cert, key: must both be given/],
    ],
  };
  const serverRows: RefusedConfigs = {
    types: [
      ["no certFile", { caFile }, /^certFile: must be a string/],
      [
        "1 for all clients",
        { cert, key, allowUnauthenticatedClients: 1 },
        /must be a boolean; got number/,
      ],
      [
        "verified clients, and no authority",
        { cert, key, allowUnauthenticatedClients: false },
        /must have ca, caFile or caPath.*or allowUnauthenticatedClients: true.*got neither/,
      ],
      ["an option of clients", { ...serverSslconfig, checkHostname: true }, /unknown/],
      ["a cert without key", { cert, ca }, /^key: must be a string/],
    ],
    ranges: [],
  };
  const secrets = [cert, key, ca, otherKey].map((text) => text.split("\n")[1]!.slice(0, 16));
  const checkRows = (build: (config: never) => unknown, { types, ranges }: RefusedConfigs) => {
    for (const [Class, rows] of [[TypeError, types], [RangeError, ranges]] as const) {
      for (const [name, config, message] of rows) {
        const error = assertThrows(() => callWith(build, config), Class);
        assertMatch(error.message, message, name);
        for (const secret of secrets) assert(!error.message.includes(secret), error.message);
        assertNoSecret(error.message);
      }
    }
  };
  for (const rows of [commonRows, clientRows]) {
    await t.step("client", () => checkRows(buildClientSslctx, rows));
  }
  for (const rows of [commonRows, serverRows]) {
    await t.step("server", () => checkRows(buildServerSslctx, rows));
  }
});

Deno.test("sslHost defaults to the host of the address, and is required if names are checked", async (t) => {
  const { caFile } = pki.clientSslconfig;
  const name = new TextEncoder().encode("\0name");
  const hosts: readonly [ConstructorParameters<typeof SSLClient>[1], string | null][] = [
    [["www.example.com", 443], "www.example.com"],
    [["2001:db8::1", 443, 0, 0], "2001:db8::1"],
    [["fe80::1%eth0", 443], "fe80::1"],
    ["/run/socket", null],
    [name, null],
  ];
  for (const [address, sslHost] of hosts) {
    await t.step(Deno.inspect(address), () => {
      const unverifiedConfig = { caFile, checkHostname: false };
      assertEquals(new SSLClient(unverifiedConfig, address).sslHost, sslHost);
      const clientWithHost = new SSLClient({ caFile }, address, { sslHost: "a.example" });
      assertEquals(clientWithHost.sslHost, "a.example");
      const makeClient = () => new SSLClient({ caFile }, address);
      if (sslHost === null) assertThrows(makeClient, RangeError, "sslHost: must be the name");
      else assertEquals(makeClient().sslHost, sslHost);
    });
  }
  await t.step("invalid values", () => {
    // The Kelvin sign is k in lower case.
    for (const sslHost of ["", "a b", "*.example", "1.2.3", "a".repeat(64), "\u212a.local"]) {
      assertThrows(() => new SSLClient({}, ["a", 1], { sslHost }), RangeError, "sslHost", sslHost);
    }
    const options: unknown = { sslHost: 1 };
    const makeClient = () => Reflect.construct(SSLClient, [{}, ["a", 1], options]);
    assertThrows(makeClient, TypeError, "sslHost: must be a string or null; got number");
  });
  await t.step("port 443 is omitted from host", () => {
    assertEquals(new SSLClient({}, ["example.com", 443]).host, "example.com");
    assertEquals(new SSLClient({}, ["example.com", 80]).host, "example.com:80");
  });
});

Deno.test("client and server accept PEM text, in one string or several, in place of files", async (t) => {
  await using otherPki = await TempPKI.create();
  const serverTexts = await readTexts(pki.serverSslconfig);
  const clientTexts = { ...await readTexts(pki.clientSslconfig), checkHostname: false };
  const strangerTexts = await readTexts(otherPki.serverSslconfig);
  const toOldLabel = (text: string) => text.replaceAll(/(BEGIN|END) CERT/g, "$1 X509 CERT");
  const toCrlf = (text: string) => text.replaceAll("\n", "\r\n");
  const rows: readonly [string, ServerSslconfig, ClientSslconfig][] = [
    ["one text", serverTexts, clientTexts],
    ["several", { ...serverTexts, ca: [strangerTexts.ca, serverTexts.ca] }, {
      ...clientTexts,
      ca: [strangerTexts.ca + clientTexts.ca, strangerTexts.ca],
    }],
    ["surrounding text, other line ends", { ...serverTexts, ca: `Hello\n${serverTexts.ca}world` }, {
      ...clientTexts,
      cert: toCrlf(clientTexts.cert),
      key: toCrlf(clientTexts.key),
      ca: toCrlf(clientTexts.ca),
    }],
    [
      "the label of old programs",
      { ...serverTexts, cert: toOldLabel(serverTexts.cert), ca: toOldLabel(serverTexts.ca) },
      { ...clientTexts, ca: toOldLabel(clientTexts.ca) },
    ],
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
    assertEquals(headers["authority"], new X509Certificate(serverTexts.ca).fingerprint256);
  });
});

Deno.test("PEM text needs no permission to read", async () => {
  const { cert, key, ca } = await readTexts(pki.serverSslconfig);
  const clientTexts = { ...await readTexts(pki.clientSslconfig), checkHostname: false };
  const script = `
    import { SSLClient } from "./client.ts";
    import { SSLServer } from "./server.ts";
    const { server: serverConfig, client: clientConfig } = JSON.parse(Deno.env.get("CONFIGS"));
    const server = new SSLServer(serverConfig, ["127.0.0.1", 0], () => [204, "No Content", {}, null]);
    const serving = server.serveForever();
    await server.ready;
    const { status } = await new SSLClient(clientConfig, server.address).request("GET", "/");
    server.close();
    await serving;
    console.log(status);
  `;
  const env = { CONFIGS: JSON.stringify({ server: { cert, key, ca }, client: clientTexts }) };
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
  const damagedPath = await write("damaged.pem", certificate.replace("MII", "AAA"));
  const secondDamagedPath = await write(
    "second.pem",
    certificate + certificate.replace("MII", "AAA"),
  );
  const missingPath = join(dir.path, "missing");
  const emptyDirectory = await Deno.makeTempDir({ dir: dir.path });
  const twoKeysPath = await write("two_keys.pem", key + key);
  const cutKeyPath = await write("cut_key.pem", key.replace(/^M.{30}/m, "MAAA"));
  const rows: readonly [string, ClientSslconfig, new () => Error, RegExp][] = [
    ["missing", { caFile: missingPath }, Deno.errors.NotFound, /^caFile: .*\/missing/],
    ["damaged", { caFile: damagedPath }, RangeError, /^caFile: certificate 1 .* can't be read/],
    [
      "a damaged second certificate",
      { certFile: secondDamagedPath, keyFile },
      RangeError,
      /^certFile: certificate 2 /,
    ],
    ["two keys", { certFile, keyFile: twoKeysPath }, RangeError, /^keyFile: .*; got 2$/],
    ["a damaged key", { certFile, keyFile: cutKeyPath }, RangeError, /^keyFile: .* can't be read$/],
    ["an empty directory", { caPath: emptyDirectory }, RangeError, /no file/],
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

// ───────────────────────── contexts

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

Deno.test("an sslctx has the policy, is frozen, and doesn't contain the files", () => {
  const clientSslctx = buildClientSslctx(pki.clientSslconfig);
  const serverSslctx = buildServerSslctx(pki.serverSslconfig);
  for (const sslctx of [clientSslctx, serverSslctx]) {
    assertEquals([sslctx.minVersion, sslctx.maxVersion], ["TLSv1.2", "TLSv1.3"]);
    assertEquals(sslctx.ciphers.toSorted(), EXPECTED_CIPHERS);
    assertEquals(sslctx.warnings, []);
    assert([sslctx, sslctx.ciphers, sslctx.warnings].every(Object.isFrozen));
    const printedTexts = [
      Deno.inspect(sslctx, { showHidden: true, depth: 9 }),
      JSON.stringify(sslctx),
      JSON.stringify(structuredClone(sslctx)),
    ];
    for (const text of printedTexts) {
      assertNoSecret(text);
      assert(!text.includes("BEGIN"), text);
      assert(!text.includes("degu-pki-"), text);
    }
  }
  assertEquals([clientSslctx.verify, clientSslctx.checkHostname], [true, false]);
  assertEquals(buildClientSslctx({}).checkHostname, true);
  assertEquals(serverSslctx.verify, true);
  assertEquals(buildServerSslctx(pki.anonymousServerSslconfig).verify, false);
});

Deno.test("a server with an empty ca refuses all clients, and warns", async (t) => {
  const { cert, key } = await readTexts(pki.serverSslconfig);
  const serverSslconfig = { cert, key, ca: [] };
  const sslctx = buildServerSslctx(serverSslconfig);
  assertEquals(sslctx.verify, true);
  assertEquals(sslctx.warnings, ["ca: no authority is trusted yet, so no client is accepted"]);
  let requestCount = 0;
  const trust = { serverSslconfig, clientSslconfig: pki.clientSslconfig };
  const app = () => (requestCount++, [204, "No Content", {}, null] as const);
  await using endpoint = await startTls(trust, app);
  const { server: { address }, logger } = endpoint;
  const rows: readonly [string, ClientSslconfig, string][] = [
    ["a client with a certificate", pki.clientSslconfig, "UNTRUSTED"],
    ["a client without a certificate", pki.anonymousClientSslconfig, "NO_CERTIFICATE"],
  ];
  await testEachRow(t, rows, async (_name, config, code) => {
    logger.lines.length = 0;
    const client = new SSLClient(config, address, { timeout: 60 });
    await assertRejects(() => client.request("GET", "/"));
    const [line] = await logger.waitFor("info");
    assertStringIncludes(line!, `the handshake failed: ${code}: `);
  });
  assertEquals(requestCount, 0);
});

Deno.test("encrypted, weak and unknown kinds of keys are refused", needsOpenssl, async (t) => {
  await using pki = await OpensslPki.create();
  const authority = await pki.createAuthority("authority");
  const makeConfig = (name: string) => ({
    certFile: pki.makePath(`${name}.pem`),
    keyFile: pki.makePath(`${name}.key`),
    allowUnauthenticatedClients: true,
  });
  await pki.createServerCertificate("good", { issuer: authority });
  await pki.createServerCertificate("rsa", { issuer: authority, key: KEY.rsa2048 });
  const convert = async (from: string, to: string, ...args: string[]) => {
    await pki.run("pkey", "-in", `${from}.key`, "-out", `${to}.key`, ...args);
    return { ...makeConfig(from), keyFile: pki.makePath(`${to}.key`) };
  };
  const encryption = ["-aes128", "-passout", "pass:secret"];
  const traditionalConfig = await convert("rsa", "encrypted1", "-traditional", ...encryption);
  const refusedRows: [string, ServerSslconfig, string][] = [
    ["PKCS #8, encrypted", await convert("good", "encrypted", ...encryption), "is encrypted"],
    ["PKCS #1, encrypted", traditionalConfig, "is encrypted"],
  ];
  const keyKinds: readonly [string, readonly string[], string][] = [
    ["rsa1024", KEY.rsa1024, "is an RSA key of 1024 bits; must be "],
    ["ed448", ["ED448"], "of an unsupported kind"],
  ];
  for (const [name, key, message] of keyKinds) {
    await pki.createServerCertificate(name, { issuer: authority, key });
    refusedRows.push([name, makeConfig(name), message]);
  }
  for (const [name, config, message] of refusedRows) {
    await t.step(`refused: ${name}`, () => {
      const error = assertThrows(() => buildServerSslctx(config), RangeError, message);
      assertNoSecret(error.message);
    });
  }
  await pki.createServerCertificate("ed25519", { issuer: authority, key: KEY.ed25519 });
  const acceptedConfigs = [
    makeConfig("good"),
    await convert("good", "sec1", "-traditional"),
    await convert("rsa", "pkcs1", "-traditional"),
    makeConfig("ed25519"),
  ];
  for (const config of acceptedConfigs) {
    await t.step(`accepted: ${config.keyFile?.slice(pki.dir.length)}`, () => {
      assertEquals(buildServerSslctx(config).warnings, []);
    });
  }
});

Deno.test(
  "a certificate that the TLS library can't use is refused when the context is built",
  needsOpenssl,
  async (t) => {
    await using pki = await OpensslPki.create();
    const authority = await pki.createAuthority("authority");
    const names = "subjectAltName=DNS:localhost,IP:127.0.0.1";
    const policies = "certificatePolicies=critical,1.2.3.4";
    const rows: readonly [name: string, extension: string, problem: string | null][] = [
      ["critical policies", policies, "2.5.29.32"],
      ["an unknown critical extension", "1.2.3.4.5=critical,ASN1:NULL", "1.2.3.4.5"],
      ["critical distribution points", "crlDistributionPoints=critical,URI:http://a.example", null],
      ["critical constraints on names", "nameConstraints=critical,permitted;DNS:localhost", null],
      ["a critical keyUsage", "keyUsage=critical,digitalSignature", null],
    ];
    await testEachRow(t, rows, async (name, extension, problem) => {
      const options = { issuer: authority, extensions: [extension, names] };
      const files = await pki.createCertificate(name.replaceAll(" ", "_"), options);
      const serverSslconfig = { ...files, caFile: authority.certFile };
      const clientSslconfig = { ...files, caFile: authority.certFile };
      if (problem === null) {
        await using endpoint = await startTls(
          { serverSslconfig, clientSslconfig },
          () => [204, "No Content", {}, null],
        );
        assertEquals(endpoint.server.sslctx.warnings, []);
        assertEquals((await endpoint.client.request("GET", "/")).status, 204);
        return;
      }
      for (
        const build of [
          () => buildServerSslctx(serverSslconfig),
          () => buildClientSslctx(clientSslconfig),
        ]
      ) {
        const { message } = assertThrows(build, RangeError);
        assertMatch(message, /^certFile: certificate 1 in .*, of "CN=.*", .*the TLS library/);
        assertStringIncludes(message, problem);
        assertNoSecret(message);
      }
    });
    await t.step(
      "an intermediate with such an extension, or with constraints: a warning",
      async () => {
        const rows = [
          [policies, "2.5.29.32"],
          ["nameConstraints=permitted;DNS:localhost", "2.5.29.30"],
        ] as const;
        for (const [extension, type] of rows) {
          const intermediate = await pki.createAuthority("intermediate", {
            issuer: authority,
            extensions: [extension],
          });
          const files = await pki.createServerCertificate("below", { issuer: intermediate });
          const certFile = await pki.join("chain.pem", files.certFile, intermediate.certFile);
          const { warnings } = buildServerSslctx({
            ...files,
            certFile,
            caFile: authority.certFile,
          });
          assertEquals(warnings.length, 1);
          assertStringIncludes(
            warnings[0]!,
            `peers with Degu don't check, ${type}: they will refuse`,
          );
        }
      },
    );
  },
);

Deno.test(
  "a weak authority is not trusted, and is refused if it is the only one",
  needsOpenssl,
  async () => {
    await using pki = await OpensslPki.create();
    const weak = await pki.createAuthority("weak", { key: KEY.rsa1024 });
    const good = await pki.createAuthority("good");
    const build = () => buildClientSslctx({ caFile: weak.certFile });
    const error = assertThrows(build, TlsError, "of 1024 bits");
    assertEquals(error.code, "WEAK");
    const both = await pki.join("both.pem", weak.certFile, good.certFile);
    const { warnings } = buildClientSslctx({ caFile: both });
    assertEquals(warnings.length, 1);
    assertStringIncludes(warnings[0]!, "it is not trusted");
  },
);

Deno.test("a certificate that the TLS library can't use is refused, unless the library's error is another", async () => {
  const pki = await openSharedPki();
  let message = "invalid peer certificate: BadEncoding";
  using _library = patch(Deno, "createHttpClient", () => () => {
    throw new Error(message);
  });
  assertThrows(() => buildServerSslctx(pki.serverSslconfig), RangeError, message);
  message = "too many open files";
  buildServerSslctx(pki.serverSslconfig);
});

Deno.test("an sslctx warns of certificates that peers will reject", needsOpenssl, async () => {
  await using pki = await OpensslPki.create();
  const authority = await pki.createAuthority("authority", { to: formatTimeFromNow(-1) });
  const earlyFiles = await pki.createServerCertificate("early", {
    issuer: authority,
    from: formatTimeFromNow(1),
  });
  const serverSslctx = buildServerSslctx({ ...earlyFiles, caFile: authority.certFile });
  const notYetValid =
    /^certFile: certificate 1, of "CN=early", is not valid yet: it is valid from 2.* the clock of this device says 2/;
  const expired =
    /^caFile: certificate 1 in .*, of "CN=authority", has expired: .* to 2.*, and the clock of this device says 2/;
  assertEquals(serverSslctx.warnings.length, 2);
  for (const [i, warning] of [notYetValid, expired].entries()) {
    assertMatch(serverSslctx.warnings[i]!, warning);
  }
  const clientFiles = await pki.createClientCertificate("client", { issuer: authority });
  const chainPath = await pki.join("chain.pem", clientFiles.certFile, authority.certFile);
  const { warnings } = buildServerSslctx({
    certFile: chainPath,
    keyFile: clientFiles.keyFile,
    allowUnauthenticatedClients: true,
  });
  assertEquals(warnings.length, 2);
  assertStringIncludes(warnings[0]!, "an extendedKeyUsage without serverAuth");
  assertMatch(warnings[1]!, /^certFile: certificate 2, of "CN=authority", has expired/);
  const [cert, key] = [
    await Deno.readTextFile(clientFiles.certFile),
    await Deno.readTextFile(clientFiles.keyFile),
  ];
  // [0] of a certificate has its version.
  const version2Hex = derOf(cert).toHex().replace("a003020102", "a003020101");
  const version2Sslctx = buildClientSslctx({
    cert: formatPem(Uint8Array.fromHex(version2Hex)),
    key,
  });
  assertStringIncludes(version2Sslctx.warnings[0]!, "the certificate has version 2 instead of 3");
});

Deno.test("caFile and caPath together trust the authorities of both", needsOpenssl, async () => {
  await using pki = await OpensslPki.create();
  const firstAuthority = await pki.createAuthority("first");
  const secondAuthority = await pki.createAuthority("second");
  const thirdAuthority = await pki.createAuthority("third");
  const fourthAuthority = await pki.createAuthority("fourth");
  const caPath = pki.makePath("authorities");
  await Deno.mkdir(join(caPath, "folder.pem"), { recursive: true });
  await Deno.writeTextFile(join(caPath, "README"), "no certificate");
  await pki.join("authorities/bundle.crt", firstAuthority.certFile, secondAuthority.certFile);
  await Deno.copyFile(thirdAuthority.certFile, join(caPath, "0a1b2c3d.0"));
  const serverFiles = await pki.createServerCertificate("own", { issuer: firstAuthority });
  const trust = {
    serverSslconfig: { ...serverFiles, caFile: fourthAuthority.certFile, caPath },
    clientSslconfig: { caPath: `${caPath}/`, caFile: firstAuthority.certFile },
  };
  await using endpoint = await startTls(trust, () => [204, "No Content", {}, null]);
  for (
    const [index, issuer] of [firstAuthority, secondAuthority, thirdAuthority, fourthAuthority]
      .entries()
  ) {
    const clientFiles = await pki.createClientCertificate(`client${index}`, { issuer });
    const sslconfig = { ...trust.clientSslconfig, ...clientFiles };
    const sslclient = new SSLClient(sslconfig, endpoint.server.address, { timeout: 60 });
    assertEquals((await sslclient.request("GET", "/")).status, 204);
  }
});

/** Prints the results of handshakes; runs with an authority in Deno's default trust store. */
const DEFAULT_STORE = `
import { SSLClient } from "./client.ts";
import { SSLServer } from "./server.ts";
const { privateServer, publicServer, publicClient, authority, clientAuthority, client } = JSON.parse(Deno.env.get("FILES"));
const silentLogger = { debug() {}, info() {}, warn() {}, error() {} };
async function tryHandshake(serverSslconfig, clientSslconfig) {
  const server = new SSLServer(serverSslconfig, ["127.0.0.1", 0], () => [204, "No Content", {}, null], { logger: silentLogger });
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
  "{} and a server of the default store": await tryHandshake({ ...publicServer, ...open }, {}),
  "{} and a server of a private authority": await tryHandshake({ ...privateServer, ...open }, {}),
  "caFile and a server of the default store": await tryHandshake({ ...publicServer, ...open }, { caFile: authority }),
  "caFile and a server of that authority": await tryHandshake({ ...privateServer, ...open }, { caFile: authority }),
  "a server and a client of the default store": await tryHandshake({ ...privateServer, caFile: clientAuthority }, { caFile: authority, ...publicClient }),
  "a server and a client of its authority": await tryHandshake({ ...privateServer, caFile: clientAuthority }, { caFile: authority, ...client }),
}));
`;

Deno.test("a private authority replaces the default trust store", needsOpenssl, async (t) => {
  await using pki = await OpensslPki.create();
  const authority = await pki.createAuthority("authority");
  const clientAuthority = await pki.createAuthority("client_authority");
  const worldAuthority = await pki.createAuthority("world");
  const files = {
    authority: authority.certFile,
    clientAuthority: clientAuthority.certFile,
    privateServer: await pki.createServerCertificate("own", { issuer: authority }),
    client: await pki.createClientCertificate("client", { issuer: clientAuthority }),
    publicServer: await pki.createServerCertificate("public", { issuer: worldAuthority }),
    publicClient: await pki.createClientCertificate("public_client", { issuer: worldAuthority }),
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
  const env = { FILES: JSON.stringify(files), DENO_CERT: worldAuthority.certFile };
  await t.step("with verification", async () => {
    assertEquals(JSON.parse(await runScript(DEFAULT_STORE, permissions, env)), expected);
  });
  await t.step("flags and variables that disable verification have no effect", async () => {
    const unsafePermissions = [...permissions, "--unsafely-ignore-certificate-errors"];
    const unsafeEnv = { ...env, NODE_TLS_REJECT_UNAUTHORIZED: "0" };
    assertEquals(
      JSON.parse(await runScript(DEFAULT_STORE, unsafePermissions, unsafeEnv)),
      expected,
    );
  });
});

/** Makes a socket with the result of a handshake; current libraries refuse most results. */
function makeNegotiatedSocket(version: string | null, name: string | undefined): TLSSocket {
  return { getProtocol: () => version, getCipher: () => ({ name }) } as unknown as TLSSocket;
}

Deno.test("a handshake outside the policy is refused, even if the library accepts it", () => {
  for (const version of ["TLSv1.2", "TLSv1.3"]) {
    for (const name of CIPHERS) {
      checkNegotiatedParameters(makeNegotiatedSocket(version, name), null);
    }
    for (const name of ["AES256-SHA", "ECDHE-RSA-AES128-SHA", "NULL", "", undefined, "TLS_"]) {
      const error = assertThrows(
        () => checkNegotiatedParameters(makeNegotiatedSocket(version, name), null),
        TlsError,
      );
      assertEquals(error.code, "POLICY");
    }
  }
  for (const version of ["TLSv1.1", "TLSv1", "SSLv3", "TLSv1.4", "", null, "unknown"]) {
    const checkVersion = () =>
      checkNegotiatedParameters(makeNegotiatedSocket(version, CIPHERS[0]), null);
    assertEquals(assertThrows(checkVersion, TlsError).code, "POLICY");
  }
});

Deno.test(
  "a certificate with the name of its authority is warned of, if openssl takes it for self-signed",
  needsOpenssl,
  async (t) => {
    await using pki = await OpensslPki.create();
    const authority = await pki.createAuthority("same");
    const rows: readonly [string, extensions: readonly string[]][] = [
      ["two key identifiers", []],
      ["no key identifier", ["subjectKeyIdentifier=none", "authorityKeyIdentifier=none"]],
      ["only its own key identifier", ["authorityKeyIdentifier=none"]],
      ["only that of the authority", ["subjectKeyIdentifier=none"]],
    ];
    await testEachRow(t, rows, async (_name, extensions) => {
      const files = await pki.createServerCertificate("leaf", {
        issuer: authority,
        commonName: "same",
        extensions: [...extensions, "subjectAltName=DNS:localhost"],
      });
      const verifying = ["openssl", "verify", "-CAfile", authority.certFile, files.certFile];
      const { success } = await runCommand(verifying);
      assertEquals(success, extensions.length === 0);
      const { warnings } = buildServerSslctx({ ...files, caFile: authority.certFile });
      assertEquals(warnings.length, success ? 0 : 1);
      if (!success) assertStringIncludes(warnings[0]!, "take it for self-signed");
    });
  },
);
