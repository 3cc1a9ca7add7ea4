/** What permissions the library needs, and no more. */
import type { Address } from "@degu/degu/base";
import { Client, SSLClient } from "@degu/degu/client";
import { createDevicePki, Device } from "@degu/degu/device";
import { FilesApp } from "@degu/degu/files";
import { TempPKI } from "@degu/degu/misc";
import { type App, Server, SSLServer } from "@degu/degu/server";
import { record } from "@degu/testing/device_pairs.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { runCases } from "@degu/testing/permission_cases.ts";
import { unusedPort } from "@degu/testing/ports.ts";
import { assertEquals } from "@std/assert";
import { dirname, fromFileUrl, join } from "@std/path";

// What docs/permissions.md says: each entry works in a process with exactly the permissions of
// its row, and without any one of them it fails with NotCapable.

const ROOT = new URL("../../", import.meta.url);

/** A worker reads its modules as files. */
const TREE = `read=${fromFileUrl(ROOT)}`;

const ENTRIES = [
  "mod",
  "base",
  "client",
  "server",
  "files",
  "misc",
  "device",
  "otel",
  "pool",
  "agent",
];

const ANSWERS = `
const { promise: answered, resolve } = Promise.withResolvers();
const app = () => { resolve(); return [200, "OK", {}, null]; };
`;
/** Tells where the server is, and ends after the first request. */
const SERVE = `
const serving = server.serveForever();
await server.ready;
const { address } = server;
console.log(JSON.stringify(address instanceof Uint8Array ? [...address] : address));
await answered;
await server.shutdown();
await serving;
`;

function serverScript(construct: string): string {
  return `import { Server, SSLServer } from "./server.ts";${ANSWERS}
const server = ${construct};${SERVE}`;
}

function clientScript(construct: string): string {
  return `import { Client, SSLClient } from "./client.ts";
const response = await ${construct}.request("GET", "/");
if (response.status !== 200) throw new Error(String(response.status));`;
}

/** Makes one request of a server that a program has told of. */
async function request(client: Client): Promise<void> {
  assertEquals((await client.request("GET", "/")).status, 200);
}

const ok: App = () => [200, "OK", {}, null];

Deno.test("importing every module needs no permission", async () => {
  const imports = ENTRIES.map((name) => `import "./${name}.ts";`).join("\n");
  const script = `${imports}\nimport { Client } from "./mod.ts";\nnew Client(["127.0.0.1", 1]);`;
  await runCases([{ name: "every module", permissions: [], script }]);
});

Deno.test("plain clients and servers need the permissions in the table", async () => {
  await using dir = await tempDir();
  await using tcp = new Server(["127.0.0.1", 0], ok);
  await using unix = new Server(join(dir.path, "served"), ok);
  await using abstract = new Server(new Uint8Array(), ok);
  for (const server of [tcp, unix, abstract]) server.serveForever();
  const [, port] = tcp.address as readonly [string, number];
  const path = join(dir.path, "socket");
  const abstractName = JSON.stringify([...abstract.address as Uint8Array]);
  const client = (construct: string) => clientScript(`new Client(${construct})`);
  const server = (address: string) => serverScript(`new Server(${address}, app)`);
  const drive = (address: Address) => request(new Client(address));
  await runCases([
    {
      name: "Server on a host",
      permissions: ["net=127.0.0.1:0"],
      script: server('["127.0.0.1", 0]'),
      drive,
    },
    {
      name: "Server on IPv6",
      permissions: ["net=[::1]:0"],
      script: server('["::1", 0, 0, 0]'),
      drive,
    },
    {
      name: "Server on a path",
      permissions: [`net=unix:${path}`, `read=${path}`, `write=${path}`],
      script: server(JSON.stringify(path)),
      drive,
    },
    {
      name: "Server on an abstract name",
      permissions: ["net"],
      script: server("new Uint8Array()"),
      drive,
    },
    {
      name: "Client of a host",
      permissions: [`net=127.0.0.1:${port}`],
      script: client(`["127.0.0.1", ${port}]`),
    },
    {
      name: "Client of a name",
      permissions: [`net=localhost:${port}`],
      script: client(`["localhost", ${port}]`),
    },
    {
      name: "Client of a path",
      permissions: [`net=unix:${unix.address}`, `read=${unix.address}`, `write=${unix.address}`],
      script: client(JSON.stringify(unix.address)),
    },
    {
      name: "Client of an abstract name",
      permissions: ["net"],
      script: client(`Uint8Array.from(${abstractName})`),
    },
    {
      name: "createFetch",
      permissions: [`net=127.0.0.1:${port}`],
      script: `import { Client } from "./client.ts";
import { createFetch } from "./mod.ts";
await createFetch(new Client(["127.0.0.1", ${port}]))("/");`,
    },
    {
      name: "ProxyApp",
      permissions: [`net=127.0.0.1:${port}`],
      script: `import { Client } from "./client.ts";
import { ProxyApp } from "./mod.ts";
import { mkreq } from "./misc.ts";
import { Session } from "./server.ts";
const proxy = new ProxyApp(new Client(["127.0.0.1", ${port}]));
const session = new Session("peer", null, 1);
const { status } = await proxy.handle(mkreq("GET", "/"), session);
if (status !== 200) throw new Error(String(status));
session.store.get("conn").close();`,
    },
  ]);
});

