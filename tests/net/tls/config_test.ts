/** What is refused in an sslconfig, and how. */
import { assert, assertEquals, assertInstanceOf, assertMatch, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { X509Certificate } from "node:crypto";
import { buildClientSslctx, type ClientSslconfig, SSLClient } from "@degu/degu/client";
import { buildServerSslctx, type ServerSslconfig } from "@degu/degu/server";
import { TempPKI } from "@degu/internal/misc/pki.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { runScript } from "@degu/testing/processes.ts";
import { eachRow } from "@degu/testing/rows.ts";
import { assertNoSecret, buildWith, readTexts } from "@degu/testing/tls_configs.ts";
import { sharedPki, startTls } from "@degu/testing/tls_endpoints.ts";

const pki = await sharedPki();

/** A configuration that is refused, and how. */
type Row = readonly [name: string, config: unknown, Class: ErrorConstructor, message: RegExp];

Deno.test("a wrong config is an error before any connection is made, and shows nothing of a key", async (t) => {
  const { serverSslconfig } = pki;
  const { certFile, keyFile, caFile } = pki.clientSslconfig;
  const { cert, key, ca } = await readTexts(pki.clientSslconfig);
  const { key: otherKey } = await readTexts(pki.serverSslconfig);
  const gaps: unknown[] = [ca];
  gaps.length = 2;
  const both: readonly Row[] = [
    ["null", null, TypeError, /must be an object or an sslctx; got null/],
    ["a string", "caFile", TypeError, /got string/],
    ["an array", [], TypeError, /got Array/],
    ["an unknown option", { cafile: caFile }, TypeError, /unknown option "cafile"/],
    ["a path that is a number", { caFile: 1 }, TypeError, /^caFile: must be a string; got number/],
    ["a path that is null", { caPath: null }, TypeError, /^caPath: must be a string; got null/],
    ["a relative path", { caFile: "ca.pem" }, RangeError, /^caFile: must be an absolute path/],
    ["a relative directory", { caPath: "./ca" }, RangeError, /^caPath: must be an absolute path/],
    ["a path with NUL", { caFile: "/tmp/\0" }, RangeError, /^caFile: must be an absolute path/],
    ["ca and caFile", { ca, caFile }, TypeError, /^ca, caFile: .*got both/],
    ["ca and caPath", { ca, caPath: pki.clientSslconfig.caFile }, TypeError, /^ca, caPath: /],
    ["an empty ca and caFile", { ca: [], caFile }, TypeError, /^ca, caFile: /],
    ["cert and certFile", { cert, key, certFile }, TypeError, /^cert, certFile: /],
    ["key and keyFile", { cert, key, keyFile }, TypeError, /^cert, keyFile: /],
    ["cert with keyFile", { cert, keyFile, ca }, TypeError, /^cert, keyFile: /],
    ["certFile with key", { certFile, key, ca }, TypeError, /^key, certFile: /],
    ["a ca that is a number", { ca: 1 }, TypeError, /^ca: must be a string or an array/],
    ["a ca that is null", { ca: null }, TypeError, /^ca: .*got null/],
    ["a ca of bytes", { ca: new Uint8Array(3) }, TypeError, /^ca: .*got Uint8Array/],
    ["a list with a number", { ca: [ca, 1] }, TypeError, /^ca: must be an array of strings/],
    ["a list with a gap", { ca: gaps }, TypeError, /^ca: must be an array of strings/],
    ["a list in a list", { ca: [[ca]] }, TypeError, /^ca: must be an array of strings/],
    ["a cert in a list", { cert: [cert], key }, TypeError, /^cert: must be a string/],
    ["a key of bytes", { cert, key: new Uint8Array(3) }, TypeError, /^key: must be a string/],
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
    ["no key in it", { cert, key: cert, ca }, RangeError, /^key: must have one private key/],
    ["a damaged key", { cert, key: key.replace(/^M.{30}/m, "MAAA"), ca }, RangeError, /^key: the/],
    ["a text as path", { certFile, keyFile: key, ca }, RangeError, /^keyFile: .*belongs in key$/],
    ["a text as caFile", { caFile: ca, cert, key }, RangeError, /^caFile: .*belongs in ca$/],
  ];
  const clients: readonly Row[] = [
    ["checkHostname: 1", { checkHostname: 1 }, TypeError, /^checkHostname: must be a boolean/],
    ["no name and no authority", { checkHostname: false }, RangeError, /caFile or caPath/],
    ["a certFile without keyFile", { certFile }, RangeError, /^certFile, keyFile: must both be/],
    ["a keyFile without certFile", { keyFile }, RangeError, /^certFile, keyFile: must both be/],
    ["a keyFile as caFile", { caFile: keyFile }, RangeError, /^caFile: .* holds no certificate/],
    ["a certFile as keyFile", { certFile, keyFile: certFile }, RangeError, /^keyFile: .*got 0/],
    [
      "a leaf as caFile",
      { caFile: certFile },
      RangeError,
      /^caFile: .*is not the certificate of an/,
    ],
    ["an empty ca", { ca: [] }, RangeError, /^ca: must have an authority/],
    ["a cert without key", { cert, ca }, RangeError, /^cert, key: must both be given/],
    ["a key without cert", { key, ca }, RangeError, /^cert, key: must both be given/],
  ];
  const everybody = { allowUnauthenticatedClients: true };
  const servers: readonly Row[] = [
    ["no certFile", { caFile }, TypeError, /^certFile: must be a string/],
    ["no keyFile", { certFile, caFile }, TypeError, /^keyFile: must be a string/],
    [
      "not everybody",
      { ...serverSslconfig, allowUnauthenticatedClients: false },
      RangeError,
      /must be true/,
    ],
    [
      "1 for everybody",
      { certFile, keyFile, allowUnauthenticatedClients: 1 },
      TypeError,
      /must be true; got number/,
    ],
    ["an option of clients", { ...serverSslconfig, checkHostname: true }, TypeError, /unknown/],
    ["a cert without key", { cert, ca }, TypeError, /^key: must be a string/],
    ["a key without cert", { key, ca }, TypeError, /^cert: must be a string/],
    ["ca and everybody", { cert, key, ca, ...everybody }, RangeError, /got both/],
    ["nobody and everybody", { cert, key, ca: [], ...everybody }, RangeError, /got both/],
    ["no ca", { cert, key }, RangeError, /got neither/],
  ];
  const secrets = [cert, key, ca, otherKey].map((text) => text.split("\n")[1]!.slice(0, 16));
  const check = (build: (config: never) => unknown, rows: readonly Row[]) => {
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
      caFile: pki.serverSslconfig.caFile,
    }, { ...pki.clientSslconfig, caFile: undefined, ca: client.ca }],
  ];
  await eachRow(t, rows, async (_name, serverSslconfig, clientSslconfig) => {
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
    ["two keys", { certFile, keyFile: twoKeys }, RangeError, /^keyFile: .*; got 2$/],
    ["a damaged key", { certFile, keyFile: cutKey }, RangeError, /^keyFile: .* can't be read$/],
    [
      "an empty directory",
      { caPath: await Deno.makeTempDir({ dir: dir.path }) },
      RangeError,
      /no file/,
    ],
  ];
  await eachRow(t, rows, (_name, config, Class, message) => {
    const error = assertThrows(() => buildClientSslctx(config));
    assertInstanceOf(error, Class);
    assertMatch(error.message, message);
    assertNoSecret(error.message);
  });
  await t.step("a directory with a file that holds no certificate of an authority", async () => {
    const caPath = await Deno.makeTempDir({ dir: dir.path });
    await Deno.copyFile(caFile, join(caPath, "a.pem"));
    await Deno.writeTextFile(join(caPath, "b.crt"), key);
    assertThrows(() => buildClientSslctx({ caPath }), RangeError, 'b.crt" holds no certificate');
  });
});
