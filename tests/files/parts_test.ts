/** Unfinished files at a server: parts, their owners, their number, and their lifetime. */
import { Body, type HeaderDict } from "@degu/degu/base";
import { FilesApp, type FilesOptions } from "@degu/degu/files";
import { mkreq } from "@degu/degu/misc";
import type { PeerCertificate, Session } from "@degu/degu/server";
import { identifyPeer } from "@degu/internal/base/app/session.ts";
import { type BodyFile, receiveBody } from "@degu/internal/files/file_writer.ts";
import { removeIfUnused } from "@degu/internal/files/leftovers.ts";
import { Refusal } from "@degu/internal/files/refusal.ts";
import { RESERVED } from "@degu/internal/files/reserved.ts";
import { Root } from "@degu/internal/files/root.ts";
import { UnfinishedFiles } from "@degu/internal/files/serve/unfinished.ts";
import { makeSession } from "@degu/testing/calling.ts";
import { speedUpTimeouts, stopAllClocks } from "@degu/testing/clock.ts";
import { createTempDir, listNames } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { RunningProcess } from "@degu/testing/processes.ts";
import { makeProgramCommand } from "@degu/testing/programs.ts";
import { waitForTick } from "@degu/testing/raw_peer.ts";
import { makePattern, makeTree } from "@degu/testing/served_directory.ts";
import { listOpenFiles } from "@degu/testing/special_files.ts";
import { digestOf, makeUploadHeaders } from "@degu/testing/written_directory.ts";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";

// Parts of uploads: their owners, their number, and their lifetime.

const CONTENT = makePattern(300_000);

// ───────────────────────── whose part it is

/** A session of a client with a key, vouched for by an authority. */
function sessionOf(key: string, authority: string | null): Session {
  const vouching = {
    subject: "",
    fingerprint256: "",
    publicKey256: authority ?? "",
    raw: new Uint8Array(),
  };
  const certificate: PeerCertificate = {
    subject: "CN=peer",
    issuer: "CN=peer",
    subjectAltNames: [],
    fingerprint256: crypto.randomUUID(),
    publicKey256: key,
    authority: authority === null ? null : vouching,
    validFrom: new Date(0),
    validTo: new Date(0),
    raw: new Uint8Array(),
  };
  return makeSession({ name: "peer", address: null, peerCertificate: certificate });
}

const CUT = new Error("cut");

/** A body that breaks off after its first bytes. */
function cutBody(bytes: Uint8Array, length: number, before?: () => Promise<void>): Body {
  const stream = ReadableStream.from((async function* () {
    if (bytes.length > 0) yield bytes;
    await before?.();
    throw CUT;
  })());
  return new Body(stream, length);
}

/** An app without a server, whose clients are whoever the test says. */
async function makeApp(options: FilesOptions = {}) {
  const tree = await makeTree();
  const app = new FilesApp(tree.root, { write: true, ...options });
  return {
    ...tree,
    app,
    /** Sends the first bytes of a file, and then nothing more. */
    async cut(session: Session | undefined, uri: string, content: Uint8Array, until: number) {
      const body = cutBody(content.slice(0, until), content.length);
      const request = mkreq("PUT", uri, makeUploadHeaders(content, 0), body);
      assertEquals(await app.handle(request, session).catch((error) => error), CUT);
    },
    /** How much is here. */
    async offset(session: Session | undefined, uri: string, content: Uint8Array) {
      const [, , headers] = await app.handle(
        mkreq("HEAD", uri, makeUploadHeaders(content)),
        session,
      );
      return Number(headers["upload-offset"]);
    },
  };
}

