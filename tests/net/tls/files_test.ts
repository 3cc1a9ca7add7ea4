/** Certificates and keys from files and from text. */
import { assertEquals, assertInstanceOf, assertMatch, assertThrows } from "@std/assert";
import { X509Certificate } from "node:crypto";
import { join } from "@std/path";
import { buildClientSslctx, type ClientSslconfig } from "@degu/degu/client";
import { TempPKI } from "@degu/internal/misc/pki.ts";
import type { ServerSslconfig } from "@degu/degu/server";
import { tempDir } from "@degu/testing/directories.ts";
import { runScript } from "@degu/testing/processes.ts";
import { startTls } from "@degu/testing/tls_endpoints.ts";
import { assertNoSecret, readTexts } from "@degu/testing/tls_configs.ts";

Deno.test("PEM text replaces files, on both ends, as a single string or several", async (t) => {
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

Deno.test("a missing or invalid file is reported with its option", async (t) => {
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
    ["two keys", { certFile, keyFile: twoKeys }, RangeError, /^keyFile: .*; got 2$/],
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
  await t.step("a directory with a file that holds no certificate of an authority", async () => {
    const caPath = await Deno.makeTempDir({ dir: dir.path });
    await Deno.copyFile(caFile, join(caPath, "a.pem"));
    await Deno.writeTextFile(join(caPath, "b.crt"), key);
    assertThrows(() => buildClientSslctx({ caPath }), RangeError, 'b.crt" holds no certificate');
  });
});
