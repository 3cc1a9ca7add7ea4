/**
 * What docs/permissions.md says: what each row names works in a process with exactly the permissions of the row, and fails
 * with NotCapable without any one of them.
 */
import { SSLClient } from "@degu/degu/client";
import { createDevicePki, Device } from "@degu/degu/device";
import { FilesApp } from "@degu/degu/files";
import { type App, Server, SSLServer } from "@degu/degu/server";
import { record } from "@degu/testing/device_pairs.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { type Case, runCases } from "@degu/testing/permission_cases.ts";
import { unusedPort } from "@degu/testing/ports.ts";
import { sharedPki } from "@degu/testing/tls_endpoints.ts";
import { readConfiguration } from "@degu/testing/tree.ts";
import { dirname, fromFileUrl, join } from "@std/path";

/** A worker reads its modules as files. */
const TREE = `read=${fromFileUrl(new URL("../../", import.meta.url))}`;

const SERVERS = 'import { Server, SSLServer, buildServerSslctx } from "./server.ts";\n';
const CLIENTS = 'import { Client, SSLClient, buildClientSslctx } from "./client.ts";\n';
const MISC = 'import { TempPKI, TempServer, TempSSLServer, mkreq } from "./misc.ts";\n';
const FILES = 'import * as files from "./files.ts";\n';
const DEVICES = 'import { createDevicePki, Device } from "./device.ts";\n';
const POOLS = 'import { ServerPool } from "./pool.ts";\n';
const CHECK = `
const check = async (answering) => {
  const [status] = [await answering].flat();
  if ((status.status ?? status) >= 400) throw new Error(status);
};\n`;
const APP = '() => [200, "OK", {}, null]';

function needs(
  permissions: string[],
  imports: string,
  parts: Case["parts"],
  shown: string[] = [],
  client: Case["client"] = undefined,
): Case {
  return { permissions, imports, parts, shown, client };
}

const ok: App = () => [200, "OK", {}, null];
const quoted = JSON.stringify;

Deno.test("importing every module needs no permission", async () => {
  const { exports } = await readConfiguration();
  const imports = Object.values(exports).map((path) => `import "${path}";\n`).join("");
  await runCases([{
    imports: imports + CLIENTS,
    permissions: [],
    parts: { "making a Client": 'new Client(["127.0.0.1", 1]);' },
  }]);
});

Deno.test("plain clients and servers need the permissions in the table", async () => {
  await using dir = await tempDir();
  await using unix = new Server(join(dir.path, "served"), ok);
  await using abstract = new Server(new Uint8Array(), ok);
  await using tcp = new Server(["127.0.0.1", 0], ok);
  for (const server of [tcp, unix, abstract]) server.serveForever();
  const [, port] = tcp.address as readonly [string, number];
  const path = join(dir.path, "socket");
  const name = quoted([...abstract.address as Uint8Array]);
  const serve = (address: string) => `await serve((app) => new Server(${address}, app));`;
  const ask = (address: string) => `await new Client(${address}).request("GET", "/");`;
  await runCases([
    needs(["net=127.0.0.1:0"], SERVERS, { "Server on a host": serve('["127.0.0.1", 0]') }),
    needs(["net=[::1]:0"], SERVERS, { "Server on IPv6": serve('["::1", 0, 0, 0]') }),
    needs([`net=unix:${path}`, `read=${path}`, `write=${path}`], SERVERS, {
      "Server on a path": serve(quoted(path)),
    }),
    needs(["net"], SERVERS + CLIENTS, {
      "Server on an abstract name": serve("new Uint8Array()"),
      "Client of an abstract name": ask(`Uint8Array.from(${name})`),
    }),
    needs([`net=localhost:${port}`], CLIENTS, {
      "Client of a name": ask(`["localhost", ${port}]`),
    }),
    needs([`net=unix:${unix.address}`, `read=${unix.address}`, `write=${unix.address}`], CLIENTS, {
      "Client of a path": ask(quoted(unix.address)),
    }),
  ]);
});

