/** TempPKI: its certificates, its directory, and its options. */
import type { ClientSslconfig } from "@degu/degu/client";
import { TempPKI } from "@degu/degu/misc";
import type { ServerSslconfig } from "@degu/degu/server";
import { listNames, readMode } from "@degu/testing/directories.ts";
import {
  assert,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import type { X509Certificate } from "node:crypto";
import { dirname, join } from "@std/path";
import type { TempPKIOptions } from "@degu/internal/misc/pki.ts";
import { hasSubjectName, readCertificate } from "../net/tls/certificates.ts";
import { startTls } from "@degu/testing/tls_endpoints.ts";

// ───────────────────────── TempPKI

/** A PKI for all tests that don't change it. */
const pki = await TempPKI.create({ names: ["Camera-1.local", "::ffff:10.1.2.3"] });
globalThis.addEventListener("unload", () => Deno.removeSync(directoryOf(pki), { recursive: true }));

Deno.test("TempPKI issues the server's certificate for localhost, loopback and the given names", async () => {
  const { server, client } = await readAll(pki);
  const names = ["localhost", "127.0.0.1", "::1", "camera-1.local", "::ffff:a01:203"];
  for (const name of [...names, "local", "a.localhost", "127.0.0.2", "::2"]) {
    assertEquals([hasSubjectName(server, name), hasSubjectName(client, name)], [
      names.includes(name),
      false,
    ], name);
  }
});

Deno.test("TempPKI configurations are frozen plain JSON with paths in one directory", () => {
  const dir = directoryOf(pki);
  const [certFile, keyFile] = [join(dir, "server.pem"), join(dir, "server_key.pem")];
  const trust = { caFile: join(dir, "server_ca.pem"), checkHostname: false };
  const configs = {
    serverSslconfig: { certFile, keyFile, caFile: join(dir, "client_ca.pem") },
    clientSslconfig: {
      ...trust,
      certFile: join(dir, "client.pem"),
      keyFile: join(dir, "client_key.pem"),
    },
    anonymousServerSslconfig: { certFile, keyFile, allowUnauthenticatedClients: true },
    anonymousClientSslconfig: trust,
  };
  for (const [name, expected] of Object.entries<unknown>(configs)) {
    const config: unknown = pki[name as keyof typeof configs];
    assertEquals(config, expected);
    assertEquals(JSON.parse(JSON.stringify(config)), expected);
    assertEquals(structuredClone(config), expected);
    assert(Object.isFrozen(config), name);
  }
});

Deno.test("TempPKI without a client PKI has only anonymous configurations", async () => {
  await using pki = await TempPKI.create({ clientPki: false });
  assertStrictEquals(pki.serverSslconfig, pki.anonymousServerSslconfig);
  assertStrictEquals(pki.clientSslconfig, pki.anonymousClientSslconfig);
  assertEquals(await listNames(directoryOf(pki)), [
    "server.pem",
    "server_ca.pem",
    "server_key.pem",
  ]);
});

Deno.test("TempPKI makes a directory of mode 0700 with files of mode 0600", async () => {
  const dir = directoryOf(pki);
  assertStrictEquals(await readMode(dir), 0o700);
  const names = await listNames(dir);
  assertStrictEquals(names.length, 6);
  for (const name of names) assertStrictEquals(await readMode(join(dir, name)), 0o600, name);
});

Deno.test("TempPKI removes its directory on dispose, even after an error, and once", async () => {
  let failedPki: TempPKI | null = null;
  const fail = async () => {
    await using pki = failedPki = await TempPKI.create();
    throw new Error(`the app failed in ${directoryOf(pki)}`);
  };
  await assertRejects(fail, Error, "the app failed");
  await assertRejects(() => Deno.stat(directoryOf(failedPki!)), Deno.errors.NotFound);

  const pki = await TempPKI.create();
  await Promise.all([pki.close(), pki.close()]);
  await assertRejects(() => Deno.stat(directoryOf(pki)), Deno.errors.NotFound);
  await pki[Symbol.asyncDispose]();
});

Deno.test("TempPKIs that are created at the same time share no directory, key or authority", async () => {
  await using stack = new AsyncDisposableStack();
  const [a, b] = await Promise.all([TempPKI.create(), TempPKI.create()]);
  for (const item of [a, b]) stack.use(item);
  assertNotEquals(directoryOf(a), directoryOf(b));
  const [firstFiles, secondFiles] = [await readAll(a), await readAll(b)];
  assertNotEquals(firstFiles.serverCa.subject, secondFiles.serverCa.subject);
  assertStrictEquals(firstFiles.server.verify(secondFiles.serverCa.publicKey), false);
  assertStrictEquals(firstFiles.client.verify(secondFiles.clientCa.publicKey), false);
});

Deno.test("TempPKI: server and client of one PKI connect, and every other pair fails", async () => {
  await using otherPki = await TempPKI.create();
  const { serverSslconfig: server, clientSslconfig: client } = pki;
  const namedConfig = { ...client, checkHostname: true };
  const { caFile } = client;
  const stranger = otherPki.clientSslconfig;
  const rows: [string, ServerSslconfig, ClientSslconfig, sslHost: string | undefined, boolean][] = [
    ["same PKI", server, client, undefined, true],
    ["same PKI, localhost", server, namedConfig, "localhost", true],
    ["same PKI, IP address", server, namedConfig, undefined, true],
    ["same PKI, wrong name", server, namedConfig, "camera-2", false],
    ["anonymous server", pki.anonymousServerSslconfig, client, undefined, true],
    ["both anonymous", pki.anonymousServerSslconfig, pki.anonymousClientSslconfig, undefined, true],
    ["client without certificate", server, pki.anonymousClientSslconfig, undefined, false],
    ["client of another PKI", server, { ...stranger, caFile }, undefined, false],
    ["server of another PKI", otherPki.anonymousServerSslconfig, client, undefined, false],
  ];
  for (const [name, serverSslconfig, clientSslconfig, sslHost, isAccepted] of rows) {
    const trust = { serverSslconfig, clientSslconfig };
    const options = sslHost === undefined ? {} : { client: { sslHost } };
    await using endpoint = await startTls(trust, () => [204, "No Content", {}, null], options);
    const asking = endpoint.client.request("GET", "/");
    if (isAccepted) assertEquals((await asking).status, 204, name);
    else await assertRejects(() => asking, Error, "", name);
  }
});

async function readAll(pki: TempPKI): Promise<
  Record<"serverCa" | "server" | "clientCa" | "client", X509Certificate>
> {
  return {
    serverCa: await readCertificate(pki.clientSslconfig.caFile),
    server: await readCertificate(pki.serverSslconfig.certFile),
    clientCa: await readCertificate(pki.serverSslconfig.caFile ?? ""),
    client: await readCertificate(pki.clientSslconfig.certFile ?? ""),
  };
}

function directoryOf(pki: TempPKI): string {
  return dirname(pki.serverSslconfig.certFile);
}

// ───────────────────────── options

Deno.test("TempPKI.create rejects options of a wrong type or name", async () => {
  const invalid: [options: unknown, message: string][] = [
    [{ clientPKI: false }, `unknown option "clientPKI"`],
    [{ clientPki: 1 }, "clientPki: must be a boolean"],
    [{ names: ["localhost", 1] }, "names[1]: must be a string"],
  ];
  for (const [options, message] of invalid) {
    await assertRejects(() => TempPKI.create(options as TempPKIOptions), TypeError, message);
  }
});
