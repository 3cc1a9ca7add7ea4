/**
 * uploadTree with `move`: requests, ages of files, servers of the source itself, and races. A model
 * judges the rows of `trees.rows.ts`.
 */
import type { Request } from "@degu/degu";
import {
  downloadTree,
  FilesApp,
  TransferError,
  type TreeEvent,
  uploadTree,
  type UploadTreeOptions,
} from "@degu/degu/files";
import { BodyIter } from "@degu/degu/base";
import { SETTLED_MILLISECONDS } from "@degu/internal/files/disk/file_pieces.ts";
import { BUNDLE_END, BUNDLE_TYPE } from "@degu/internal/files/wire/bundle.ts";
import { setClockAhead, speedUpClock, speedUpTimeouts } from "@degu/testing/clock.ts";
import { createTempDir, fill, readTree } from "@degu/testing/directories.ts";
import { findOddDiskObstacle, makeOddDiskScript } from "./odd_disk.ts";
import { patch } from "@degu/testing/patching.ts";
import { makeProgramCommand, RunningProcess } from "@degu/testing/processes.ts";
import { serve } from "@degu/testing/serving.ts";
import { HAS_LINKS, listOpenFiles, makeLinks } from "@degu/testing/special_files.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { assertSynced, recordSyncedPaths } from "@degu/testing/synced.ts";
import type { ChangeResponse } from "@degu/testing/transferring.ts";
import { copyInProcess, copyTree, makeTrees } from "@degu/testing/trees.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { canMount, IN_MOUNT_NAMESPACE } from "./refused_writes.ts";

const MOVE: UploadTreeOptions = { move: true };
const LARGE = "l".repeat(70_000);
const SIZES = { "a small file": "small", "a large file": LARGE };
/** Makes file times older than the resolution below which a change can't be detected. */
const LATER = 10_000;

type Tree = Readonly<Record<string, string | null>>;

/** Makes trees for an upload, with files that haven't changed for some seconds. */
async function makeOutbox(source: Tree, target: Tree = {}, change: ChangeResponse = () => null) {
  const trees = await makeTrees("upload", source, target, change);
  const clock = setClockAhead(LATER);
  return {
    ...trees,
    [Symbol.asyncDispose]: () => {
      clock[Symbol.dispose]();
      return trees[Symbol.asyncDispose]();
    },
  };
}

/** Whether a request writes files. */
const isWrite = ({ method, uri, query }: Request) =>
  method === "PUT" && !uri.endsWith("/") || query === "bundle=put";

Deno.test("move: a file that changed just before it was read stays, because another change in that second can't be detected", async () => {
  for (const [name, text] of Object.entries(SIZES)) {
    const otherText = text.toUpperCase();
    let path = "";
    await using trees = await makeTrees("upload", { x: text }, {}, async (request, respond) => {
      if (!isWrite(request)) return null;
      const answered = await respond();
      const { mtime } = Deno.statSync(path);
      Deno.writeTextFileSync(path, otherText);
      Deno.utimeSync(path, mtime!, mtime!);
      return answered;
    });
    path = `${trees.source}/x`;
    const { result, outcomes } = await trees.copy({ ...MOVE, settled: 0 });
    assertEquals(outcomes, { x: "pending" }, name);
    assertEquals([result.files, result.moved, result.pending], [0, 0, 1], name);
    assertEquals(await readTree(trees.source), { x: otherText }, name);
    assertEquals(await readTree(trees.target), { x: text }, name);
    using _clock = setClockAhead(LATER);
    path = `${trees.source}/none`;
    await using serving = serve(new FilesApp(trees.target, { list: true, write: true }));
    await uploadTree(serving.makeClient(), trees.source, [], MOVE);
    assertEquals(await readTree(trees.source), {});
    assertEquals(await readTree(trees.target), { x: otherText });
  }
});

Deno.test("move: a file that was written or renamed within 3 seconds, or the seconds of `settled`, is pending", async () => {
  await using trees = await makeTrees("upload", { written: "1", first: "2" });
  const hourAgo = new Date(Date.now() - 3_600_000);
  await Deno.utime(`${trees.source}/first`, hourAgo, hourAgo);
  await Deno.rename(`${trees.source}/first`, `${trees.source}/renamed`);
  for (const settled of [undefined, 60]) {
    using _clock = setClockAhead(settled === undefined ? 0 : LATER);
    const { outcomes, result } = await trees.copy({ ...MOVE, settled });
    assertEquals(outcomes, { written: "pending", renamed: "pending" });
    assertEquals([result.complete, result.pending, result.skipped], [false, 2, 0]);
  }
  assertEquals(await readTree(trees.source), { written: "1", renamed: "2" });
  assertEquals(await readTree(trees.target), {});
  assertEquals((await trees.copy({ move: false, dryRun: true })).result.pending, 0);
  using _clock = setClockAhead(LATER);
  assertEquals((await trees.copy(MOVE)).result.moved, 2);
});