Deno.test("clients and servers with TLS need the permissions in the table", async () => {
  await using dir = await tempDir();
  await using pki = await TempPKI.create();
  const { serverSslconfig, clientSslconfig } = pki;
  await using tcp = new SSLServer(serverSslconfig, ["127.0.0.1", 0], ok);
  tcp.serveForever();
  await tcp.ready;
  const [, port] = tcp.address as readonly [string, number];
  const path = join(dir.path, "socket");
  const authorities = join(dir.path, "authorities");
  await Deno.mkdir(authorities);
  await Deno.copyFile(clientSslconfig.caFile, join(authorities, "ca.pem"));
  const serverFiles = readsOf(serverSslconfig);
  const clientFiles = readsOf(clientSslconfig);
  const drive = (address: Address) => request(new SSLClient(clientSslconfig, address));
  const server = (address: string) =>
    serverScript(`new SSLServer(${JSON.stringify(serverSslconfig)}, ${address}, app)`);
  await runCases([
    {
      name: "SSLServer on a host",
      permissions: ["net=127.0.0.1:0", ...serverFiles],
      script: server('["127.0.0.1", 0]'),
      drive,
    },
    {
      name: "SSLServer on a path",
      permissions: [`net=unix:${path}`, `read=${path}`, `write=${path}`, ...serverFiles],
      script: server(JSON.stringify(path)),
      drive,
    },
    {
      name: "SSLClient of a host",
      permissions: [`net=127.0.0.1:${port}`, ...clientFiles],
      script: clientScript(
        `new SSLClient(${JSON.stringify(clientSslconfig)}, ["127.0.0.1", ${port}])`,
      ),
    },
    {
      name: "SSLClient that trusts the system's authorities",
      permissions: [`net=127.0.0.1:${port}`],
      script: `import { SSLClient } from "./client.ts";
try {
  await new SSLClient({}, ["127.0.0.1", ${port}]).request("GET", "/");
} catch (error) {
  // Nobody whom the system trusts has signed this server's certificate.
  if (!/certificate|UnknownIssuer/i.test(error.message)) throw error;
}`,
    },
    {
      name: "buildClientSslctx with a directory",
      permissions: [`read=${authorities}`],
      script: `import { buildClientSslctx } from "./client.ts";
buildClientSslctx({ caPath: ${JSON.stringify(authorities)} });`,
    },
    {
      name: "buildClientSslctx",
      permissions: clientFiles,
      script: `import { buildClientSslctx } from "./client.ts";
buildClientSslctx(${JSON.stringify(clientSslconfig)});`,
    },
    {
      name: "buildServerSslctx",
      permissions: serverFiles,
      script: `import { buildServerSslctx } from "./server.ts";
buildServerSslctx(${JSON.stringify(serverSslconfig)});`,
    },
  ]);
});

/** The files of a configuration, each as a permission. */
function readsOf(sslconfig: object): string[] {
  return Object.entries(sslconfig).filter(([key]) => key.endsWith("File"))
    .map(([, path]) => `read=${path}`);
}

Deno.test("temporary servers with TLS need the permissions in the table", async () => {
  await using pki = await TempPKI.create();
  await runCases([{
    name: "TempSSLServer",
    permissions: ["net=127.0.0.1:0", TREE, ...readsOf(pki.serverSslconfig)],
    script: `import { TempSSLServer } from "./misc.ts";
const app = () => [200, "OK", {}, null];
const sslconfig = ${JSON.stringify(pki.serverSslconfig)};
await using server = await TempSSLServer.start(sslconfig, ["127.0.0.1", 0], null, app);
console.log(JSON.stringify(server.address));`,
  }]);
});

