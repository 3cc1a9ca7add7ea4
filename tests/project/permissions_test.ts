/**
 * The permissions of operations: each works with exactly the permissions of its row in a page.
 */
import { assertEquals, assertMatch } from "@std/assert";
import type { Address } from "@degu/degu/base";
import { Client, SSLClient } from "@degu/degu/client";
import { createDevicePki, Device } from "@degu/degu/device";
import { FilesApp } from "@degu/degu/files";
import { type App, Server, SSLServer } from "@degu/degu/server";
import { record } from "@degu/testing/device_pairs.ts";
import { createTempDir, fill } from "@degu/testing/directories.ts";
import { assertRequested, formatFlags, readAudit } from "@degu/testing/permissions.ts";
import {
  importMapFlags,
  outsideScriptFlags,
  ProgramOutput,
  runScript,
  spawnScript,
} from "@degu/testing/processes.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { openSharedPki } from "@degu/testing/tls_endpoints.ts";
import { readPackages } from "@degu/internal/tools/packages.ts";
import { fromFileUrl, join } from "@std/path";
import { toText } from "@std/streams";
import { runOrThrow } from "@degu/testing/commands.ts";
import { readProjectFile } from "@degu/testing/project_files.ts";
import { dirname } from "node:path";

/** A worker reads its modules as files. */
const TREE = `read=${fromFileUrl(new URL("../../", import.meta.url))}`;

/** The maximal duration of a process on a busy machine, in seconds. */
const PATIENCE = 120;

/**
 * The start of each program. `serve` starts a server, and closes it after one request of the test.
 */
const PRELUDE = `
import { beginStep } from "./tests/support/permissions.ts";
import { buildClientSslctx, buildServerSslctx, Client, createFetch, ProxyApp, Server, SSLClient, SSLServer } from "./mod.ts";
import * as files from "./files/mod.ts";
import { createDevicePki, Device } from "./device/mod.ts";
import { callApp, mkreq, TempPKI, TempServer, TempSSLServer } from "./misc.ts";

async function serve(make) {
  const { promise: answered, resolve } = Promise.withResolvers();
  const server = make(() => { resolve(); return [200, "OK", {}, null]; });
  const answer = async () => {
    await server.ready;
    const { address } = server;
    console.log(JSON.stringify({ address: address instanceof Uint8Array ? [...address] : address }));
    await answered;
    await server.shutdown();
  };
  await Promise.all([server.serveForever(), answer()]);
}
async function check(answering) {
  const [status] = [await answering].flat();
  if ((status.status ?? status) >= 400) throw new Error(status);
}
const ok = () => [200, "OK", {}, null];
`;

/** An operation, and its permissions without `--allow-`. */
interface Row {
  readonly name: string;
  readonly permissions: readonly string[];
  readonly code: string;
  /** Makes a client of a server of the program. */
  readonly client: (address: Address) => Client;
}

const makePlainClient: Row["client"] = (address) => new Client(address);

/** Makes rows of operations with the same permissions: code by name. */
function needs(
  permissions: string[],
  parts: Record<string, string>,
  client = makePlainClient,
): Row[] {
  return Object.entries(parts).map(([name, code]) => ({ name, permissions, code, client }));
}

/** Runs rows in one process; checks that they work, and which permissions they request. */
async function run(dir: string, rows: readonly Row[]): Promise<void> {
  const steps = rows.map(({ code }) => `async () => {${code}}`);
  const script = `${PRELUDE}
for (const step of [${steps.join(",\n")}]) {
  beginStep();
  console.log(JSON.stringify(await step().then(() => ({}), (e) => ({ thrown: Deno.inspect(e) }))));
}`;
  const audit = join(dir, crypto.randomUUID());
  const granted = new Set(rows.flatMap(({ permissions }) => permissions));
  const flags = [...formatFlags(granted), ...importMapFlags()];
  const env = { NO_COLOR: "1", DENO_AUDIT_PERMISSIONS: audit };
  await using child = await spawnScript(script, flags, env);
  const stderr = toText(child.stderr);
  const results: { thrown?: string }[] = [];
  const reading = (async () => {
    for await (const line of ProgramOutput.from(child.stdout).readLines()) {
      const { address, ...result } = JSON.parse(line);
      if (address === undefined) {
        results.push(result);
        continue;
      }
      // An abstract name is an array of bytes.
      const isName = typeof address[0] === "number";
      const client = rows[results.length]!.client(isName ? Uint8Array.from(address) : address);
      await client.request("GET", "/");
    }
  })();
  await withTimeout(reading, `the program ends: ${script}`, PATIENCE);
  assertEquals(results.length, rows.length, await stderr);
  const [, ...requestedPermissions] = await readAudit(audit);
  for (const [i, { name, permissions }] of rows.entries()) {
    assertEquals(results[i]!.thrown, undefined, name);
    assertRequested(requestedPermissions[i]!, permissions, name);
  }
}