Deno.test("a part is found only by the client that sent it", async () => {
  await using files = await makeApp();
  const mine = sessionOf("a key", "an authority");
  await files.cut(mine, "/a", CONTENT, 1000);
  assertEquals(await files.offset(mine, "/a", CONTENT), 1000);
  assertEquals(await files.offset(sessionOf("a key", "an authority"), "/a", CONTENT), 1000);
  const strangers = [
    sessionOf("another key", "an authority"),
    sessionOf("a key", "another authority"),
    sessionOf("a key", null),
    sessionOf("an authority", "a key"),
    makeSession({ name: "peer", address: null }),
    undefined,
  ];
  for (const [i, session] of strangers.entries()) {
    assertEquals(await files.offset(session, "/a", CONTENT), 0, `${i}`);
  }
  assertEquals(await files.offset(mine, "/b", CONTENT), 0, "another name");
  assertEquals(await files.offset(mine, "/a", CONTENT.toReversed()), 0, "another digest");
  assertEquals(await files.offset(mine, "/a", CONTENT.subarray(1)), 0, "another length");
  // Where nobody has a certificate all count as one.
  await files.cut(undefined, "/a", CONTENT, 2000);
  assertEquals(
    await files.offset(makeSession({ name: "other", address: null }), "/a", CONTENT),
    2000,
  );
});

Deno.test("parts of several GiB work like small ones", async () => {
  await using files = await makeApp();
  const length = 5 * 1024 ** 3;
  const headers = { "repr-digest": digestOf(CONTENT), "upload-length": `${length}` };
  const body = cutBody(new Uint8Array(1), length);
  const put = mkreq("PUT", "/large", { ...headers, "upload-offset": "0" }, body);
  assertEquals(await files.app.handle(put).catch((error) => error), CUT);
  const [part = ""] = await listNames(`${files.root}/${RESERVED}`);
  await Deno.truncate(`${files.root}/${RESERVED}/${part}`, length - 3);
  const [status, , told] = await files.app.handle(mkreq("HEAD", "/large", headers));
  assertEquals([status, told["upload-offset"]], [200, `${length - 3}`]);
  const wrong = mkreq("PUT", "/large", { ...headers, "upload-offset": `${length}` });
  const [refused, , right] = await files.app.handle(wrong);
  assertEquals([refused, right["upload-offset"]], [409, `${length - 3}`]);
  // Whatever has made it longer than the file: nothing of it counts.
  await Deno.truncate(`${files.root}/${RESERVED}/${part}`, length + 1);
  const [, , nothing] = await files.app.handle(mkreq("HEAD", "/large", headers));
  assertEquals(nothing["upload-offset"], "0");
});

// ───────────────────────── who may go on

Deno.test("a peer that is no longer admitted can't complete a rename or delete", async () => {
  await using files = await makeApp();
  const session = sessionOf("1", "A");
  let admitted = true;
  identifyPeer(session, { user: "peer", isTrusted: () => Promise.resolve(admitted) });
  const send = async (headers: HeaderDict) => {
    const stream = ReadableStream.from((function* () {
      yield CONTENT.slice(0, 1000);
      admitted = false;
      yield CONTENT.slice(1000);
    })());
    admitted = true;
    const request = mkreq("PUT", "/a", headers, new Body(stream, CONTENT.length));
    const [status] = await files.app.handle(request, session);
    return status;
  };
  assertEquals(await send({}), 403);
  assertEquals(await send(makeUploadHeaders(CONTENT, 0)), 403);
  const [status] = await files.app.handle(mkreq("DELETE", "/file"), session);
  assertEquals(status, 403);
  assertEquals((await files.app.handle(mkreq("PUT", "/new/"), session))[0], 403);
  // A file that is here already keeps its time, too.
  const content = await Deno.readFile(`${files.root}/file`);
  const timed = {
    ...makeUploadHeaders(content, content.length),
    "upload-modified": "2020-01-02T03:04:05Z",
  };
  const before = (await Deno.stat(`${files.root}/file`)).mtime;
  admitted = false;
  assertEquals((await files.app.handle(mkreq("PUT", "/file", timed), session))[0], 403);
  assertEquals((await Deno.stat(`${files.root}/file`)).mtime, before);
  assertEquals((await listNames(files.root)).filter((name) => name !== RESERVED), ["file", "sub"]);
  if (Deno.build.os === "linux") assertEquals(await listOpenFiles(files.root), []);
  admitted = true;
  const [deleted] = await files.app.handle(mkreq("DELETE", "/file"), session);
  assertEquals(deleted, 204);
});

