/** degu serve, its messages about peers, and degu ping. */
import { formatAddress, parseAddress } from "@degu/degu/base";
import type { Connection } from "@degu/degu/client";
import { Device } from "@degu/degu/device";
import { downloadTree, type FileEvent, uploadTree } from "@degu/degu/files";
import { listUsableAddresses } from "@degu/internal/agent/machine/addresses.ts";
import { makeServeApp } from "@degu/internal/agent/serve/serve_app.ts";
import { Failure } from "@degu/internal/agent/failure.ts";
import { formatId, type Output, OutputClosedError } from "@degu/internal/agent/terminal/output.ts";
import { ServeEvents } from "@degu/internal/agent/serve/serve_events.ts";
import { checkInbox, checkServedDirectory } from "@degu/internal/agent/serve/served_directories.ts";
import { createTempDir, fill, listNames } from "@degu/testing/directories.ts";
import { AgentFiles } from "./agent_files.ts";
import { AgentHomes, spawnAgent } from "@degu/testing/agents.ts";
import { LOOPBACK, setUp } from "../../device/tests/device_serving.ts";
import { findNetworkObstacle, THROUGH_NAMESPACE } from "@degu/testing/namespaces.ts";
import { importMapFlags, runProgram } from "@degu/testing/processes.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { patch } from "@degu/testing/patching.ts";
import { HAS_LINKS, makeLinks } from "@degu/testing/special_files.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { join, realPath } from "@degu/internal/internal/paths.ts";
import { FakeTime } from "@std/testing/time";

// degu serve: the served files, the refused directories, and the shutdown.

Deno.test("serve prints its addresses and directories, and that no device is paired yet; a second server can't use the address, and at another one names it", async () => {
  await using homes = await AgentHomes.create("camera");
  const { agent, address } = await homes.serve("camera");
  await agent.waitForMessage("there are no peers: run ");
  const inbox = homes.joinPath("camera-inbox");
  const serveArgs = ["serve", "--inbox", inbox, "--listen", address];
  const other =
    `another server of this device is running on ${address}: one can serve everything\n`;
  const advice = "end its program, or choose another with --listen";
  const inUse = `degu: error: ${address} is in use: ${advice}\n`;
  await homes.runToFailure("camera", 1, `${other}${inUse}`, serveArgs);
  const second = (await homes.serve("camera")).agent;
  await second.waitForMessage(other);
  second.kill("SIGTERM");
  await second.waitForEnd();
  agent.kill("SIGTERM");
  const { code, stdout } = await agent.waitForEnd();
  assertEquals(code, 0);
  const { addresses, ...served } = JSON.parse(stdout);
  assertMatch(addresses[0], /^127\.0\.0\.1:[1-9]\d*$/);
  assertEquals(served, { name: "camera", share: null, inbox: await realPath(inbox) });
  for (const option of ["--share", "--inbox"]) {
    const expectedMessage =
      `degu: error: ${option}: it can be given only once, and "a" is given already\n`;
    await homes.runToFailure("camera", 2, expectedMessage, ["serve", option, "a", option, "b"]);
    const keys = /^degu: error: --(share|inbox): .* its keys must not leave it/;
    await homes.runToFailure("camera", 2, keys, ["serve", option, homes.path]);
  }
});

Deno.test("serve ends properly at SIGHUP, also under nohup, which ignores this signal", async () => {
  await using homes = await AgentHomes.create("camera");
  const through = ["bash", "-c", 'exec nohup "$0" "$@"'];
  const serving = ["serve", "--inbox", homes.joinPath("inbox"), "--listen", "127.0.0.1:0"];
  const args = ["--home", homes.joinPath("camera"), ...serving];
  await using agent = spawnAgent(args, { flags: ["--allow-all"], through });
  await agent.waitForMessage("there are no peers");
  agent.kill("SIGHUP");
  assertEquals((await agent.waitForEnd()).code, 0);
});