const ok: App = () => [200, "OK", {}, null];
const quoted = JSON.stringify;

Deno.test("importing every module needs no permission", async () => {
  const paths = (await readPackages()).flatMap(({ entries }) => [...entries.values()]);
  const imports = paths.map((path) => `import "./${path}";\n`).join("");
  const script = `${imports}import { Client } from "./client.ts";\nnew Client(["127.0.0.1", 1]);`;
  assertEquals(await runScript(script, [], { NO_COLOR: "1" }), "");
});

/** Returns a read permission for each file of a configuration. */
function readsOf(sslconfig: object): string[] {
  return Object.entries(sslconfig).filter(([key]) => key.endsWith("File"))
    .map(([, path]) => `read=${path}`);
}

Deno.test("each row of the tables needs exactly its permissions", async () => {
  await using dir = await createTempDir();
  const pathOf = (name: string) => join(dir.path, name);
  const rows: Row[] = [];

  // Clients and servers.

  await using unix = new Server(pathOf("socket"), ok);
  await using abstract = new Server(new Uint8Array(), ok);
  await using tcp = new Server(["127.0.0.1", 0], ok);
  for (const server of [tcp, unix, abstract]) server.serveForever();
  const [, port] = tcp.address as readonly [string, number];
  const name = quoted([...abstract.address as Uint8Array]);
  const onPath = (path: string) => [`net=unix:${path}`, `read=${path}`, `write=${path}`];
  const freePath = pathOf("free");
  const serve = (address: string) => `await serve((app) => new Server(${address}, app));`;
  const ask = (address: string) => `await new Client(${address}).request("GET", "/");`;
  rows.push(
    ...needs(["net=127.0.0.1:0"], { "Server on a host": serve('["127.0.0.1", 0]') }),
    ...needs(["net=[::1]:0"], { "Server on IPv6": serve('["::1", 0, 0, 0]') }),
    ...needs(onPath(freePath), { "Server on a path": serve(quoted(freePath)) }),
    ...needs([...onPath(freePath), `write=${freePath}.lock`], {
      "Server that replaces a stale socket": `await serve((app) => new Server(${
        quoted(freePath)
      }, app, { replaceStaleSocket: true }));`,
    }),
    ...needs(["net"], {
      "Server on an abstract name": serve("new Uint8Array()"),
      "Client of an abstract name": ask(`Uint8Array.from(${name})`),
    }),
    ...needs([`net=localhost:${port}`], { "Client of a name": ask(`["localhost", ${port}]`) }),
    ...needs(onPath(pathOf("socket")), { "Client of a path": ask(quoted(pathOf("socket"))) }),
  );

  // The operations of a client of a host.

  await fill(dir.path, { "there/file": "hello", "here/file": "hello" });
  const filesApp = new FilesApp(pathOf("there"), { list: true, write: true });
  await using peer = new Server(["127.0.0.1", 0], filesApp);
  peer.serveForever();
  const [, peerPort] = peer.address as readonly [string, number];
  const net = `net=127.0.0.1:${peerPort}`;
  const [directory, file, tree] = [pathOf("here"), pathOf("here/file"), pathOf("here/tree")];
  const client = `new Client(["127.0.0.1", ${peerPort}])`;
  rows.push(
    ...needs([net], {
      "Client": `await check(${client}.request("GET", "/file"));`,
      "createFetch": `await (await createFetch(${client})("/file")).text();`,
      "ProxyApp": `await using proxy = new ProxyApp(${client});
await check(callApp(proxy, mkreq("GET", "/file")));`,
      "listDirectory": `await Array.fromAsync(files.listDirectory(${client}, "/"));`,
      "listTree": `await Array.fromAsync(files.listTree(${client}, "/"));`,
      "remoteDigest": `await files.remoteDigest(${client}, "/file");`,
      "makeDirectory and deleteEntry": `await files.makeDirectory(${client}, "/new/");
await files.deleteEntry(${client}, "/new");`,
    }),
    ...needs([net, `read=${directory}`, `write=${directory}`], {
      "download": `await files.download(${client}, "/file", ${quoted(pathOf("here/copy"))});`,
    }),
    ...needs([net, `read=${file}`], {
      "upload": `await files.upload(${client}, ${quoted(file)}, "/copy");`,
    }),
    ...needs([net, `read=${tree}`, `write=${tree}`], {
      "downloadTree": `const options = { compare: "digest", delete: true };
await files.downloadTree(${client}, "/", ${quoted(tree)}, options);`,
    }),
    ...needs([net, `read=${directory}`], {
      "uploadTree": `const options = { delete: true };
await files.uploadTree(${client}, ${quoted(directory)}, "/tree/", options);`,
    }),
  );

  // TLS.

  const { serverSslconfig, clientSslconfig } = await openSharedPki();
  await using tls = new SSLServer(serverSslconfig, ["127.0.0.1", 0], ok);
  tls.serveForever();
  await tls.ready;
  const [, tlsPort] = tls.address as readonly [string, number];
  const authorities = pathOf("authorities");
  await Deno.mkdir(authorities);
  await Deno.copyFile(clientSslconfig.caFile, join(authorities, "ca.pem"));
  const serverFiles = readsOf(serverSslconfig), clientFiles = readsOf(clientSslconfig);
  const host = '["127.0.0.1", 0]';
  const [forServer, forClient] = [quoted(serverSslconfig), quoted(clientSslconfig)];
  const serveTls = (address: string) =>
    `await serve((app) => new SSLServer(${forServer}, ${address}, app));`;
  const secure = (address: Address) => new SSLClient(clientSslconfig, address);
  rows.push(
    ...needs(["net=127.0.0.1:0", ...serverFiles], {
      "SSLServer on a host": serveTls(host),
    }, secure),
    ...needs([...onPath(freePath), ...serverFiles], {
      "SSLServer on a path": serveTls(quoted(freePath)),
    }, secure),
    ...needs([`net=127.0.0.1:${tlsPort}`, ...clientFiles], {
      "SSLClient of a host":
        `await new SSLClient(${forClient}, ["127.0.0.1", ${tlsPort}]).request("GET", "/");`,
    }),
    ...needs([`net=127.0.0.1:${tlsPort}`], {
      "SSLClient that trusts the system's authorities": `
try {
  await new SSLClient({}, ["127.0.0.1", ${tlsPort}]).request("GET", "/");
} catch (error) {
  // The system doesn't trust the authority of this server's certificate.
  if (!/certificate|UnknownIssuer/i.test(error.message)) throw error;
}`,
    }),
    ...needs([`read=${authorities}`], {
      "a directory of authorities": `buildClientSslctx({ caPath: ${quoted(authorities)} });`,
    }),
    ...needs(clientFiles, { "buildClientSslctx": `buildClientSslctx(${forClient});` }),
    ...needs(serverFiles, { "buildServerSslctx": `buildServerSslctx(${forServer});` }),
    ...needs(["net=127.0.0.1:0", TREE], {
      "TempServer": `await using server = await TempServer.start(${host}, null, ok);`,
    }),
    ...needs(["net=127.0.0.1:0", TREE, ...serverFiles], {
      "TempSSLServer": `
await using server = await TempSSLServer.start(${forServer}, ${host}, null, ok);`,
    }),
  );

  // Files and keys.

  const [served, writable, keys] = [pathOf("served"), pathOf("writable"), pathOf("keys")];
  await fill(served, { "hello.txt": "hello" });
  await Deno.mkdir(writable);
  await Deno.mkdir(keys, { mode: 0o700 });
  await createDevicePki(keys, "viewer");
  rows.push(
    ...needs([`read=${served}`], {
      "FilesApp": `
await check(new files.FilesApp(${quoted(served)}).handle(mkreq("GET", "/hello.txt")));`,
      "FilesApp with list": `const app = new files.FilesApp(${quoted(served)}, { list: true });
const [, , , body] = await app.handle(mkreq("GET", "/"));
await body.writeTo(new WritableStream());`,
    }),
    ...needs([`read=${writable}`, `write=${writable}`], {
      "FilesApp with write": `
const warnings = [];
const logger = { warn: (...values) => warnings.push(values.join(" ")) };
const app = new files.FilesApp(${quoted(writable)}, { write: true, logger });
const name = crypto.randomUUID();
const digest = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"; // of no bytes
const upload = { "repr-digest": digest, "upload-length": "0", "upload-offset": "0" };
const requests = [
  mkreq("PUT", "/sub/" + name, { "if-none-match": "*" }, null),
  mkreq("PUT", "/sub/" + name, upload, null),
  mkreq("HEAD", "/sub/" + name, upload),
  mkreq("DELETE", "/sub/" + name),
];
for (const request of requests) {
  const [status] = await app.handle(request);
  if (status >= 400) throw new Error(status + warnings.join());
}`,
    }),
    ...needs(["write=/tmp"], {
      "TempPKI": "await using pki = await TempPKI.create();",
    }),
    ...needs([`read=${keys}`, `write=${keys}`, "sys=uid"], {
      "createDevicePki that makes keys": `await createDevicePki(${
        quoted(keys)
      }, "camera-" + crypto.randomUUID());`,
    }),
    ...needs([`read=${keys}`, "sys=uid"], {
      "createDevicePki that finds keys": `await createDevicePki(${quoted(keys)}, "viewer");`,
      "createDevicePki that makes nothing": `await createDevicePki(${
        quoted(keys)
      }, "viewer", { create: false });`,
    }),
  );

  // Devices.

  await using camera = await Device.open(pathOf("camera"), { name: "camera" });
  await using viewer = await Device.open(pathOf("viewer"), { name: "viewer" });
  await record(camera, viewer);
  await using device = await camera.serve(["127.0.0.1", 0], ok);
  await record(viewer, camera, { addresses: [device.address] });
  const [, devicePort] = device.address as readonly [string, number];
  const fresh = pathOf("fresh"), home = viewer.dir;
  const onHome = [`read=${home}`, `write=${home}`, "sys=uid"];
  const open = `await using device = await Device.open(${quoted(home)});`;
  rows.push(
    ...needs([`read=${fresh}`, `write=${fresh}`, "sys=uid"], {
      "Device.open that makes a device": `
await Deno.remove(${quoted(fresh)}, { recursive: true }).catch(() => {});
await using device = await Device.open(${quoted(fresh)}, { name: "fresh" });`,
    }),
    ...needs(onHome, {
      "Device.open, peers, rename and forget": `${open}
await device.rename("camera", "camera");
const error = await device.forget("nobody").catch((reason) => reason);
if (error?.code !== "UNKNOWN") throw error;
if ((await device.peers()).length !== 1) throw new Error("no peer");`,
    }),
    ...needs([...onHome, "net=127.0.0.1:0"], {
      "device.serve": `${open}
await using server = await device.serve(["127.0.0.1", 0], ok);`,
    }),
    ...needs([...onHome, `net=127.0.0.1:${devicePort}`], {
      "device.client": `${open}
await (await device.client("camera")).request("GET", "/");`,
    }),
    ...needs([`read=${home}`, "sys=uid", `net=127.0.0.1:${devicePort}`], {
      "device.client with create: false": `
await using device = await Device.open(${quoted(home)}, { create: false });
await (await device.client("camera")).request("GET", "/");`,
    }),
  );

  await run(dir.path, rows);
});