// Unfinished files: their owners, what remains of them, and several processes that write the same
// names.

const PART = `part-${"0".repeat(32)}-${"1".repeat(64)}`;

Deno.test("a file that is here already gets no time if it changes, or goes, just before", async () => {
  for (const change of [(path: string) => Deno.utimeSync(path, 5, 5), Deno.removeSync]) {
    await using files = await makeApp();
    const path = `${files.root}/file`;
    const session = sessionOf("1", "A");
    const confirm = () => Promise.resolve(change(path)).then(() => true);
    identifyPeer(session, { user: "peer", isTrusted: confirm });
    const content = await Deno.readFile(path);
    const timed = {
      ...makeUploadHeaders(content, content.length),
      "upload-modified": "2020-01-02T03:04:05Z",
    };
    const [status, , headers] = await files.app.handle(mkreq("PUT", "/file", timed), session);
    assertEquals([status, headers["upload-offset"]], [409, "0"]);
    const info = await Deno.stat(path).catch(() => null);
    assertEquals(info?.mtime?.getTime() ?? 5000, 5000);
  }
});

Deno.test("a part that another process is writing is not removed", async () => {
  await using dir = await createTempDir();
  const files = new UnfinishedFiles(dir.path, (message) => assert(false, message));
  const path = `${files.path}/${PART}`;
  const flags = [`--allow-read=${dir.path}`, `--allow-write=${dir.path}`];
  const options = { flags, args: [PART, dir.path] };
  const command = makeProgramCommand("part_writer.ts", options, "piped");
  await using running = new RunningProcess(command.spawn());
  await running.waitForStdout(/ready/);
  const old = new Date(Date.now() - 25 * 3_600_000);
  await Deno.utime(path, old, old);
  // A directory is none of them, whatever its name.
  const directory = `put-${"0".repeat(32)}`;
  await Deno.mkdir(`${files.path}/${directory}`);
  await Deno.utime(`${files.path}/${directory}`, old, old);
  files.sweep();
  assertEquals([removeIfUnused(path), await listNames(files.path)], [false, [PART, directory]]);
  await running.child.stdin.close();
  const { success, stderr } = await running.waitForEnd();
  assert(success, stderr);
  files.sweep();
  assertEquals(await listNames(files.path), [directory]);
  assertEquals(removeIfUnused(path), true, "it is gone already");
});

Deno.test("what has just taken the place of a part is not removed with it, nor one of which nobody can tell whether it is held", async () => {
  await using dir = await createTempDir();
  const path = `${dir.path}/part`;
  type Open = typeof Deno.openSync;
  const rows: [open: (openSync: Open) => Open, isRemoved: boolean | null][] = [
    [(openSync) => (...args) => {
      Deno.writeTextFileSync(`${path}.new`, "");
      Deno.renameSync(`${path}.new`, path);
      return openSync(...args);
    }, false],
    [() => () => {
      throw Object.assign(new Error("too many open files"), { code: "EMFILE" });
    }, null],
    // One that a process has made read-only before it was killed.
    [() => () => {
      throw new Deno.errors.PermissionDenied("read-only");
    }, true],
  ];
  for (const [open, isRemoved] of rows) {
    await Deno.writeTextFile(path, "");
    using _patched = patch(Deno, "openSync", open);
    if (isRemoved === null) assertThrows(() => removeIfUnused(path), Error, "too many");
    else assertEquals(removeIfUnused(path), isRemoved);
    assertEquals(await listNames(dir.path), isRemoved === true ? [] : ["part"]);
  }
});

Deno.test("a part that other processes take again and again is a conflict", async () => {
  await using files = await makeApp();
  await files.cut(undefined, "/a", CONTENT, 1000);
  const [part = ""] = await listNames(`${files.root}/${RESERVED}`);
  using _taking = patch(Deno.FsFile.prototype, "tryLock", (tryLock) => {
    return function (this: Deno.FsFile, isExclusive) {
      Deno.removeSync(`${files.root}/${RESERVED}/${part}`);
      return tryLock.call(this, isExclusive);
    };
  });
  const rest = new Body(ReadableStream.from([CONTENT]), CONTENT.length);
  const [status] = await files.app.handle(mkreq("PUT", "/a", makeUploadHeaders(CONTENT, 0), rest));
  assertEquals(status, 409);
});