Deno.test("serve --no-create, as in a service, creates neither an inbox nor a device", async () => {
  await using homes = await AgentHomes.create("camera");
  const inbox = homes.joinPath("disk/inbox");
  await fill(homes.path, { "disk": null });
  for (const option of ["--inbox", "--inbox-for-all"]) {
    const args = ["serve", option, inbox, "--no-create", "--listen", "127.0.0.1:0"];
    const missing = /: there is no directory ".*inbox" on this device: is its disk mounted\?\n/;
    await homes.runToFailure("camera", 1, missing, args);
    await homes.runToFailure("other", 3, "there is no device", args);
  }
  const names = await listNames(homes.path);
  assertEquals([names.includes("other"), await listNames(`${homes.path}/disk`)], [false, []]);
});

/** More than the buffers of a connection, which grow up to 36 MiB. */
const SIZE = 64 * 1024 * 1024;
/** The name of a file, and the component of its URI. */
const [NAME, COMPONENT] = ["a\u202eb c", "a%E2%80%AEb%20c"];

Deno.test("after a signal running transfers finish, and are reported with escaped names", async () => {
  await using homes = await AgentHomes.create("camera", "viewer");
  const share = homes.joinPath("share");
  await Deno.mkdir(share);
  await Deno.writeFile(`${share}/${NAME}`, new Uint8Array(0));
  await Deno.truncate(`${share}/${NAME}`, SIZE);
  await homes.pair("camera", "viewer");
  const { agent } = await homes.serve("camera", ["--share", share], "viewer");
  await using viewer = await Device.open(homes.joinPath("viewer"));
  using connection = await (await viewer.client("camera")).connect();
  const { body } = await connection.get(`/share/${COMPONENT}`);
  let received = 0;
  for await (const piece of body!) {
    if (received === 0) agent.kill("SIGINT");
    if (received === 0) await agent.waitForMessage("stopping after the running transfers");
    received += piece.length;
  }
  assertEquals(received, SIZE);
  connection.close();
  const { code, stdout } = await agent.waitForEnd();
  assertEquals(code, 0);
  const [, event = ""] = stdout.split("\n");
  assertStringIncludes(event, "\\u202e");
  assertEquals(JSON.parse(event), {
    ...{ event: "get", peer: "viewer", id: viewer.id },
    ...{ path: `share/${NAME}`, status: 200, bytes: SIZE, complete: true },
  });
});

Deno.test("the share is read-only, the inbox accepts files, the root reports both, and other paths don't exist", async () => {
  await using files = await AgentFiles.start();
  await fill(files.share, { "a b": "hello" });
  await using viewer = await Device.open(files.homes.joinPath("viewer"));
  const client = await viewer.client("camera");
  const JSON_ACCEPTED = { accept: "application/json" };
  const ask = async (method: "GET" | "PUT" | "DELETE", uri: string) => {
    const content = method === "PUT" ? new TextEncoder().encode("x") : null;
    const { status, body } = await client.request(method, uri, JSON_ACCEPTED, content);
    return { status, text: await body?.text() };
  };
  const rows = [
    ["GET", "/share/a%20b", 200],
    ["PUT", "/share/new", 405],
    ["DELETE", "/share/a%20b", 405],
    ["PUT", "/inbox/new", 201],
    ["GET", "/inbox/new", 200],
    ["DELETE", "/inbox/new", 204],
    ["GET", "/other", 404],
    ["GET", "/share/../inbox/", null],
    ["PUT", "/", 405],
  ] as const;
  for (const [method, uri, expected] of rows) {
    const status = await ask(method, uri).then(({ status }) => status, () => null);
    assertEquals(status, expected, `${method} ${uri}`);
  }
  assertEquals(JSON.parse((await ask("GET", "/share/")).text!)[0].name, "a b");
  for (const area of ["share", "inbox"] as const) {
    await files.serve(`--${area}`, area === "share" ? files.share : files.inboxes);
    const isServed = { share: area === "share", inbox: area === "inbox" };
    assertEquals(JSON.parse((await ask("GET", "/")).text!), { name: "camera", ...isServed });
    const statuses = [(await ask("GET", "/share/")).status, (await ask("GET", "/inbox/")).status];
    assertEquals(statuses, [isServed.share ? 200 : 404, isServed.inbox ? 200 : 404]);
  }
});

/** Returns the output during a check. */
async function notesOf(check: (output: Output) => Promise<unknown>): Promise<string[]> {
  const notes: string[] = [];
  const note = (text: string) => notes.push(text);
  await check({ note, warn: note } as unknown as Output);
  return notes;
}