Deno.test("files, keys and temporary servers need the permissions in the table", async () => {
  await using dir = await tempDir();
  const files = join(dir.path, "files");
  await Deno.mkdir(files);
  await Deno.writeTextFile(join(files, "hello.txt"), "hello");
  const writable = join(dir.path, "writable");
  await Deno.mkdir(writable);
  const keys = join(dir.path, "keys");
  await Deno.mkdir(keys, { mode: 0o700 });
  await createDevicePki(keys, "viewer");
  const temporary = dirname(dir.path);
  await runCases([
    {
      name: "FilesApp",
      permissions: [`read=${files}`],
      script: `import { FilesApp } from "./files.ts";
import { mkreq } from "./misc.ts";
const [status, , , body] = await new FilesApp(${JSON.stringify(files)})
  .handle(mkreq("GET", "/hello.txt"));
if (status !== 200) throw new Error(String(status));
if (body === null) throw new Error("no body");`,
    },
    {
      name: "FilesApp with list",
      permissions: [`read=${files}`],
      script: `import { FilesApp } from "./files.ts";
import { mkreq } from "./misc.ts";
const app = new FilesApp(${JSON.stringify(files)}, { list: true });
const [, , , body] = await app.handle(mkreq("GET", "/"));
await body.writeTo(new WritableStream());`,
    },
    {
      name: "FilesApp with write",
      permissions: [`read=${writable}`, `write=${writable}`],
      script: `import { FilesApp } from "./files.ts";
import { mkreq } from "./misc.ts";
const logger = { warn: console.error };
const app = new FilesApp(${JSON.stringify(writable)}, { write: true, logger });
const name = crypto.randomUUID();
const digest = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"; // of nothing
const upload = { "repr-digest": digest, "upload-length": "0", "upload-offset": "0" };
const requests = [
  mkreq("PUT", "/sub/" + name, { "if-none-match": "*" }),
  mkreq("PUT", "/sub/" + name, upload),
  mkreq("HEAD", "/sub/" + name, upload),
  mkreq("DELETE", "/sub/" + name),
];
for (const request of requests) {
  const [status] = await app.handle(request);
  if (status >= 400) throw new Error(String(status));
}`,
    },
    {
      name: "TempPKI",
      permissions: [`write=${temporary}`],
      script: `import { TempPKI } from "./misc.ts";
await using pki = await TempPKI.create();`,
    },
    {
      name: "createDevicePki that makes keys",
      permissions: [`read=${keys}`, `write=${keys}`, "sys=uid"],
      script: `import { createDevicePki } from "./device.ts";
const name = "camera-" + crypto.randomUUID();
await createDevicePki(${JSON.stringify(keys)}, name);`,
    },
    {
      name: "createDevicePki that finds keys",
      permissions: [`read=${keys}`, "sys=uid"],
      script: `import { createDevicePki } from "./device.ts";
await createDevicePki(${JSON.stringify(keys)}, "viewer");`,
    },
    {
      name: "createDevicePki with renew: false",
      permissions: [`read=${keys}`, "sys=uid"],
      script: `import { createDevicePki } from "./device.ts";
await createDevicePki(${JSON.stringify(keys)}, "viewer", { renew: false });`,
    },
    {
      name: "TempServer",
      permissions: ["net=127.0.0.1:0", TREE],
      script: `import { TempServer } from "./misc.ts";
const app = () => [200, "OK", {}, null];
await using server = await TempServer.start(["127.0.0.1", 0], null, app);
console.log(JSON.stringify(server.address));`,
    },
  ]);
});

// The permissions of devices in docs/permissions.md.

Deno.test("a device needs the permissions in the table", async () => {
  await using dir = await tempDir();
  await using camera = await Device.open(join(dir.path, "camera"), { name: "camera" });
  await using viewer = await Device.open(join(dir.path, "viewer"), { name: "viewer" });
  await record(camera, viewer);
  await using server = camera.listen(["127.0.0.1", 0], ok);
  server.serveForever();
  await server.ready;
  await record(viewer, camera, { addresses: [server.address] });
  const [, port] = server.address as readonly [string, number];
  const fresh = join(dir.path, "fresh");
  const home = viewer.dir;
  const onHome = [`read=${home}`, `write=${home}`, "sys=uid"];
  const open = `import { Device } from "./device.ts";
await using device = await Device.open(${JSON.stringify(home)});`;
  await runCases([
    {
      name: "Device.open that makes a device",
      permissions: [`read=${fresh}`, `write=${fresh}`, "sys=uid"],
      script: `import { Device } from "./device.ts";
await Deno.remove(${JSON.stringify(fresh)}, { recursive: true }).catch(() => {});
await using device = await Device.open(${JSON.stringify(fresh)}, { name: "fresh" });`,
    },
    {
      name: "Device.open, peers, rename and forget",
      permissions: onHome,
      script: `${open}
await device.rename("camera", "camera");
await device.forget("nobody");
if ((await device.peers()).length !== 1) throw new Error("no peer");`,
    },
    {
      name: "device.listen",
      permissions: [...onHome, "net=127.0.0.1:0"],
      script: `${open}
const server = device.listen(["127.0.0.1", 0], () => [200, "OK", {}, null]);
const serving = server.serveForever();
await server.ready;
await server.shutdown();
await serving;`,
    },
    {
      name: "device.client",
      permissions: [...onHome, `net=127.0.0.1:${port}`],
      script: `${open}
const client = await device.client("camera");
const { status } = await client.request("GET", "/");
if (status !== 200) throw new Error(String(status));`,
    },
  ]);
});

