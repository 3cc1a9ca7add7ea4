/** Unfinished files at a server: which client may resume them, their number and lifetime. */
import { Body, BodyIter, type HeadersToSend } from "@degu/degu/base";
import { FilesApp, type FilesOptions } from "@degu/degu/files";
import { mkreq } from "@degu/degu/misc";
import type { Session } from "@degu/degu/server";
import { removeIfUnused } from "@degu/internal/files/leftovers.ts";
import { RESERVED_DIRECTORY_NAME } from "@degu/internal/files/reserved.ts";
import { UnfinishedUploads } from "@degu/internal/files/serve/unfinished_uploads.ts";
import { makeKeySession, makeSession } from "@degu/testing/sessions.ts";
import { speedUpTimeouts, stopAllClocks } from "@degu/testing/clock.ts";
import { createTempDir, listNames } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { makeProgramCommand, RunningProcess } from "@degu/testing/processes.ts";
import { waitForTick } from "@degu/testing/raw_peer.ts";
import { makePattern, makeTree } from "./served_directory.ts";
import { listOpenFiles, makeFifo } from "@degu/testing/special_files.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { listParts, listVisible } from "@degu/testing/transferring.ts";
import { digestOf, makeUploadHeaders } from "./written_directory.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";

const CONTENT = makePattern(300_000);

// ───────────────────────── the client of a part

/** The code is not one of the system: the disk has not failed. */
const CUT_ERROR = Object.assign(new Error("cut"), { code: "CUT" });

/** Makes a body that fails after its first bytes. */
function makeCutBody(bytes: Uint8Array, length: number, beforeCut?: () => Promise<void>): Body {
  const stream = ReadableStream.from((async function* () {
    if (bytes.length > 0) yield bytes;
    await beforeCut?.();
    throw CUT_ERROR;
  })());
  return new Body(stream, length);
}

/** Makes an app that the test calls directly, with any session. */
async function makeApp(options: FilesOptions = {}) {
  const tree = await makeTree();
  const app = new FilesApp(tree.root, { write: true, ...options });
  return {
    ...tree,
    app,
    /** Sends only the first bytes of the file `/a`. */
    async sendStart(session: Session | undefined, bytes: number) {
      const body = makeCutBody(CONTENT.slice(0, bytes), CONTENT.length);
      const request = mkreq("PUT", "/a", makeUploadHeaders(CONTENT, 0), body);
      assertEquals(await app.handle(request, session).catch((error) => error), CUT_ERROR);
    },
    /** Requests the upload offset of a file. */
    async requestOffset(session: Session | undefined, uri: string, content: Uint8Array) {
      const request = mkreq("HEAD", uri, makeUploadHeaders(content));
      const [, , headers] = await app.handle(request, session);
      return Number(headers["upload-offset"]);
    },
  };
}

Deno.test("only the client that sent a part can resume it", async () => {
  await using files = await makeApp();
  const ownSession = makeKeySession("a key", "an authority");
  await files.sendStart(ownSession, 1000);
  assertEquals(await files.requestOffset(ownSession, "/a", CONTENT), 1000);
  const sameSession = makeKeySession("a key", "an authority");
  assertEquals(await files.requestOffset(sameSession, "/a", CONTENT), 1000);
  const otherSessions = [
    makeKeySession("another key", "an authority"),
    makeKeySession("a key", "another authority"),
    makeKeySession("a key", null),
    makeKeySession("an authority", "a key"),
    makeSession({ name: "peer", address: null }),
    undefined,
  ];
  for (const [i, session] of otherSessions.entries()) {
    assertEquals(await files.requestOffset(session, "/a", CONTENT), 0, `${i}`);
  }
  assertEquals(await files.requestOffset(ownSession, "/b", CONTENT), 0, "another name");
  // Another digest, and another length.
  for (const content of [CONTENT.toReversed(), CONTENT.subarray(1)]) {
    assertEquals(await files.requestOffset(ownSession, "/a", content), 0);
  }
  // Clients without certificates share their parts.
  await files.sendStart(undefined, 2000);
  const unknownSession = makeSession({ name: "other", address: null });
  assertEquals(await files.requestOffset(unknownSession, "/a", CONTENT), 2000);
});