Deno.test("a directory is served unless it contains a device's keys, under any name", async () => {
  await using dir = await createTempDir();
  const joinPath = (...names: string[]) => join(dir.path, ...names);
  for (const path of ["state/home/inside", "state/home-2", "share"]) {
    await Deno.mkdir(joinPath(path), { recursive: true });
  }
  const targets = { [joinPath("link")]: joinPath("state"), [joinPath("other")]: joinPath("share") };
  if (HAS_LINKS) await makeLinks(targets);
  const home = joinPath("state", "home");
  const share = await realPath(joinPath("share"));
  for (const path of HAS_LINKS ? ["share", "other"] : ["share"]) {
    assertEquals(await checkServedDirectory(joinPath(path), home), share);
  }
  await checkServedDirectory(joinPath("state", "home-2"), home);
  const links = HAS_LINKS ? ["link", "link/home"] : [];
  for (const path of ["state", "state/home", "state/home/inside", ".", ...links]) {
    const check = () => checkServedDirectory(joinPath(path), home);
    const error = await assertRejects(check, Failure, "keys", path);
    assertEquals(error.code, "USAGE");
  }
});

Deno.test("an inbox on a full disk is served, with a warning; an inbox that can't be written is refused", async () => {
  await using dir = await createTempDir();
  const inbox = await realPath(dir.path);
  const home = join(inbox, "home");
  await Deno.mkdir(home);
  await Deno.mkdir(join(inbox, "inbox"));
  for (const [code, isServed] of [["ENOSPC", true], ["EDQUOT", true], ["EACCES", false]] as const) {
    using _ = patch(Deno, "open", () => (path) => {
      return Promise.reject(Object.assign(new Error(`${code}: refused, open '${path}'`), { code }));
    });
    const check = (output: Output) => checkInbox(join(inbox, "inbox"), home, output);
    if (isServed) {
      assertMatch((await notesOf(check)).join(), /^--inbox: ".*\/inbox": refused/);
    } else await assertRejects(() => notesOf(check), Failure, 'inbox": refused');
  }
});

Deno.test("a path that is not a directory is refused with advice; an inbox is created for its owner only", async () => {
  await using dir = await createTempDir();
  const joinPath = (...names: string[]) => join(dir.path, ...names);
  const home = joinPath("home");
  await Deno.mkdir(home);
  await Deno.writeTextFile(joinPath("file"), "");
  await makeLinks({ [joinPath("dangling")]: joinPath("absent") });
  const absent = joinPath("absent");
  const missing = `--share: there is no directory "${absent}" on this device: is its disk mounted?`;
  await assertRejects(() => checkServedDirectory(absent, home), Failure, missing);
  const rows: [path: string, problem: string][] = [
    [
      "absent/inbox",
      `--inbox: there is no directory "${absent}" on this device: is its disk mounted?`,
    ],
    ["home/inbox", "keys"],
    ["file/inbox", `--inbox: "${joinPath("file")}" is not a directory`],
    [
      "dangling",
      `"${joinPath("dangling")}" is a symbolic link to "${absent}", which does not exist`,
    ],
    ["dangling/a/b", `"${joinPath("dangling")}" is a symbolic link to "${absent}", which`],
    ["file", `--inbox: "${joinPath("file")}" is not a directory`],
  ];
  for (const [path, problem] of rows) {
    const check = (output: Output) =>
      assertRejects(() => checkInbox(joinPath(path), home, output), Failure, problem);
    assertEquals(await notesOf(check), [], path);
  }
  assertEquals(await listNames(dir.path), ["dangling", "file", "home"]);
  assertEquals(await listNames(home), []);
  const path = join(await realPath(dir.path), "inbox");
  for (const notes of [[`created ${path}`], []]) {
    const check = async (output: Output) =>
      assertEquals(await checkInbox(joinPath("inbox"), home, output), path);
    assertEquals(await notesOf(check), notes);
  }
  assertEquals((await Deno.stat(path)).mode! & 0o777, 0o700);
});