// The permissions of pools in docs/permissions.md: as in `permissions_test.ts`.

Deno.test("pools need the permissions in the table", async () => {
  await using pki = await TempPKI.create();
  const sslconfig = JSON.stringify(pki.serverSslconfig);
  const { certFile, keyFile, caFile } = pki.serverSslconfig;
  const files = [certFile, keyFile, caFile].map((path) => `read=${path}`);
  const port = await unusedPort();
  const app = new URL("../support/pool_apps.ts", import.meta.url).href;
  const start = (address: string, options: string) =>
    `import { ServerPool } from "./pool.ts";
const app = { module: ${JSON.stringify(app)}, name: "app" };
await using pool = await ServerPool.start(${address}, app, ${options});
console.log(JSON.stringify(pool.address));`;
  await runCases([
    {
      name: "ServerPool with TLS",
      permissions: [`net=127.0.0.1:${port}`, TREE, ...files],
      script: start(`["127.0.0.1", ${port}]`, `{ workers: 2, sslconfig: ${sslconfig} }`),
    },
    {
      name: "ServerPool with TLS on any port",
      permissions: ["net=127.0.0.1", TREE, ...files],
      script: start('["127.0.0.1", 0]', `{ workers: 2, sslconfig: ${sslconfig} }`),
    },
    {
      name: "ServerPool of one worker",
      permissions: ["net=127.0.0.1:0", TREE],
      script: start('["127.0.0.1", 0]', "{ workers: 1 }"),
    },
  ]);
});

// The permissions of transfers in docs/permissions.md.

Deno.test("transfers need the permissions in the table", async () => {
  await using dir = await tempDir();
  const there = join(dir.path, "there");
  const here = join(dir.path, "here");
  for (const path of [there, here]) await Deno.mkdir(path);
  await Deno.writeTextFile(join(there, "file"), "hello");
  await Deno.writeTextFile(join(here, "file"), "hello");
  const app = new FilesApp(there, { list: true, write: true });
  await using server = new Server(["127.0.0.1", 0], app);
  server.serveForever();
  const [, port] = server.address as readonly [string, number];
  const connects = `net=127.0.0.1:${port}`;
  const script = (work: string) =>
    `import { Client } from "./client.ts";
import * as files from "./files.ts";
const { deleteFile, download, downloadTree, listDirectory, listTree, makeDirectory, remoteDigest, upload, uploadTree } = files;
const client = new Client(["127.0.0.1", ${port}]);
${work}`;
  await runCases([
    {
      name: "listDirectory",
      permissions: [connects],
      script: script(`for await (const { name } of listDirectory(client, "/")) console.log(name);`),
    },
    {
      name: "listTree",
      permissions: [connects],
      script: script(`for await (const { path } of listTree(client, "/")) console.log(path);`),
    },
    {
      name: "remoteDigest, makeDirectory, deleteFile",
      permissions: [connects],
      script: script(`console.log(await remoteDigest(client, "/file"));
await makeDirectory(client, "/new/");
await deleteFile(client, "/new");`),
    },
    {
      name: "download",
      permissions: [connects, `read=${here}`, `write=${here}`],
      script: script(`await download(client, "/file", ${JSON.stringify(join(here, "copy"))});`),
    },
    {
      name: "upload",
      permissions: [connects, `read=${join(here, "file")}`],
      script: script(`await upload(client, ${JSON.stringify(join(here, "file"))}, "/copy");`),
    },
    {
      name: "downloadTree",
      permissions: [connects, `read=${join(here, "tree")}`, `write=${join(here, "tree")}`],
      script: script(
        `await downloadTree(client, "/", ${
          JSON.stringify(join(here, "tree"))
        }, { compare: "nothing", delete: true });`,
      ),
    },
    {
      name: "uploadTree",
      permissions: [connects, `read=${here}`],
      script: script(
        `await uploadTree(client, ${JSON.stringify(here)}, "/tree/", { delete: true });`,
      ),
    },
  ]);
});