Deno.test("parts of several GiB work like small parts", async () => {
  await using files = await makeApp();
  const length = 5 * 1024 ** 3;
  const headers = { "repr-digest": digestOf(CONTENT), "upload-length": `${length}` };
  const body = makeCutBody(new Uint8Array(1), length);
  const putRequest = mkreq("PUT", "/large", { ...headers, "upload-offset": "0" }, body);
  assertEquals(await files.app.handle(putRequest).catch((error) => error), CUT_ERROR);
  const [part = ""] = await listNames(`${files.root}/${RESERVED_DIRECTORY_NAME}`);
  await Deno.truncate(`${files.root}/${RESERVED_DIRECTORY_NAME}/${part}`, length - 3);
  const [status, , headHeaders] = await files.app.handle(mkreq("HEAD", "/large", headers));
  assertEquals([status, headHeaders["upload-offset"]], [200, `${length - 3}`]);
  const wrongRequest = mkreq("PUT", "/large", { ...headers, "upload-offset": `${length}` }, null);
  const [conflictStatus, , conflictHeaders] = await files.app.handle(wrongRequest);
  assertEquals([conflictStatus, conflictHeaders["upload-offset"]], [409, `${length - 3}`]);
  // The server ignores a part that is longer than the file.
  await Deno.truncate(`${files.root}/${RESERVED_DIRECTORY_NAME}/${part}`, length + 1);
  const [, , newHeaders] = await files.app.handle(mkreq("HEAD", "/large", headers));
  assertEquals(newHeaders["upload-offset"], "0");
});

// ───────────────────────── a client that loses its access

Deno.test("a peer that loses access during a request can't complete an upload or delete", async () => {
  await using files = await makeApp();
  let isTrusted = true;
  const session = makeKeySession("1", "A", () => Promise.resolve(isTrusted));
  const send = async (headers: HeadersToSend) => {
    const stream = ReadableStream.from((function* () {
      yield CONTENT.slice(0, 1000);
      isTrusted = false;
      yield CONTENT.slice(1000);
    })());
    isTrusted = true;
    const request = mkreq("PUT", "/a", headers, new Body(stream, CONTENT.length));
    const [status] = await files.app.handle(request, session);
    return status;
  };
  assertEquals(await send({}), 403);
  assertEquals(await send(makeUploadHeaders(CONTENT, 0)), 403);
  const [status] = await files.app.handle(mkreq("DELETE", "/file"), session);
  assertEquals(status, 403);
  assertEquals((await files.app.handle(mkreq("PUT", "/new/"), session))[0], 403);
  // The time of an existing file also stays.
  const content = await Deno.readFile(`${files.root}/file`);
  const timeHeaders = {
    ...makeUploadHeaders(content, content.length),
    "upload-modified": "2020-01-02T03:04:05Z",
  };
  const oldTime = (await Deno.stat(`${files.root}/file`)).mtime;
  isTrusted = false;
  assertEquals((await files.app.handle(mkreq("PUT", "/file", timeHeaders, null), session))[0], 403);
  assertEquals((await Deno.stat(`${files.root}/file`)).mtime, oldTime);
  assertEquals(await listVisible(files.root), ["file", "sub"]);
  if (Deno.build.os === "linux") assertEquals(await listOpenFiles(files.root), []);
  isTrusted = true;
  const [deleteStatus] = await files.app.handle(mkreq("DELETE", "/file"), session);
  assertEquals(deleteStatus, 204);
});

// Unfinished files of several processes.

const PART = `part-${"0".repeat(32)}-${"1".repeat(64)}`;