Deno.test("move: with settled below 2, a file that was changed less than two seconds ago is copied, and stays", async () => {
  for (const text of Object.values(SIZES)) {
    for (const settled of [0, 1]) {
      await using trees = await makeTrees("upload", { x: text });
      const changedAt = (await Deno.stat(`${trees.source}/x`)).ctime!.getTime();
      for (const [seconds, removed] of [[1.999, 0], [2, 1]] as const) {
        using _clock = patch(Date, "now", () => () => changedAt + seconds * 1000);
        const { result } = await trees.copy({ ...MOVE, settled });
        assertEquals([result.moved, await readTree(trees.target)], [removed, { x: text }]);
      }
    }
  }
});

Deno.test("move: a file that was just written on a disk whose clock is ahead is pending", async () => {
  await using trees = await makeTrees("upload", { x: "1" });
  using _clock = setClockAhead(-1000);
  assertEquals((await trees.copy(MOVE)).outcomes, { x: "pending" });
});

Deno.test("move: a file that is written after it was listed is copied, and stays", async () => {
  const writtenFiles = { x: "1", large: LARGE };
  let clock = setClockAhead(120_000);
  let isListed = false;
  const source = { ...writtenFiles, old: "2", d: null };
  await using trees = await makeTrees("upload", source, {}, ({ query }) => {
    // The first bundle creates directories.
    if (query === "bundle=put" && !isListed) {
      isListed = true;
      for (const name of Object.keys(writtenFiles)) {
        Deno.writeTextFileSync(`${trees.source}/${name}`, "more", { append: true });
      }
      clock[Symbol.dispose]();
      clock = setClockAhead(40_000);
    }
    return null;
  });
  using _end = { [Symbol.dispose]: () => clock[Symbol.dispose]() };
  const { result } = await trees.copy({ ...MOVE, settled: 60 });
  assertEquals([result.files, result.pending, result.moved], [0, 3, 0]);
  const expectedTree = { x: "1more", large: LARGE + "more", old: "2", d: null };
  assertEquals(await readTree(trees.source), expectedTree);
});

Deno.test("move: a file with times in the future, from a wrong clock, is removed", async () => {
  await using trees = await makeTrees("upload", { x: "1", large: LARGE });
  {
    using _clock = setClockAhead(-3_600_000);
    assertEquals((await trees.copy(MOVE)).result.moved, 2);
  }
  assertEquals(await readTree(trees.source), {});
  await Deno.writeTextFile(`${trees.source}/x`, "1");
  const { ctime } = await Deno.stat(`${trees.source}/x`);
  // A file with the current time may have changed at this moment.
  for (const [ahead, removed] of [[0, 0], [1, 1]] as const) {
    using _clock = patch(Date, "now", () => () => ctime!.getTime() - ahead);
    assertEquals((await trees.copy({ ...MOVE, settled: 0 })).result.moved, removed, `${ahead}`);
  }
});

for (const moment of ["requested again", "written again"]) {
  Deno.test(`move: with replace: false an identical file stays if the target's file is replaced before it is ${moment}`, async () => {
    for (const text of Object.values(SIZES)) {
      const theirs = "t".repeat(text.length);
      let path = "";
      // The first attempt finds that the name is taken. A large file causes two HEAD requests: for
      // its part, and for the comparison.
      let countdown = moment === "written again" ? 1 : text === LARGE ? 2 : 0;
      await using trees = await makeOutbox({ x: text }, { x: text }, (request) => {
        const counts = moment === "written again" ? isWrite(request) : request.method === "HEAD";
        if (counts && countdown-- === 0) Deno.writeTextFileSync(path, theirs);
        return null;
      });
      path = `${trees.target}/x`;
      await Deno.utime(path, 1, 1);
      const { outcomes } = await trees.copy({ ...MOVE, replace: false });
      assertEquals(outcomes, { x: "failed" });
      assert(countdown < 0, "it was not replaced");
      const sourceAndTarget = [await readTree(trees.source), await readTree(trees.target)];
      assertEquals(sourceAndTarget, [{ x: text }, { x: theirs }]);
    }
  });
}