Deno.test("what a client of a host does needs its permission, and those of the files it moves", async () => {
  await using dir = await tempDir();
  const [there, here] = [join(dir.path, "there"), join(dir.path, "here")];
  for (const path of [there, here]) {
    await Deno.mkdir(path);
    await Deno.writeTextFile(join(path, "file"), "hello");
  }
  const app = new FilesApp(there, { list: true, write: true });
  await using server = new Server(["127.0.0.1", 0], app);
  server.serveForever();
  const [, port] = server.address as readonly [string, number];
  const net = `net=127.0.0.1:${port}`;
  const [file, tree] = [join(here, "file"), join(here, "tree")];
  const imports = `${CLIENTS}${FILES}${MISC}${CHECK}
import { createFetch, ProxyApp } from "./mod.ts";
import { Session } from "./server.ts";
const client = new Client(["127.0.0.1", ${port}]);`;
  await runCases([
    needs([net], imports, {
      "Client": 'await check(client.request("GET", "/file"));',
      "createFetch": 'await (await createFetch(client)("/file")).text();',
      "ProxyApp": `const session = new Session("peer", null, 1);
await check(new ProxyApp(client).handle(mkreq("GET", "/file"), session));
session.store.get("conn").close();`,
      "listDirectory": 'await Array.fromAsync(files.listDirectory(client, "/"));',
      "listTree": 'await Array.fromAsync(files.listTree(client, "/"));',
      "remoteDigest": 'await files.remoteDigest(client, "/file");',
      "makeDirectory and deleteFile": `await files.makeDirectory(client, "/new/");
await files.deleteFile(client, "/new");`,
    }),
    needs([net, `read=${here}`, `write=${here}`], imports, {
      "download": `await files.download(client, "/file", ${quoted(join(here, "copy"))});`,
    }, [net]),
    needs([net, `read=${file}`], imports, {
      "upload": `await files.upload(client, ${quoted(file)}, "/copy");`,
    }, [net]),
    needs([net, `read=${tree}`, `write=${tree}`], imports, {
      "downloadTree": `const options = { compare: "nothing", delete: true };
await files.downloadTree(client, "/", ${quoted(tree)}, options);`,
    }, [net]),
    needs([net, `read=${here}`], imports, {
      "uploadTree": `
await files.uploadTree(client, ${quoted(here)}, "/tree/", { delete: true });`,
    }, [net]),
  ]);
});

Deno.test("clients, servers and pools with TLS need the permissions in the table", async () => {
  await using dir = await tempDir();
  const pki = await sharedPki();
  const { serverSslconfig, clientSslconfig } = pki;
  await using tcp = new SSLServer(serverSslconfig, ["127.0.0.1", 0], ok);
  tcp.serveForever();
  await tcp.ready;
  const [, port] = tcp.address as readonly [string, number];
  const path = join(dir.path, "socket");
  const authorities = join(dir.path, "authorities");
  await Deno.mkdir(authorities);
  await Deno.copyFile(clientSslconfig.caFile, join(authorities, "ca.pem"));
  const serverFiles = readsOf(serverSslconfig), clientFiles = readsOf(clientSslconfig);
  const onPath = [`net=unix:${path}`, `read=${path}`, `write=${path}`];
  const [host, poolPort] = ['["127.0.0.1", 0]', await unusedPort()];
  const [forServer, forClient] = [quoted(serverSslconfig), quoted(clientSslconfig)];
  const serve = (address: string) =>
    `await serve((app) => new SSLServer(${forServer}, ${address}, app));`;
  const poolApp = quoted(new URL("../support/pool_apps.ts", import.meta.url).href);
  const pool = (address: string, workers: number, more = "") => `
const app = { module: ${poolApp}, name: "app" };
await using pool = await ServerPool.start(${address}, app, { workers: ${workers}${more} });`;
  const secure: Case["client"] = (address) => new SSLClient(clientSslconfig, address);
  await runCases([
    needs(["net=127.0.0.1:0", ...serverFiles], SERVERS, { "SSLServer on a host": serve(host) }, [
      "net=127.0.0.1:0",
      ...serverFiles,
    ], secure),
    needs([...onPath, ...serverFiles], SERVERS, { "SSLServer on a path": serve(quoted(path)) }, [
      ...onPath,
      ...serverFiles,
    ], secure),
    needs([`net=127.0.0.1:${port}`, ...clientFiles], CLIENTS, {
      "SSLClient of a host":
        `await new SSLClient(${forClient}, ["127.0.0.1", ${port}]).request("GET", "/");`,
    }, clientFiles),
    needs([`net=127.0.0.1:${port}`], CLIENTS, {
      "SSLClient that trusts the system's authorities": `
try {
  await new SSLClient({}, ["127.0.0.1", ${port}]).request("GET", "/");
} catch (error) {
  // Nobody whom the system trusts has signed this server's certificate.
  if (!/certificate|UnknownIssuer/i.test(error.message)) throw error;
}`,
    }),
    needs([`read=${authorities}`], CLIENTS, {
      "a directory of authorities": `buildClientSslctx({ caPath: ${quoted(authorities)} });`,
    }),
    needs(clientFiles, CLIENTS, { "buildClientSslctx": `buildClientSslctx(${forClient});` }),
    needs(serverFiles, SERVERS, { "buildServerSslctx": `buildServerSslctx(${forServer});` }),
    needs(["net=127.0.0.1:0", TREE], MISC + POOLS, {
      "TempServer": `await using server = await TempServer.start(${host}, null, ${APP});`,
      "ServerPool of one worker": pool(host, 1),
    }, ["net=127.0.0.1:0"]),
    needs(["net=127.0.0.1:0", TREE, ...serverFiles], MISC, {
      "TempSSLServer": `
await using server = await TempSSLServer.start(${forServer}, ${host}, null, ${APP});`,
    }, ["net=127.0.0.1:0", TREE, ...serverFiles]),
    ...["net=127.0.0.1", `net=127.0.0.1:${poolPort}`].map((net) => ({
      imports: POOLS,
      permissions: [net, TREE, ...serverFiles],
      shown: [TREE, ...serverFiles],
      parts: {
        "ServerPool with TLS": pool(
          `["127.0.0.1", ${net.split(":")[1] ?? 0}]`,
          2,
          `, sslconfig: ${forServer}`,
        ),
      },
    })),
  ]);
});