Deno.test("PUT doesn't set the time of an existing file that changes or vanishes just before", async () => {
  for (const change of [(path: string) => Deno.utimeSync(path, 5, 5), Deno.removeSync]) {
    await using files = await makeApp();
    const path = `${files.root}/file`;
    const confirm = () => Promise.resolve(change(path)).then(() => true);
    const session = makeKeySession("1", "A", confirm);
    const content = await Deno.readFile(path);
    const timeHeaders = {
      ...makeUploadHeaders(content, content.length),
      "upload-modified": "2020-01-02T03:04:05Z",
    };
    const [status, , headers] = await files.app.handle(
      mkreq("PUT", "/file", timeHeaders, null),
      session,
    );
    assertEquals([status, headers["upload-offset"]], [409, "0"]);
    const info = await Deno.stat(path).catch(() => null);
    assertEquals(info?.mtime?.getTime() ?? 5000, 5000);
  }
});

Deno.test("the server doesn't remove a part that another process is writing", async () => {
  await using dir = await createTempDir();
  const files = new UnfinishedUploads(dir.path, (message) => assert(false, message));
  const path = `${files.path}/${PART}`;
  const flags = [`--allow-read=${dir.path}`, `--allow-write=${dir.path}`];
  const options = { flags, args: [PART, dir.path] };
  const command = makeProgramCommand("part_writer.ts", options, "piped");
  await using writer = new RunningProcess(command.spawn());
  await writer.waitForStdout(/ready/);
  const expiredTime = new Date(Date.now() - 25 * 3_600_000);
  await Deno.utime(path, expiredTime, expiredTime);
  // A directory is never an unfinished file, whatever its name.
  const directory = `put-${"0".repeat(32)}`;
  await Deno.mkdir(`${files.path}/${directory}`);
  await Deno.utime(`${files.path}/${directory}`, expiredTime, expiredTime);
  files.sweep();
  assertEquals([removeIfUnused(path), await listNames(files.path)], [false, [PART, directory]]);
  await writer.child.stdin.close();
  const { success, stderr } = await writer.waitForEnd();
  assert(success, stderr);
  files.sweep();
  assertEquals(await listNames(files.path), [directory]);
  assertEquals(removeIfUnused(path), true, "the part no longer exists");
});

Deno.test("removal of a part keeps a file that has just replaced it, and a part whose lock is unknown", async () => {
  await using dir = await createTempDir();
  const path = `${dir.path}/part`;
  type OpenSync = typeof Deno.openSync;
  const rows: [open: (openSync: OpenSync) => OpenSync, isRemoved: boolean | null][] = [
    [(openSync) => (...args) => {
      Deno.writeTextFileSync(`${path}.new`, "");
      Deno.renameSync(`${path}.new`, path);
      return openSync(...args);
    }, false],
    [() => () => {
      throw Object.assign(new Error("too many open files"), { code: "EMFILE" });
    }, null],
    // A part that a killed process has left read-only.
    [() => () => {
      throw new Deno.errors.PermissionDenied("read-only");
    }, true],
  ];
  for (const [wrapOpen, isRemoved] of rows) {
    await Deno.writeTextFile(path, "");
    using _openPatch = patch(Deno, "openSync", wrapOpen);
    if (isRemoved === null) assertThrows(() => removeIfUnused(path), Error, "too many");
    else assertEquals(removeIfUnused(path), isRemoved);
    assertEquals(await listNames(dir.path), isRemoved === true ? [] : ["part"]);
  }
});