Deno.test("where a file system has no locks, parts are written, and left-over ones removed", async () => {
  await using files = await makeApp();
  const { prototype } = Deno.FsFile;
  using _tryLock = patch(prototype, "tryLock", () => () => Promise.reject(new Error("ENOTSUP")));
  using _tryLockSync = patch(prototype, "tryLockSync", () => () => {
    throw new Error("ENOTSUP");
  });
  await files.cut(undefined, "/a", CONTENT, 1000);
  assertEquals(await files.offset(undefined, "/a", CONTENT), 1000);
  const [part = ""] = await listNames(`${files.root}/${RESERVED}`);
  {
    using held = await new UnfinishedFiles(files.root).openPart(
      `${files.root}/${RESERVED}/${part}`,
    );
    assertEquals(removeIfUnused(held.path), false);
    held.isKept = true;
  }
  assertEquals(removeIfUnused(`${files.root}/${RESERVED}/${part}`), true);
  assertEquals(await listNames(`${files.root}/${RESERVED}`), []);
});

Deno.test("a part that is closed can be removed while this process starts others", async () => {
  await using dir = await createTempDir();
  const files = new UnfinishedFiles(dir.path);
  const [shell, ...args] = Deno.build.os === "windows"
    ? ["cmd", "/c", "exit"]
    : ["bash", "-c", ":"];
  const script = `postMessage("ready");
while (true) await new Deno.Command("${shell}", { args: ${JSON.stringify(args)} }).output();`;
  const url = `data:text/javascript,${encodeURIComponent(script)}`;
  const worker = new Worker(url, { type: "module" });
  try {
    await new Promise((resolve) => worker.onmessage = resolve);
    const path = files.partOf(null, ["file"]);
    for (let i = 0; i < 500; i++) {
      const part = await files.openPart(path);
      part.isKept = true;
      part[Symbol.dispose]();
      assert(removeIfUnused(path));
    }
  } finally {
    worker.terminate();
  }
});

Deno.test("a directory with a file that is being uploaded is not removed", async () => {
  await using tree = await makeTree();
  const unfinished = new UnfinishedFiles(`${tree.root}/sub`);
  await Deno.remove(`${tree.root}/sub/file`);
  unfinished.makeDirectory();
  const file = unfinished.create();
  const remove = () => new Root(tree.root).remove(["sub"], true, () => {});
  await assertRejects(remove, Refusal, "in progress");
  assertEquals((await listNames(unfinished.path)).length, 1);
  file[Symbol.dispose]();
  await remove();
  assertEquals(await listNames(tree.root), ["file"]);
});

Deno.test("a part that another process has taken over is not removed by the one that has lost it", async () => {
  await using tree = await makeTree();
  const unfinished = new UnfinishedFiles(tree.root);
  const path = unfinished.partOf(null, ["file"]);
  const lost = await unfinished.openPart(path);
  using _timeouts = speedUpTimeouts((milliseconds) => milliseconds === 30);
  // Locked by another open file, as by another process.
  using taken = await unfinished.openPart(path);
  lost[Symbol.dispose]();
  assert(taken.isInPlace);
});

Deno.test("exactly one of two processes that write the same new file gets 201", async () => {
  await using dir = await createTempDir();
  const count = 50;
  const flags = [`--allow-read=${dir.path}`, `--allow-write=${dir.path}`];
  const options = { flags, args: [dir.path, `${count}`] };
  const start = () => makeProgramCommand("put_new.ts", options, "piped").spawn();
  await using one = new RunningProcess(start());
  await using other = new RunningProcess(start());
  const both = [one, other];
  for (const running of both) await running.waitForStdout(/ready/);
  for (const { child } of both) await child.stdin.close();
  const all = await Promise.all(both.map(async (running): Promise<number[]> => {
    const { success, stdout, stderr } = await running.waitForEnd();
    assert(success, stderr);
    return JSON.parse(stdout.replace("ready", ""));
  }));
  for (let i = 0; i < count; i++) {
    assertEquals(all.map((statuses) => statuses[i]!).toSorted(), [201, 412], `the file ${i}`);
  }
});