Deno.test("move: with replace: false an identical file stays if the target's was just written, because another change can't be detected", async () => {
  for (const text of Object.values(SIZES)) {
    await using trees = await makeOutbox({ x: text }, { x: text }, async ({ method }, respond) => {
      if (method !== "HEAD") return null;
      const [status, reason, { etag: _etag, ...headers }, body] = await respond();
      return [status, reason, headers, body];
    });
    const { errors } = await trees.copy({ ...MOVE, replace: false });
    assertEquals((errors.x as TransferError).code, "EXISTS");
    assertEquals(await readTree(trees.source), { x: text });
  }
});

Deno.test("move: with replace: false an identical file is moved if the target's has a tag two seconds later", async () => {
  for (const text of Object.values(SIZES)) {
    let hasTag = false;
    await using trees = await makeOutbox({ x: text }, { x: text }, async ({ method }, respond) => {
      if (method !== "HEAD" || hasTag) return null;
      const [status, reason, { etag: _etag, ...headers }, body] = await respond();
      return [status, reason, headers, body];
    });
    using _pause = speedUpTimeouts((milliseconds) => {
      const isPause = milliseconds === SETTLED_MILLISECONDS;
      hasTag ||= isPause;
      return isPause;
    }, 1000);
    assertEquals((await trees.copy({ ...MOVE, replace: false })).result.moved, 1);
    assertEquals([await readTree(trees.source), await readTree(trees.target)], [{}, { x: text }]);
  }
});

Deno.test("move: an identical file whose digest has a tag and no stamp is moved", async () => {
  let digests = 0;
  await using trees = await makeOutbox({ x: LARGE }, { x: LARGE }, async (request, respond) => {
    if (request.headers["want-repr-digest"] === undefined) return null;
    digests++;
    const [status, reason, { "file-stamp": _, ...headers }, body] = await respond();
    return [status, reason, headers, body];
  });
  assertEquals([(await trees.copy(MOVE)).removedPaths, digests], [["x"], 3]);
});

Deno.test("move: an empty outbox needs no request, and 33 small files two; their directory is synced", async () => {
  const requests: string[] = [];
  const count = ({ method, query }: Request) => {
    requests.push(`${method} ${query}`);
    return null;
  };
  await using trees = await makeOutbox({}, {}, count);
  await trees.copy(MOVE);
  assertEquals(requests, []);
  for (let i = 0; i < 33; i++) await Deno.writeTextFile(`${trees.source}/${i}`, "1");
  assertEquals((await trees.copy({ ...MOVE, dryRun: true })).result.moved, 33);
  assertEquals(requests, []);
  const synced = await recordSyncedPaths(trees.source, () => trees.copy(MOVE));
  assertSynced(trees.source, synced, ["."]);
  assertEquals(await readTree(trees.source), {});
  const bundles = ["digest", "put", "put"].map((kind) => `POST bundle=${kind}`);
  assertEquals(requests, ["PUT null", ...bundles]);
});

Deno.test("move: a copied file that can't be removed fails, and stays", async () => {
  const source = { small: "1", large: LARGE };
  await using trees = await makeOutbox(source);
  using _refusing = patch(Deno, "removeSync", (removeSync) => (path, options) => {
    if (!/(?:small|large)$/.test(`${path}`)) return removeSync(path, options);
    throw Object.assign(new Error(`${path} is busy`), { code: "EBUSY" });
  });
  const { outcomes, removedPaths } = await trees.copy(MOVE);
  assertEquals([outcomes, removedPaths], [{ small: "failed", large: "failed" }, []]);
  assertEquals([await readTree(trees.source), await readTree(trees.target)], [source, source]);
});

Deno.test("move: an add-only app that serves the source itself causes no file to be moved", async () => {
  const files = { x: "1", large: LARGE };
  await using trees = await makeOutbox(files);
  for (let call = 0; call < 2; call++) {
    await using serving = serve(new FilesApp(trees.source, { list: true, write: "add" }));
    const client = serving.makeClient();
    const { removedPaths } = await copyTree("upload", client, trees.source, "/", MOVE);
    assertEquals([removedPaths, await readTree(trees.source)], [[], files]);
  }
});