/** The files of a configuration, each as a permission. */
function readsOf(sslconfig: object): string[] {
  return Object.entries(sslconfig).filter(([key]) => key.endsWith("File"))
    .map(([, path]) => `read=${path}`);
}

Deno.test("files and keys need the permissions in the table", async () => {
  await using dir = await tempDir();
  const [served, writable, keys] = ["served", "writable", "keys"].map((name) =>
    join(dir.path, name)
  ) as [string, string, string];
  for (const path of [served, writable, keys]) await Deno.mkdir(path, { mode: 0o700 });
  await Deno.writeTextFile(join(served, "hello.txt"), "hello");
  await createDevicePki(keys, "viewer");
  const imports = FILES + MISC + CHECK;
  await runCases([
    needs([`read=${served}`], imports, {
      "FilesApp": `
await check(new files.FilesApp(${quoted(served)}).handle(mkreq("GET", "/hello.txt")));`,
      "FilesApp with list": `const app = new files.FilesApp(${quoted(served)}, { list: true });
const [, , , body] = await app.handle(mkreq("GET", "/"));
await body.writeTo(new WritableStream());`,
    }),
    needs([`read=${writable}`, `write=${writable}`], imports, {
      "FilesApp with write": `
const warnings = [];
const logger = { warn: (...values) => warnings.push(values.join(" ")) };
const app = new files.FilesApp(${quoted(writable)}, { write: true, logger });
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
  if (status >= 400) throw new Error(status + warnings.join());
}`,
    }),
    needs([`write=${dirname(dir.path)}`], MISC, {
      "TempPKI": "await using pki = await TempPKI.create();",
    }),
    needs([`read=${keys}`, `write=${keys}`, "sys=uid"], DEVICES, {
      "createDevicePki that makes keys": `await createDevicePki(${
        quoted(keys)
      }, "camera-" + crypto.randomUUID());`,
    }),
    needs([`read=${keys}`, "sys=uid"], DEVICES, {
      "createDevicePki that finds keys": `await createDevicePki(${quoted(keys)}, "viewer");`,
      "createDevicePki that renews nothing": `await createDevicePki(${
        quoted(keys)
      }, "viewer", { renew: false });`,
    }),
  ]);
});

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
  const fresh = join(dir.path, "fresh"), home = viewer.dir;
  const onHome = [`read=${home}`, `write=${home}`, "sys=uid"];
  const open = `await using device = await Device.open(${quoted(home)});`;
  await runCases([
    needs([`read=${fresh}`, `write=${fresh}`, "sys=uid"], DEVICES, {
      "Device.open that makes a device": `
await Deno.remove(${quoted(fresh)}, { recursive: true }).catch(() => {});
await using device = await Device.open(${quoted(fresh)}, { name: "fresh" });`,
    }),
    needs(onHome, DEVICES, {
      "Device.open, peers, rename and forget": `${open}
await device.rename("camera", "camera");
await device.forget("nobody");
if ((await device.peers()).length !== 1) throw new Error("no peer");`,
    }),
    needs([...onHome, "net=127.0.0.1:0"], DEVICES, {
      "device.listen": `${open}
await using server = device.listen(["127.0.0.1", 0], ${APP});
await server.ready;`,
    }, onHome),
    needs([...onHome, `net=127.0.0.1:${port}`], DEVICES, {
      "device.client": `${open}
await (await device.client("camera")).request("GET", "/");`,
    }, onHome),
  ]);
});