// Unfinished files that nobody has written to for a day.

Deno.test("only unfinished files are removed, after 24 hours: by a new app, and by an upload once an hour", async () => {
  await using tree = await makeTree();
  const reserved = `${tree.root}/${RESERVED}`;
  await Deno.mkdir(reserved, { mode: 0o700 });
  const hours: Record<string, number> = {
    [`put-${"0".repeat(32)}`]: 24 + 1 / 3_600_000,
    [`put-${"1".repeat(32)}`]: 24,
    [`part-${"0".repeat(32)}-${"0".repeat(64)}`]: 25,
    [`part-${"0".repeat(32)}-${"1".repeat(64)}`]: 23,
    [`part-${"0".repeat(32)}-${"2".repeat(64)}`]: -25,
    "put-of-somebody": 25,
    "notes": 25,
  };
  const young = Object.keys(hours).filter((name) => !/0$|2$/.test(name)).toSorted();
  using clock = stopAllClocks();
  const make = async () => {
    for (const [name, age] of Object.entries(hours)) {
      await Deno.writeTextFile(`${reserved}/${name}`, "text");
      const time = new Date(Date.now() - Math.round(age * 3_600_000));
      await Deno.utime(`${reserved}/${name}`, time, time);
    }
  };
  await make();
  new FilesApp(tree.root, { list: true });
  assertEquals((await listNames(reserved)).length, Object.keys(hours).length, "it may only read");
  const app = new FilesApp(tree.root, { write: true });
  assertEquals((await listNames(reserved)).toSorted(), young);
  const put = async () => (await app.handle(mkreq("PUT", "/new", {}, CONTENT)))[0];
  await make();
  clock.tick(3_600_000 - 1);
  await make();
  assertEquals([await put(), (await listNames(reserved)).length], [201, Object.keys(hours).length]);
  clock.tick(1);
  await make();
  assertEquals([await put(), (await listNames(reserved)).toSorted()], [204, young]);
});

Deno.test({
  name: "an old file that can't be removed is logged, and is not an error",
  permissions: { read: false },
}, () => {
  const reports: string[] = [];
  new UnfinishedFiles("/proc", (message) => void reports.push(message)).sweep();
  assertEquals(reports.length, 1);
  assert(reports[0]?.startsWith("an old unfinished file can't be removed: NotCapable"), reports[0]);
});

Deno.test("a part whose state the disk does not give is closed again", async () => {
  await using dir = await createTempDir();
  const unfinished = new UnfinishedFiles(dir.path);
  const part = unfinished.partOf(null, ["a"]);
  (await unfinished.openPart(part))[Symbol.dispose]();
  const failure = new Error("EIO");
  using _patched = patch(Deno.FsFile.prototype, "statSync", () => () => {
    throw failure;
  });
  assertEquals(await assertRejects(() => unfinished.openPart(part)), failure);
  assertEquals(await listOpenFiles(dir.path), []);
});

// Writing bodies to a file.

Deno.test("a failed write ends the body, and nothing goes on in the background", async () => {
  const failure = new Error("full");
  let settled = 0;
  const idle = async () => {
    await waitForTick();
    settled++;
  };
  const destined: BodyFile = {
    file: { write: () => Promise.reject(failure), waitUntilIdle: idle },
    start: 0,
    limit: Infinity,
    length: null,
    hash: null,
  };
  const small = new Body(new Blob([makePattern(100)]).stream(), 100);
  assertEquals(await receiveBody(small, destined).catch((error) => error), failure);
  assertEquals(settled, 1);
  let cancelled: unknown = null;
  const stream = new ReadableStream({
    pull: (controller) => controller.enqueue(new Uint8Array(65536)),
    cancel: (reason) => void (cancelled = reason),
  });
  const large = new Body(stream, 10_000_000);
  assertEquals(await receiveBody(large, destined).catch((error) => error), failure);
  assertEquals(cancelled, failure);
});