Deno.test("a test of temporary servers and devices runs with the line of docs/permissions.md", async () => {
  await using dir = await createTempDir();
  const page = await readProjectFile("docs/permissions.md");
  const flags = /^deno test (--.*)$/m.exec(page)![1]!.replaceAll("/tmp", dirname(dir.path))
    .replace("../degu", TREE.slice("read=".length));
  const module = join(dir.path, "temporary_test.ts");
  await Deno.writeTextFile(
    module,
    `import { Client, SSLClient } from "@degu/degu/client";
     import { TempPKI, TempServer, TempSSLServer } from "@degu/degu/misc";
     import { TempDevices } from "@degu/degu/device/testing";
     Deno.test("all together", async () => {
       const build = () => () => reply(200);
       await using server = await TempServer.start(["127.0.0.1", 0], build);
       await new Client(server.address).get("/");
       await using pki = await TempPKI.create();
       const sslconfig = pki.serverSslconfig;
       await using tls = await TempSSLServer.start(sslconfig, ["127.0.0.1", 0], build);
       await new SSLClient(pki.clientSslconfig, tls.address).get("/");
       await using temp = await TempDevices.create("lamp", "guest");
       const { lamp, guest } = temp.devices;
       await using lampServer = await lamp.serve(["127.0.0.1", 0], () => [200, "OK", {}, null]);
       const client = await guest.client("lamp", { addresses: [lampServer.address] });
       await client.get("/");
     });`,
  );
  const command = [Deno.execPath(), "test", "--no-prompt", "--no-check", ...flags.split(" ")];
  const stdout = await runOrThrow([...command, ...outsideScriptFlags(), module], {
    env: { NO_COLOR: "1" },
  });
  assertMatch(stdout, /1 passed \| 0 failed/);
});