Deno.test("move: files that are copied before the server's disk is full are removed from the source, and reported", async () => {
  const bundleOf = (...statuses: number[]) => {
    const lines = statuses.map((status) => `${JSON.stringify({ status })}\n`);
    return new TextEncoder().encode(lines.join("") + BUNDLE_END);
  };
  const bundles = [bundleOf(201, 201, 507)];
  const files = { a: "1", b: "2", c: "3" };
  await using trees = await makeOutbox(files, {}, async ({ query }, respond) => {
    if (query !== "bundle=put") return null;
    await respond();
    const bytes = bundles.shift()!;
    return [200, "OK", { "content-type": BUNDLE_TYPE }, new BodyIter([bytes], bytes.length)];
  });
  const events: string[] = [];
  const onEvent = (event: TreeEvent) => {
    if ("path" in event) events.push(`${event.type} ${event.path}`);
  };
  const moving = uploadTree(trees.client, trees.source, "/tree/", { ...MOVE, onEvent });
  const { code, cause } = await assertRejects(() => moving, TransferError);
  assertEquals([code, (cause as TransferError).code], ["INCOMPLETE", "DISK_FULL"]);
  assertEquals(events, ["failed c", "copied a", "moved a", "copied b", "moved b"]);
  assertEquals(await readTree(trees.source), { c: "3" });
});

Deno.test("move: no file is removed after the signal is aborted", async () => {
  const texts = Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`${i}`, `text ${i}`]));
  await using trees = await makeOutbox(texts);
  const controller = new AbortController();
  using _clock = speedUpClock();
  const onEvent = (event: TreeEvent) => {
    if (event.type === "progress" && event.done > 0) controller.abort(new Error("enough"));
  };
  const { signal } = controller;
  await assertRejects(() => trees.copy({ ...MOVE, signal, onEvent }), Error, "enough");
  assertEquals([await readTree(trees.source), await readTree(trees.target)], [texts, texts]);
  if (Deno.build.os === "linux") assertEquals(await listOpenFiles(trees.source), []);
});

Deno.test({
  name: "no file of the source stays open, with or without move, after a retry or an abort",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const abort = new Error("enough");
    for (const options of [{}, MOVE]) {
      for (const failure of [null, new Error("the connection is cut"), abort]) {
        let requests = 0;
        const controller = new AbortController();
        await using trees = await makeOutbox({ x: "1", large: LARGE }, {}, async (request) => {
          if (failure === null || !isWrite(request) || requests++ > 0) return null;
          await request.body?.bytes();
          if (failure === abort) controller.abort(abort);
          throw failure;
        });
        const copying = trees.copy({ ...options, signal: controller.signal, connections: 1 });
        if (failure === abort) await assertRejects(() => copying, Error, "enough");
        else assertEquals((await copying).result.files, 2);
        assertEquals(await listOpenFiles(trees.source), []);
      }
    }
  },
});

/** Servers of the source itself: the served directory, and the URI of the source at the server. */
const OVERLAPS: readonly [label: string, served: string, uri: string][] = [
  ["serves the source", "in/out", "/"],
  ["serves a directory that the source is in", "in", "/out/"],
  ["serves the source by a link", "link", "/"],
];
const OVERLAPPING = { x: "1", empty: "", "d/large": LARGE };

for (const [label, served, uri] of OVERLAPS) {
  Deno.test(`move: no file is lost if the server ${label}`, async () => {
    for (const options of [{}, { replace: false }]) {
      await using dir = await createTempDir();
      await fill(`${dir.path}/in/out`, OVERLAPPING);
      if (HAS_LINKS) await makeLinks({ [`${dir.path}/link`]: "in/out" });
      const app = new FilesApp(`${dir.path}/${served}`, { list: true, write: true });
      await using serving = serve(app);
      const client = serving.makeClient();
      const source = `${dir.path}/in/out`;
      for (let pass = 0; pass < 2; pass++) {
        using _clock = setClockAhead(LATER * (pass + 1));
        const { result } = await copyTree("upload", client, source, uri, { ...MOVE, ...options });
        assertEquals([result.files, result.moved, result.failed], [0, 0, 3]);
        assertEquals(await readTree(source), { ...OVERLAPPING, d: null });
      }
    }
  });
}

Deno.test("move: no file is lost if files of both ends are hard links to the same inode", async () => {
  const texts = { x: "1", large: LARGE };
  await using trees = await makeOutbox(texts);
  for (const name of Object.keys(texts)) {
    await Deno.link(`${trees.source}/${name}`, `${trees.target}/${name}`);
  }
  await trees.copy(MOVE);
  assertEquals(await readTree(trees.target), texts);
});

Deno.test({
  name: "move: no file is lost if the target is a bind mount of the source (needs unshare)",
  ignore: !await canMount(),
  async fn() {
    await using dir = await createTempDir();
    await fill(`${dir.path}/source`, OVERLAPPING);
    await fill(dir.path, { target: null });
    const mount = 'mount --bind "$0/source" "$0/target" && exec "$@"';
    const through = [...IN_MOUNT_NAMESPACE, mount, dir.path];
    const job = { dir: dir.path, direction: "upload", options: MOVE, isSettled: true } as const;
    for (const { result } of await copyInProcess(through, [job])) {
      assertEquals([result.files, result.moved, result.failed], [0, 0, 3]);
    }
    assertEquals(await readTree(`${dir.path}/source`), { ...OVERLAPPING, d: null });
  },
});

