/**
 * The permissions of operations, in the tables of the pages, and of the commands of the program: each
 * command in agent/docs/permissions.md works, and requests exactly the permissions of its row, which
 * are also those that `degu permissions` prints.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Address } from "@degu/degu/base";
import { Client, SSLClient } from "@degu/degu/client";
import { createDevicePki, Device } from "@degu/degu/device";
import { FilesApp } from "@degu/degu/files";
import { type App, Server, SSLServer } from "@degu/degu/server";
import { record } from "@degu/testing/device_pairs.ts";
import { createTempDir, fill } from "@degu/testing/directories.ts";
import { assertRequested, formatFlags, parsePermissions, readAudit } from "./permissions.ts";
import {
  importMapFlags,
  outsideScriptFlags,
  ProgramOutput,
  runProgram,
  runScript,
  spawnScript,
} from "@degu/testing/processes.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { openSharedPki } from "@degu/testing/tls_endpoints.ts";
import { readPackages } from "@degu/internal/tools/packages.ts";
import { fromFileUrl, join } from "@std/path";
import { toText } from "@std/streams";
import { Inbox } from "@degu/internal/agent/serve/inbox.ts";
import { makeProgram } from "@degu/internal/agent/program.ts";
import { AgentHomes, type AgentResult, watch } from "@degu/testing/agents.ts";
import { findObstacle, runOrThrow, startCommand } from "@degu/testing/commands.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { readProjectFile } from "@degu/testing/project_files.ts";
import { patch } from "@degu/testing/patching.ts";
import { dirname } from "node:path";
import type { Step } from "../programs/agent_permissions.ts";

/** A worker reads its modules as files. */
const TREE = `read=${fromFileUrl(new URL("../../", import.meta.url))}`;

/** The maximal duration of a process on a busy machine, in seconds. */
const PATIENCE = 120;

/**
 * The start of each program. `serve` starts a server, and closes it after one request of the test.
 */
const PRELUDE = `
import { beginStep } from "./tests/project/permissions.ts";
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

/**
 * A command that runs the appended command in a namespace with only the loopback interface, beside
 * a user's systemd.
 */
const THROUGH_SYSTEMD: readonly string[] = [
  ..."unshare --map-root-user --net --mount --pid --fork --mount-proc bash -c".split(" "),
  `mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && mkdir -m 700 /run/user || exit
ip link set lo up
export XDG_RUNTIME_DIR=/run/user
/usr/lib/systemd/systemd --user &> /dev/null &
for ((i = 0; i < 300; i++)); do
  systemctl --user show &> /dev/null && break
  sleep 0.1
done
systemctl --user show > /dev/null && "$@"
code=$?
systemctl --user exit && wait # it removes its groups of processes, but not its own
rmdir /sys/fs/cgroup/*/init.scope &> /dev/null
exit $code`,
  "bash",
];

/** Returns the reason why {@linkcode THROUGH_SYSTEMD} can't start; `null` if it can. */
function findSystemdObstacle(): Promise<string | null> {
  return findObstacle([...THROUGH_SYSTEMD, "true"]);
}

/**
 * An optional permission for all commands. files/tests/full_disks_test.ts tests full disks with and
 * without it.
 */
const OPTIONAL = "sys=statfs";

/** The log of a day on which a file was stored. */
const LIST = "1.new";
const LINE = '"2020-01-01T09_1"';

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