Deno.test("parts can be written and removed on a file system without locks", async () => {
  await using files = await makeApp();
  const { prototype } = Deno.FsFile;
  using _tryLock = patch(prototype, "tryLock", () => () => Promise.reject(new Error("ENOTSUP")));
  using _tryLockSync = patch(prototype, "tryLockSync", () => () => {
    throw new Error("ENOTSUP");
  });
  await files.sendStart(undefined, 1000);
  assertEquals(await files.requestOffset(undefined, "/a", CONTENT), 1000);
  const [part = ""] = await listParts(files.root);
  const path = `${files.root}/${RESERVED_DIRECTORY_NAME}/${part}`;
  {
    using openPart = await new UnfinishedUploads(files.root).openPart(path);
    assertEquals(removeIfUnused(openPart.path), false);
    openPart.isKept = true;
  }
  assertEquals(removeIfUnused(path), true);
  assertEquals(await listNames(`${files.root}/${RESERVED_DIRECTORY_NAME}`), []);
});

Deno.test("a part is not removed by the process that has lost its lock", async () => {
  await using tree = await makeTree();
  const unfinished = new UnfinishedUploads(tree.root);
  const path = unfinished.partPathOf(undefined, ["file"]);
  const lostPart = await unfinished.openPart(path);
  using _timeouts = speedUpTimeouts((milliseconds) => milliseconds === 30);
  // Locked through another open file, as another process would.
  using lockedPart = await unfinished.openPart(path);
  lostPart[Symbol.dispose]();
  assert(lockedPart.isAtPath());
});

const notRoot = Deno.build.os !== "windows" && Deno.uid() === 0
  ? null
  : "only root can give a file to another user";

Deno.test(
  "a part that another user owns, or a FIFO in its place, is not resumed (needs root)",
  ignoreIf(notRoot),
  async () => {
    await using tree = await makeTree();
    const unfinished = new UnfinishedUploads(tree.root);
    const path = unfinished.partPathOf(undefined, ["file"]);
    for (const isFifo of [false, true]) {
      unfinished.makeDirectory();
      if (isFifo) await makeFifo(path);
      else {
        await Deno.writeTextFile(path, "text");
        await Deno.chown(path, 12345, 12345);
      }
      using part = await unfinished.openPart(path);
      const { size, isFile, uid } = await part.file.stat();
      assertEquals([size, isFile, uid], [0, true, 0]);
    }
    assertEquals(await listNames(unfinished.path), []);
  },
);

Deno.test("exactly one of two processes that write the same new file gets 201", async () => {
  await using dir = await createTempDir();
  const count = 50;
  const flags = [`--allow-read=${dir.path}`, `--allow-write=${dir.path}`];
  const options = { flags, args: [dir.path, `${count}`] };
  const start = () => makeProgramCommand("put_new.ts", options, "piped").spawn();
  await using firstProcess = new RunningProcess(start());
  await using secondProcess = new RunningProcess(start());
  const processes = [firstProcess, secondProcess];
  for (const process of processes) await process.waitForStdout(/ready/);
  for (const { child } of processes) await child.stdin.close();
  const statusLists = await Promise.all(processes.map(async (process): Promise<number[]> => {
    const { success, stdout, stderr } = await process.waitForEnd();
    assert(success, stderr);
    return JSON.parse(stdout.replace("ready", ""));
  }));
  for (let i = 0; i < count; i++) {
    const statuses = statusLists.map((statuses) => statuses[i]!);
    assertEquals(statuses.toSorted(), [201, 412], `the file ${i}`);
  }
});

// Unfinished files that are older than a day, or that can't be resumed.

Deno.test("a new app removes what a killed server has received in single requests, but no running upload", async () => {
  await using tree = await makeTree();
  const reservedPath = `${tree.root}/${RESERVED_DIRECTORY_NAME}`;
  await Deno.mkdir(reservedPath, { mode: 0o700 });
  const [abandoned, locked] = ["0", "1"].map((digit) => `put-locked-${digit.repeat(32)}`);
  const bundled = `put-${"2".repeat(32)}`;
  const part = `part-${"0".repeat(32)}-${"0".repeat(64)}`;
  for (const name of [abandoned, locked, bundled, part]) {
    await Deno.writeFile(`${reservedPath}/${name}`, new Uint8Array(1));
  }
  using otherProcess = await Deno.open(`${reservedPath}/${locked}`, { write: true });
  await otherProcess.lock(true);
  const app = new FilesApp(tree.root, { write: true });
  assertEquals((await listNames(reservedPath)).toSorted(), [part, locked, bundled].toSorted());
  const content = new Uint8Array(200_000);
  const body = (async function* () {
    yield content.subarray(0, 100_000);
    while ((await listNames(reservedPath)).length < 4) await waitForTick();
    new FilesApp(tree.root, { write: true });
    yield content.subarray(100_000);
  })();
  const request = mkreq("PUT", "/new", {}, new BodyIter(body, content.length));
  assertEquals((await app.handle(request))[0], 201);
});