Deno.test("refused clients are reported, in words for users", async () => {
  await using homes = await AgentHomes.create("camera", "stranger");
  const { agent, address } = await homes.serve("camera");
  await homes.pair("stranger", "camera", undefined, address);
  await homes.runToSuccess("camera", ["forget", "stranger"]);
  const [hostname = "", port] = address.split(":");
  using browser = await Deno.connect({ hostname, port: Number(port) });
  await browser.write(new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"));
  const first = await agent.waitForMessage("refused: it does not use TLS");
  assertMatch(first, /^127\.0\.0\.1:\d+: refused/);
  assertEquals((await homes.run("stranger", ["ping", "camera"])).code, 3);
  // The device may be a forgotten one, so there is no advice to pair.
  await agent.waitForMessage("refused: it is a device that is not paired with this one\n");
});

Deno.test("a peer that disconnects in the middle of a file is reported with its name and the file; an earlier disconnection is not", async () => {
  await using homes = await AgentHomes.create("camera", "viewer");
  await homes.pair("viewer", "camera");
  await Deno.mkdir(homes.joinPath("inbox"));
  const { agent, address } = await homes.serve("camera", ["--inbox", homes.joinPath("inbox")]);
  await using device = await Device.open(homes.joinPath("viewer"));
  const client = await device.client("camera", { addresses: [parseAddress(address)] });
  const chunked = "transfer-encoding: chunked\r\n\r\n3\r\n";
  for (const framing of ["content-length: 10\r\n\r\nabc", chunked]) {
    using connection = await client.connect();
    const request = `PUT /inbox/a%20b HTTP/1.1\r\n${framing}`;
    await connection.sock.write(new TextEncoder().encode(request));
    connection.close();
    await agent.waitForMessage("viewer disconnected in the middle of inbox/viewer/a b\n");
  }
  // A connection that closes before authentication, for example because another address was faster.
  const [hostname = "", port] = address.split(":");
  const early = await Deno.connect({ hostname, port: Number(port) });
  early.close();
  agent.kill("SIGTERM");
  const { stderr } = await agent.waitForEnd();
  assert(!stderr.includes("127.0.0.1:"), stderr);
});

Deno.test("refused actions of peers are reported in words for users, with the path on this device", async (t) => {
  await using files = await AgentFiles.start();
  const { inbox, share } = files;
  await files.serve("--inbox", files.inboxes, "--share", share);
  await fill(share, { "s": "1" });
  await fill(inbox, { "a b": "2" });
  await using viewer = await Device.open(files.homes.joinPath("viewer"));
  const client = await viewer.client("camera");
  const bytes = new TextEncoder().encode("hello");
  const rows: [rule: string, expectedMessage: string, act: () => Promise<unknown>][] = [
    [
      "another file",
      "viewer wanted to put inbox/viewer/a b: a file of this name exists",
      () => client.request("PUT", "/inbox/a%20b", { "if-none-match": "*" }, bytes),
    ],
    [
      "a changed file",
      "viewer wanted to delete inbox/viewer/a b: the file has changed",
      () => client.request("DELETE", "/inbox/a%20b", { "if-match": '"x"' }, null),
    ],
    [
      "a share",
      "viewer wanted to put share/s: peers can only read the share",
      () => client.request("PUT", "/share/s", {}, bytes),
    ],
    [
      "a reserved name",
      "viewer wanted to put inbox/viewer/.a.degu-part: the name is reserved",
      () => client.request("PUT", "/inbox/.a.degu-part", {}, bytes),
    ],
  ];
  await testEachRow(t, rows, async (_rule, expectedMessage, act) => {
    // Of each kind, a line a second is printed at once.
    const [, line] = await Promise.all([act(), files.waitForMessage(expectedMessage)]);
    assertMatch(line, /^degu: warning: viewer wanted to /);
    const warning = line.replace(/ \(and \d+ more of this kind\)$/, "");
    assertEquals(warning, `degu: warning: ${expectedMessage}`);
  });
  const { stderr } = await files.stop();
  assert(!/precondition|left unread|HTTP|PUT|DELETE/.test(stderr), stderr);
});

Deno.test("a file that can't be moved to its version is what the log names, and not the inbox", async () => {
  await using files = await AgentFiles.start();
  const { inbox } = files;
  await files.serve("--inbox", files.inboxes, "--keep", "1");
  await fill(inbox, { "dir/a": "1" });
  using _locked = patch(Deno, "renameSync", (rename) => (from, to) => {
    if (!`${from}`.endsWith("/dir/a")) return rename(from, to);
    const problem = `Permission denied (os error 13): rename '${from}' -> '${to}'`;
    throw Object.assign(new Deno.errors.PermissionDenied(problem), { code: "EACCES" });
  });
  await files.runToFailure(1, "", "rm", "-r", "camera:dir");
  const line = await files.waitForMessage("wanted to delete");
  const reason = `"${inbox}/dir/a": permission denied`;
  assertEquals(line, `degu: warning: viewer wanted to delete inbox/viewer/dir/a: ${reason}`);
});

Deno.test("refused writes of peers are at most 32 lines a second, with the number of omitted lines", async () => {
  await using homes = await AgentHomes.create("camera", "viewer");
  await homes.pair("viewer", "camera");
  await Deno.mkdir(homes.joinPath("inbox"));
  const serveOptions = ["--inbox", homes.joinPath("inbox"), "--new-only"];
  const { agent, address } = await homes.serve("camera", serveOptions);
  const begin = performance.now();
  {
    await using device = await Device.open(homes.joinPath("viewer"));
    const client = await device.client("camera", { addresses: [parseAddress(address)] });
    using connection = await client.connect();
    for (let n = 0; n < 200; n++) {
      assertEquals((await connection.delete(`/inbox/${n}`)).status, 405);
    }
  }
  agent.kill("SIGTERM");
  const { stderr } = await agent.waitForEnd();
  const seconds = (performance.now() - begin) / 1000;
  const lines = stderr.split("\n").filter((line) => line.includes("wanted to delete"));
  assertMatch(
    lines[0]!,
    /^degu: warning: viewer wanted to delete inbox\/viewer\/0: peers can only add files to the inbox /,
  );
  assert(lines.length <= 32 * (2 + seconds), stderr);
  const more = lines.map((line) =>
    Number(/ \(and (\d+) more of this kind\)$/.exec(line)?.[1] ?? 0)
  );
  assertEquals(lines.length + more.reduce((sum, each) => sum + each, 0), 200);
});

// The reports of `degu serve` on the files of its peers.

/** Returns the events of an app for the actions of a peer, over mutual TLS. */
async function eventsOf(act: (connection: Connection, dir: string) => Promise<void>) {
  await using files = await createTempDir();
  const dir = files.path;
  const inbox = join(dir, "inbox");
  await fill(dir, { "inbox": null, "here/a": "1", "here/sub/b": "22", "here/sub/c": "333" });
  const events: [area: string, event: FileEvent][] = [];
  const served = { name: "camera", share: null, inbox };
  const logger = { warn: () => {}, record: () => {} };
  const app = makeServeApp(served, logger, (...args) => void events.push(args));
  await using setup = await setUp(app);
  const { viewer, server } = setup;
  {
    using connection = await (await viewer.client("camera")).connect();
    await act(connection, dir);
  }
  await server.shutdown();
  return { events, id: viewer.id, session: events[0]![1].session! };
}

/** Returns the output for events: notes, results, or warnings if results fail. */
function printed(
  how: "brief" | "json" | "closed",
  report: (events: ServeEvents, texts: unknown[]) => void,
): unknown[] {
  const texts: unknown[] = [];
  const add = (text: unknown) => void texts.push(text);
  const output = {
    json: how === "json" || how === "closed",
    note: add,
    warn: add,
    printResult: (_text: string, object: unknown) => {
      if (how === "closed") throw new OutputClosedError("the output was closed");
      add(object);
    },
  } as unknown as Output;
  const events = new ServeEvents(output);
  report(events, texts);
  events[Symbol.dispose]();
  return texts;
}

Deno.test("downloads, uploads and deletions by peers are reported; listings, probes and refusals are not", async () => {
  const { events, id, session } = await eventsOf(async (connection, dir) => {
    const requests = [
      () => connection.put("/inbox/a%20b/c", {}, new TextEncoder().encode("hello")),
      () => connection.get("/"),
      () => connection.get("/inbox/"),
      () => connection.get("/inbox/absent"),
      () => connection.head("/inbox/a%20b/c"),
      () => connection.get("/inbox/a%20b/c"),
      () => connection.delete("/inbox/a%20b/c"),
    ];
    for (const request of requests) await (await request()).body?.bytes();
    // Each file of a bundle is counted.
    await uploadTree(connection, join(dir, "here"), "/inbox/top/");
    await downloadTree(connection, "/inbox/top/", join(dir, "back"));
  });
  const all = (to: ServeEvents) => events.forEach((event) => to.add(...event));
  assertEquals(printed("brief", all), [
    "viewer uploaded 4 files (11 B), downloaded 4 files (11 B), deleted 1 file",
  ]);
  const warning = "the actions of peers can't be reported: the output was closed";
  assertEquals(printed("closed", all), [warning]);
  const common = { peer: "viewer", id, path: "inbox/viewer/a b/c", complete: true };
  assertEquals(printed("json", all).slice(0, 3), [
    { event: "put", ...common, status: 201, bytes: 5 },
    { event: "get", ...common, status: 200, bytes: 5 },
    { event: "delete", ...common, status: 204, bytes: 0 },
  ]);

  // After the disposal, an event is reported at once, without a timer.
  const linesAfterDisposal = printed("brief", (to) => {
    to[Symbol.dispose]();
    to.add(...events[0]!);
    to.add(...events[1]!);
  });
  assertEquals(linesAfterDisposal, [
    "viewer uploaded inbox/viewer/a b/c (5 B)",
    "viewer downloaded inbox/viewer/a b/c (5 B)",
  ]);

  using time = new FakeTime();
  const rest = printed("brief", (to, lines) => {
    const add = (action: FileEvent["action"], name: string, bytes: number, complete = true) =>
      to.add("inbox", { session, action, path: ["dir", name], bytes, complete, status: 200 });
    for (let i = 0; i < 10_000; i++) {
      add("put", `${i}`, 1000);
      time.tick(1); // so it is never silent for a second
    }
    assertEquals(lines, []);
    time.tick(1000);
    assertEquals(lines.splice(0), ["viewer uploaded 10000 files (10.0 MB)"]);
    add("get", "film", 700, false);
    time.tick(999);
    assertEquals(lines, []);
    time.tick(1);
    assertEquals(lines.splice(0), ["viewer downloaded inbox/dir/film (700 B or more, cut off)"]);
    add("get", "film", 700, false);
    add("get", "film", 0, false);
    time.tick(1000);
    assertEquals(lines.splice(0), ["viewer downloaded parts of 1 file (700 B); 2 cut off"]);
    // A continued download is still one file. An action without a session is not reported.
    add("get", "film", 700, false);
    add("get", "film", 300);
    to.add("inbox", { ...events[0]![1], session: undefined });
    time.tick(1000);
    assertEquals(lines.splice(0), ["viewer downloaded 1 file (1.00 kB); 1 cut off"]);
    // The log grows by 2 bytes.
    add("put", "log", 10_000_000);
    add("put", "log", 10_000_002);
    time.tick(1000);
    assertEquals(lines.splice(0), ["viewer uploaded 1 file (10.0 MB)"]);
    add("get", "film", 500);
    add("get", "film", 500);
    time.tick(1000);
    assertEquals(lines.splice(0), ["viewer downloaded 2 files (1.00 kB)"]);
    add("get", "film", 0, false);
    time.tick(1000);
    assertEquals(lines.splice(0), ["viewer downloaded inbox/dir/film (0 B or more, cut off)"]);
    add("delete", "film", 0);
  });
  // Pending reports are printed at the end.
  assertEquals(rest, ["viewer deleted inbox/dir/film"]);
});

Deno.test("ping reports the device, its address, its response time, and its directories", async () => {
  await using homes = await AgentHomes.create();
  const [camera] = await homes.init("camera", "viewer");
  await Deno.mkdir(homes.joinPath("share"));
  const share = ["--share", homes.joinPath("share")];
  await homes.pair("camera", "viewer");
  const { address } = await homes.serve("camera", share, "viewer");
  const times = "connected in [0-9.]+ ms, answered in [0-9.]+ ms";
  const expected = new RegExp(
    `^camera ${formatId(camera!)} at ${address}: ${times}, has a share\n$`,
  );
  assertMatch(await homes.runToSuccess("viewer", ["ping", "camera:"]), expected);
  const printed = await homes.runToSuccess("viewer", ["ping", camera!, "--json"]);
  const { connectMs, answerMs, ...others } = JSON.parse(printed);
  assertEquals(others, { name: "camera", id: camera, address, share: true, inbox: false });
  assertEquals([typeof connectMs, typeof answerMs], ["number", "number"]);
});

Deno.test("ping reports that another program answers", async () => {
  await using homes = await AgentHomes.create("camera", "viewer");
  await homes.pair("camera", "viewer", "127.0.0.1:1");
  // The camera itself serves another app.
  await using camera = await Device.open(homes.joinPath("camera"));
  for (const text of ["hello", "{}"]) {
    const server = await camera.serve(
      LOOPBACK,
      () => [200, "OK", {}, new TextEncoder().encode(text)],
    );
    const remote = ["ping", "camera", "--address", formatAddress(server.address)];
    const expectedMessage =
      "the pairing with camera works, but another program than degu serve answers";
    await homes.runToFailure("viewer", 1, expectedMessage, remote);
    await server.shutdown();
  }
});

const networkObstacle = await findNetworkObstacle();

Deno.test("serve prints the directories, and for a wildcard the addresses that other machines can use", async (t) => {
  await using homes = await AgentHomes.create("camera");
  const [share, inbox] = [homes.joinPath("share"), homes.joinPath("inbox")];
  await Deno.mkdir(share);
  const args = ["serve", "--share", share, "--inbox", inbox, "--listen", "127.0.0.1:0"];
  await using agent = homes.start("camera", [...args, "--no-announce"]);
  await agent.waitForLine("inbox");
  agent.kill("SIGTERM");
  const { stdout } = await agent.waitForEnd();
  assertMatch(stdout, /^serving on 127\.0\.0\.1:\d+\n/);
  assertStringIncludes(stdout, `\nshare, which peers can read: ${share}\n`);
  assertStringIncludes(stdout, `\ninbox, with a directory for each peer: ${inbox}\n`);
  const [loopback, IPv4, IPv6, linkLocal] = ["127.0.0.1", "192.0.2.7", "2001:db8::7", "fe80::7"];
  const rows: [rule: string, host: string, hosts: string[], expectedHosts: string[]][] = [
    ["IPv4 and IPv6", "::", [loopback, linkLocal, IPv6, IPv4], [IPv4]],
    ["IPv6 only", "::", [loopback, linkLocal, IPv6], [IPv6]],
    ["a wildcard of IPv4", "0.0.0.0", [loopback, IPv6, IPv4], [IPv4]],
    ["no network", "::", [loopback], ["::"]],
    ["an address", "192.0.2.9", [loopback, IPv4], ["192.0.2.9"]],
  ];
  await testEachRow(t, rows, (_rule, host, hosts, expectedHosts) => {
    const interfaces = hosts.map((address) => ({ address }));
    using _query = patch(
      Deno.permissions,
      "querySync",
      () => () => ({ state: "granted" }) as never,
    );
    using _patch = patch(Deno, "networkInterfaces", () => () => interfaces as never);
    const expected = expectedHosts.map((each) => [each, 7443]);
    assertEquals<unknown>(listUsableAddresses([host, 7443]), expected);
  });
});

Deno.test(
  "without a network, commands report that; with IPv6 only, that they neither announce nor search",
  ignoreIf(networkObstacle && `no network namespace can be made here (${networkObstacle})`),
  async () => {
    await using homes = await AgentHomes.create("camera", "viewer");
    const flags = ["--allow-all", ...importMapFlags()];
    const options = { flags, args: [homes.path], through: THROUGH_NAMESPACE };
    await homes.pair("viewer", "camera", undefined, "192.0.2.8:7443");
    const said = JSON.parse(await runProgram("agent_ipv6_only.ts", options));
    for (const stderr of said.alone) {
      assertEquals(stderr, "degu: error: this machine has no network\n");
    }
    const reason =
      "the networks of this machine have only IPv6, and announcements and searches need IPv4";
    assertStringIncludes(
      said.serve,
      `not announced, because ${reason}: on other devices, give an address of this device with --address`,
    );
    assertStringIncludes(said.receive, `${reason}: run the command with --address`);
  },
);