/** The permissions in each row of the table in agent/docs/permissions.md. */
const section = await readProjectFile("agent/docs/permissions.md");
const ROWS = new Map(
  Array.from(
    section.split("\n## ")[0]!.matchAll(/^\| `([^|]+)` +\| (?:none|`([^`]+)`) +\|$/gm),
    ([, rows = "", flags = ""]) => [rows.split("`, `"), flags.split(" ").filter(Boolean)] as const,
  ).flatMap(([rows, flags]) => rows.map((row) => [row, flags.flatMap(parsePermissions)])),
);

/** Whether a row needs systemd. */
const isOfService = (row: string) => row.startsWith("service ");

/** A command for a row of the table. */
interface Case {
  readonly args: readonly string[];
  /** The home to use; by default the viewer's. `null` to find it by the environment. */
  readonly home?: string | null;
  /** The values for the other capitalized words of the row. */
  readonly values?: Readonly<Record<string, string>>;
  readonly stdin?: string;
  /**
   * The output after which the test interrupts the command; by default the command ends by itself.
   */
  readonly until?: string;
  readonly onTerminal?: boolean;
  /** The exit code with all permissions; 0 by default. */
  readonly code?: number;
}

/**
 * Makes a camera that serves a share and an inbox, a viewer that is paired with it, other devices,
 * and the commands.
 */
async function setUp(homes: AgentHomes): Promise<Record<string, Case>> {
  const [share, inbox] = [homes.joinPath("share"), homes.joinPath("inbox")];
  const [localDirectory, tmp] = [homes.joinPath("here"), homes.joinPath("tmp")];
  await fill(homes.path, { "inbox": null, "person/Inbox": null, "tmp": null });
  await fill(share, { "shared": "x", "dir/file": "x".repeat(100_000) });
  await fill(localDirectory, {
    ...{ "restored": null, "copy/file": "x", [`copy/.degu-kept/${LIST}`]: LINE },
    ...{ "target": null, "synced": null },
    ...{ "file": "x", "own/file": "x", "outbox/file": "x" },
  });
  const outbox = `${localDirectory}/outbox`;
  const [, viewer] = await homes.init("camera", "viewer", "old", "guest", "degu");
  await Deno.mkdir(homes.joinPath("state"));
  await Deno.rename(homes.joinPath("degu"), homes.joinPath("state", "degu"));
  await homes.pair("camera", "viewer");
  await homes.pair("viewer", "old");
  const files = ["--share", share, "--inbox", inbox];
  const { address: PEER } = await homes.serve("camera", files, "viewer");
  const directory = await new Inbox(inbox).assignDirectory({ id: viewer!, name: "viewer" });
  await fill(inbox, { [`${directory}/old`]: "x" });
  const local = ["--listen", "127.0.0.1:0", "--serving", "127.0.0.1:7443"];
  const invite = homes.start("camera", ["invite", ...local]);
  const [ADDRESS, INVITER] = ["127.0.0.1:0", "127.0.0.1"];
  const invited = { until: "degu:", code: 130 };
  const send = homes.start("camera", ["send", "--listen", ADDRESS, `${share}/dir`]);
  const [copy, restored] = [`${localDirectory}/copy`, `${localDirectory}/restored`];
  const [target, synced] = [`${localDirectory}/target`, `${localDirectory}/synced`];
  const [file, ownDirectory] = [`${localDirectory}/file`, `${localDirectory}/own`];
  // A file is moved three seconds after its last change, whose time (ctime) no test can set.
  const changedAt = (await Deno.stat(`${outbox}/file`)).ctime!.getTime();
  await new Promise((resolve) => setTimeout(resolve, changedAt + 3_100 - Date.now()));
  return {
    "send --listen ADDRESS DIR": {
      args: ["send", "--listen", ADDRESS, ownDirectory],
      values: { ADDRESS, DIR: ownDirectory, TMP: tmp },
      ...invited,
      until: "degu-send:",
    },
    "receive LINE TARGET": {
      args: ["receive", "-", target],
      values: { INVITER, TARGET: target, TMP: tmp },
      stdin: await send.waitForLine("degu-send:"),
    },
    "permissions get PEER:PATH TARGET": {
      args: ["permissions", "get", "camera:shared", target],
      values: { TARGET: target },
    },
    "completions": { args: ["completions", "bash"] },
    "init": { args: ["init"], home: "new" },
    "init --name NAME": { args: ["init", "--name", "x"], home: "new" },
    "id": { args: ["id"] },
    "id, without --home": { args: ["id"], home: null },
    "peers": { args: ["peers"] },
    "rename": { args: ["rename", "camera", "camera"] },
    "forget": { args: ["forget", "old"] },
    "pair --listen ADDRESS --serving ADDRESS": {
      args: ["pair", ...local],
      values: { ADDRESS },
      onTerminal: true,
      until: "--address",
      code: 130,
    },
    "invite": { args: ["invite"], ...invited },
    "invite --listen ADDRESS --serving ADDRESS": {
      args: ["invite", ...local],
      values: { ADDRESS },
      ...invited,
    },
    "join --serving ADDRESS": {
      args: ["join", "-", "--serving", "127.0.0.1:2"],
      home: "guest",
      values: { INVITER },
      stdin: await invite.waitForLine("degu:"),
    },
    "serve --listen ADDRESS --share SHARE --inbox INBOX": {
      args: ["serve", "--listen", ADDRESS, ...files],
      values: { SHARE: share, INBOX: inbox, ADDRESS },
      until: "serving",
    },
    "serve --listen ADDRESS --inbox": {
      args: ["serve", "--listen", ADDRESS, "--inbox"],
      values: { INBOX: homes.joinPath("person", "Inbox"), ADDRESS },
      until: "serving",
    },
    "ping": { args: ["ping", "camera"], values: { PEER } },
    "ls": { args: ["ls", "camera:"], values: { PEER } },
    "get PEER:PATH... TARGET": {
      args: ["get", "camera:shared", target],
      values: { PEER, TARGET: target },
    },
    "put FILE PEER:PATH": { args: ["put", file, "camera:"], values: { PEER, FILE: file } },
    "rm": { args: ["rm", "camera:old"], values: { PEER } },
    "sync PEER:DIR DIR": { args: ["sync", "camera:dir", synced], values: { PEER, DIR: synced } },
    "sync DIR PEER:DIR": {
      args: ["sync", ownDirectory, "camera:there"],
      values: { PEER, DIR: ownDirectory },
    },
    "restore DIR NEW": {
      args: ["restore", "--at", "2020-01-01T09_1", copy, restored],
      values: { DIR: copy, NEW: restored },
    },
    "sync --move DIR PEER:DIR": {
      args: ["sync", "--move", outbox, "camera:moved"],
      values: { PEER, DIR: outbox },
    },
  };
}

/** A command with its permissions. */
interface Command extends Case {
  readonly row: string;
  readonly permissions: readonly string[];
}

Deno.test("each command needs the flags of its row, every command has a row, and every row a test", async () => {
  await using homes = await AgentHomes.create();
  using _name = patch(Deno, "hostname", () => () => "camera");
  const cases = await setUp(homes);
  const rows = [...ROWS.keys()].filter((row) => !isOfService(row));
  assertEquals(rows.toSorted(), Object.keys(cases).toSorted());
  for (const command of (await makeProgram(() => () => Promise.resolve())).commands) {
    const isRow = (row: string) => row.split(/[ ,]/)[0] === command.name();
    assert([...ROWS.keys()].some(isRow), command.name());
  }
  const commands = Object.entries(cases).map(([row, testCase]): Command => {
    const { home = "viewer", values = {} } = testCase;
    const valueOf = (name: string) =>
      name === "HOME" ? homes.joinPath(home ?? "state/degu") : values[name] ?? name;
    const permissions = ROWS.get(row)!.map((each) =>
      each.replace(/(?<==)(?<!^env=)[A-Z]+$/, valueOf)
    );
    return { ...testCase, row, permissions };
  });
  const steps = commands.map(({ args, home = "viewer", stdin = "", until, onTerminal }): Step => {
    const homeArguments = home === null ? [] : ["--home", homes.joinPath(home)];
    const newHome = home === "new" ? homes.joinPath(home) : undefined;
    return { args: [...homeArguments, ...args], stdin, until, onTerminal, made: newHome };
  });
  const audit = homes.joinPath(crypto.randomUUID());
  const env = {
    XDG_STATE_HOME: homes.joinPath("state"),
    HOME: homes.joinPath("person"),
    TMPDIR: homes.joinPath("tmp"),
    DENO_AUDIT_PERMISSIONS: audit,
  };
  const granted = new Set(commands.flatMap(({ permissions }) => permissions));
  const options = {
    flags: [...formatFlags(granted), ...importMapFlags()],
    args: [JSON.stringify(steps)],
    env,
  };
  const results: AgentResult[] = JSON.parse(await runProgram("agent_permissions.ts", options));
  const [, ...requestedPermissions] = await readAudit(audit, env.TMPDIR);
  for (const [i, command] of commands.entries()) {
    const { code, stdout, stderr } = results[i]!;
    assertEquals(code, command.code ?? 0, `${command.row}: ${stdout}${stderr}`);
    // A server asks for the free space only when a file arrives.
    const later = command.row.startsWith("serve ") ? [OPTIONAL] : [];
    assertRequested([...requestedPermissions[i]!, ...later], command.permissions, command.row);
  }
});

/** The rows whose printed line runs in a process: one of each kind of flags. */
const RUN_LINES = [
  "id, without --home",
  "receive LINE TARGET",
  "serve --listen ADDRESS --share SHARE --inbox INBOX",
  "get PEER:PATH... TARGET",
  "sync DIR PEER:DIR",
];

/** The commands that search for a peer, unless an option says otherwise. */
const SEARCHING = ["ping", "ls", "get", "put", "rm", "sync"];

Deno.test("degu permissions prints the flags of each row, with which the command works", async (t) => {
  await using homes = await AgentHomes.create();
  const HOME = homes.joinPath("person");
  using _name = patch(Deno, "hostname", () => () => "camera");
  using _env = patch(
    Deno.env,
    "get",
    (get) => (name) => name === "HOME" ? HOME : get.call(Deno.env, name),
  );
  const cases = await setUp(homes);
  const { denoDir: DENO_DIR } = JSON.parse(await runOrThrow([Deno.execPath(), "info", "--json"]));
  const temporary = await Deno.makeTempDir();
  await Deno.remove(temporary);
  const TMP = await Deno.realPath(dirname(temporary));
  /** Runs a printed line; stops the command after the output of its case. */
  const runLine = async (words: readonly string[], { until }: Partial<Case>) => {
    const [program = "", run = "", ...rest] = words;
    const line = [program, run, "--quiet", "--no-check", ...importMapFlags(), ...rest];
    const env = { NO_COLOR: "1", HOME, DENO_DIR };
    await using agent = watch(startCommand(line, { cwd: homes.path, env }), "", words.join(" "));
    if (until !== undefined) {
      await agent.waitForLine(until);
      agent.kill("SIGINT");
    }
    return await agent.waitForEnd();
  };
  for (const [row, testCase] of Object.entries(cases)) {
    if (row.startsWith("permissions")) continue;
    await t.step(row, async () => {
      const { args: [name = "", ...args], stdin = "", values = {}, code = 0 } = testCase;
      const home = testCase.home ?? "viewer";
      const typed = [
        name,
        ...SEARCHING.includes(name) ? ["--no-find"] : [],
        ...args.map((arg) => arg === "-" ? stdin : arg),
      ];
      const print = (...options: string[]) =>
        homes.runToSuccess(home, [...options, "permissions", ...typed]);
      const { command }: { command: string[] } = JSON.parse(await print("--json"));
      // The line for a shell has the same words.
      const shellLine = `printf '%s\\n' ${(await print()).trimEnd()}`;
      const withoutJson = command.filter((word) => word !== "--json");
      assertEquals((await runOrThrow(["bash", "-c", shellLine])).trimEnd(), withoutJson.join("\n"));
      const permissions = withoutJson.filter((word) => word.startsWith("--allow-"))
        .flatMap(parsePermissions);
      const valueOf = (word: string) =>
        word === "HOME" ? homes.joinPath(home) : { ...values, TMP }[word] ?? word;
      const expected = ROWS.get(row)!
        // The printed line has the option --home.
        .filter((each) => each !== "env=XDG_STATE_HOME")
        .map((each) => each.replace(/(?<==)(?<!^env=)[A-Z]+$/, valueOf));
      assertEquals(permissions.toSorted(), expected.toSorted());
      if (!RUN_LINES.includes(row)) return;
      if (row.startsWith("get")) {
        for (const missing of permissions.filter((each) => each !== OPTIONAL)) {
          const rest = formatFlags(permissions.filter((each) => each !== missing));
          const others = withoutJson.filter((word) => !word.startsWith("--allow-"));
          const { code, stderr } = await runLine(others.toSpliced(2, 0, ...rest), testCase);
          assert(code !== 0, `${row} works without ${missing}`);
          assertMatch(stderr, new RegExp(`--allow-${missing.split("=")[0]}`));
        }
      }
      const result = await runLine(withoutJson, testCase);
      assertEquals(result.code, code, `${withoutJson.join(" ")}: ${result.stdout}${result.stderr}`);
    });
  }
});

Deno.test(
  "degu service installs serve and sync, which work, lists and removes them, with the flags of its rows",
  ignoreIf(await findSystemdObstacle()),
  async () => {
    await using dir = await createTempDir();
    const { denoDir: DENO_DIR } = JSON.parse(await runOrThrow([Deno.execPath(), "info", "--json"]));
    const rows = Object.fromEntries([...ROWS].filter(([row]) => isOfService(row)));
    const printed = await runProgram("agent_service.ts", {
      flags: ["--allow-all", ...importMapFlags()],
      args: [dir.path, JSON.stringify(rows)],
      through: THROUGH_SYSTEMD,
      env: { HOME: dir.path, DENO_DIR },
    });
    const { ends, own: said, ...seen } = JSON.parse(printed);
    const exists = /degu\.service" exists, but was not written by degu service install/;
    assertMatch(said, exists);
    for (const [row, { code, stdout, stderr }] of Object.entries<AgentResult>(ends)) {
      assertEquals(code, 0, `${row}: ${stdout}${stderr}`);
    }
    const sync = ["service", "timer"].map((kind) => `degu-sync-to-desk-copy.${kind}`);
    const customUnit = "degu-sync-own.service"; // the unit of the user who wrote it
    const targets = ["default.target.wants", "timers.target.wants"];
    const installed = [...targets, customUnit, ...sync, "degu.service"];
    assertEquals(seen, { installed: installed.toSorted(), left: [customUnit], serves: false });
  },
);