Deno.test("a new app removes even a single byte of what a killed server has received", async () => {
  await using dir = await createTempDir();
  const reservedPath = `${dir.path}/${RESERVED_DIRECTORY_NAME}`;
  const flags = [`--allow-read=${dir.path}`, `--allow-write=${dir.path}`];
  const command = makeProgramCommand("stalled_puts.ts", { flags, args: [dir.path] });
  await using server = new RunningProcess(command.spawn());
  for (let i = 0; i < 2; i++) await server.waitForStdout(/received/);
  new FilesApp(dir.path, { write: true });
  assertEquals((await listNames(reservedPath)).length, 2, "the server is running");
  server.kill();
  await server.waitForEnd();
  new FilesApp(dir.path, { write: true });
  assertEquals(await listNames(reservedPath), []);
});

Deno.test("a new app, and an upload once an hour, remove only unfinished files older than 24 hours", async () => {
  await using tree = await makeTree();
  const reservedPath = `${tree.root}/${RESERVED_DIRECTORY_NAME}`;
  await Deno.mkdir(reservedPath, { mode: 0o700 });
  const hours: Record<string, number> = {
    [`put-${"0".repeat(32)}`]: 24 + 1 / 3_600_000,
    [`put-${"1".repeat(32)}`]: 24,
    [`part-${"0".repeat(32)}-${"0".repeat(64)}`]: 25,
    [`part-${"0".repeat(32)}-${"1".repeat(64)}`]: 23,
    [`part-${"0".repeat(32)}-${"2".repeat(64)}`]: -25,
    "put-of-somebody": 25,
    "notes": 25,
  };
  const remainingNames = Object.keys(hours).filter((name) => !/0$|2$/.test(name)).toSorted();
  using clock = stopAllClocks();
  const createFiles = async () => {
    for (const [name, age] of Object.entries(hours)) {
      await Deno.writeTextFile(`${reservedPath}/${name}`, "text");
      const time = new Date(Date.now() - Math.round(age * 3_600_000));
      await Deno.utime(`${reservedPath}/${name}`, time, time);
    }
  };
  await createFiles();
  new FilesApp(tree.root, { list: true });
  const allCount = Object.keys(hours).length;
  assertEquals((await listNames(reservedPath)).length, allCount, "a read-only app removes no file");
  const app = new FilesApp(tree.root, { write: true });
  assertEquals((await listNames(reservedPath)).toSorted(), remainingNames);
  const sendPut = async () => (await app.handle(mkreq("PUT", "/new", {}, CONTENT)))[0];
  await createFiles();
  clock.tick(3_600_000 - 1);
  await createFiles();
  assertEquals([await sendPut(), (await listNames(reservedPath)).length], [201, allCount]);
  clock.tick(1);
  await createFiles();
  const result = [await sendPut(), (await listNames(reservedPath)).toSorted()];
  assertEquals(result, [204, remainingNames]);
});

Deno.test({
  name: "an old file that can't be removed is logged, and is not an error",
  permissions: { read: false },
}, () => {
  const reports: string[] = [];
  new UnfinishedUploads("/proc", (message) => void reports.push(message)).sweep();
  assertEquals(reports.length, 1);
  assert(reports[0]?.startsWith("an old unfinished file can't be removed: NotCapable"), reports[0]);
});