Deno.test("move: without the permission to write to the source the whole call rejects, and no file is removed", async () => {
  await using trees = await makeTrees("upload", { a: "1", large: LARGE });
  const [, port] = trees.serving.address;
  await using running = new RunningProcess(
    makeProgramCommand("transfer.ts", {
      flags: ["--allow-net=127.0.0.1", `--allow-read=${trees.source}`],
      args: ["moveTree", `${port}`, trees.source, "/tree/"],
    }).spawn(),
  );
  const { success, stderr } = await running.waitForEnd();
  assert(!success && stderr.includes("NotCapable"), stderr);
  assertEquals(await readTree(trees.source), { a: "1", large: LARGE });
});

Deno.test({
  name:
    "move: a file that the target has by another name is replaced only by the same content (needs unshare, FUSE and python3-fusepy)",
  ...ignoreIf(await findOddDiskObstacle()),
  async fn() {
    await using dir = await createTempDir();
    const script = await makeOddDiskScript(dir.path, "fold /dev/null");
    const through = [...IN_MOUNT_NAMESPACE, script, dir.path];
    const first = {
      ...{ other: "first", same: "same", "d/x": "first" },
      ...{ "other large": LARGE + "1", "same large": LARGE },
    };
    const second = {
      ...{ Other: "2nd", Same: "same", "D/x": "2nd" },
      ...{ "Other large": LARGE + "2", "Same large": LARGE },
    };
    await fill(`${dir.path}/1/source`, { ...first, Twin: "one", twin: "two" });
    await fill(`${dir.path}/2/source`, second);
    for (const name of ["1", "2"]) await makeLinks({ [`${dir.path}/${name}/target`]: "../disk" });
    const job = { direction: "upload", options: MOVE, isSettled: true } as const;
    const jobs = ["1", "2"].map((name) => ({ ...job, dir: `${dir.path}/${name}` }));
    const [stripped, folded] = await copyInProcess(through, jobs);
    assertEquals(stripped!.result.moved, 6, Deno.inspect(stripped));
    assertEquals(stripped!.outcomes.twin, "failed");
    const expectedTree = { D: null, "D/x": "2nd", Other: "2nd", "Other large": LARGE + "2" };
    assertEquals(await readTree(`${dir.path}/2/source`), expectedTree, Deno.inspect(folded));
    assertEquals([folded!.result.moved, folded!.result.failed], [2, 3]);
    const { mounted: _mounted, ...backingTree } = await readTree(`${dir.path}/backing`);
    const expected = [null, "one", ...Object.values(first)];
    assertEquals(Object.values(backingTree).toSorted(), expected.toSorted());
  },
});

Deno.test("move: an error of onEvent rejects the call, and unreported files stay", async () => {
  await using trees = await makeOutbox({ a: LARGE, b: LARGE, c: "1" });
  const thrown = new Error("enough");
  const onEvent = ({ type }: TreeEvent) => {
    if (type === "plan") throw thrown;
  };
  assertEquals(await assertRejects(() => trees.copy({ ...MOVE, onEvent })), thrown);
  assertEquals(await readTree(trees.source), { a: LARGE, b: LARGE, c: "1" });
});

Deno.test("move: contradicting options cause a RangeError, and downloadTree has no such option", async () => {
  await using trees = await makeOutbox({ x: "1" }, { y: "2" });
  const rows: [UploadTreeOptions, string][] = [
    [{ delete: true }, "delete: with move: true it can't be set"],
    [{ compare: "digest" }, "compare: with move: true it can't be set"],
  ];
  for (const [options, message] of rows) {
    const invalidOptions = { ...MOVE, ...options } as UploadTreeOptions;
    await assertRejects(() => trees.copy(invalidOptions), RangeError, message);
  }
  // deno-lint-ignore no-explicit-any
  const wrong: any = { move: "yes" };
  await assertRejects(() => trees.copy(wrong), TypeError, "move");
  const download = () => downloadTree(trees.client, "/tree/", trees.source, MOVE);
  await assertRejects(download, TypeError, "move");
  assertEquals(await readTree(trees.source), { x: "1" });
  assertEquals(await readTree(trees.target), { y: "2" });
  assertEquals((await trees.copy({ move: false })).result.moved, 0);
  assertEquals(await readTree(trees.source), { x: "1" });
});
