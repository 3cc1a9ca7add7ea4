/**
 * downloadTree and uploadTree with failures: changed files, obstacles, peers that leave, and
 * incomplete copies.
 */
import { Client, type Requester } from "@degu/degu/client";
import {
  downloadTree,
  StatusError,
  TransferError,
  type TreeEvent,
  uploadTree,
  type UploadTreeOptions,
} from "@degu/degu/files";
import { setClockAhead, speedUpClock } from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { readTree } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { makeFifo, makeLinks } from "@degu/testing/special_files.ts";
import {
  assertTransferError,
  type ChangeResponse,
  randomBytes,
} from "@degu/testing/transferring.ts";
import { DIRECTIONS, makeTrees, type TreeDirection } from "@degu/testing/trees.ts";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { realPathSync } from "@degu/internal/internal/paths.ts";
import { isTransient } from "@degu/degu";
import { listText } from "./directory_entries.ts";

/** Registers a test in both directions; Deno reports it at the line of the call. */
const test = Deno.test.each(DIRECTIONS);

Deno.test("download: a signal that aborts at any moment rejects with its unchanged reason", async () => {
  await using trees = await makeTrees("download", { large: "x".repeat(70_000), small: "s" });
  for (let moment = 1, isComplete = false; !isComplete; moment++) {
    await Deno.remove(trees.target, { recursive: true });
    await Deno.mkdir(trees.target);
    const controller = new AbortController();
    let count = 0;
    const countCalls = <Args extends unknown[], R>(fn: (...args: Args) => R) => (...args: Args) => {
      if (++count === moment) controller.abort(new Error("enough"));
      return fn(...args);
    };
    using _lstat = patch(Deno, "lstatSync", countCalls);
    using _open = patch(Deno, "openSync", countCalls);
    using _realPath = patch(Deno, "realPathSync", countCalls);
    const failure = await trees.copy({ signal: controller.signal }).then(() => null, String);
    isComplete = count < moment;
    if (failure !== null) assertEquals(failure, "Error: enough", `${moment}`);
  }
});

Deno.test("upload: with replace: false a file whose connection broke after its arrival counts as copied, unless another has its name", async () => {
  let requests = 0;
  let target = "";
  const source = { a: "a", b: "b" };
  await using trees = await makeTrees("upload", source, {}, async ({ query }, respond) => {
    if (query !== "bundle=put" || ++requests > 1) return null;
    await respond();
    Deno.writeTextFileSync(`${target}/b`, "theirs");
    throw new Error("the connection is cut here");
  });
  target = trees.target;
  const { outcomes, errors: { b } } = await trees.copy({ replace: false });
  assertEquals([outcomes, requests], [{ a: "copied", b: "failed" }, 2]);
  assert(b instanceof TransferError && b.code === "EXISTS", String(b));
  assertEquals(await readTree(trees.target), { a: "a", b: "theirs" });
});

test("%s: an error that concerns all files ends the transfers of other connections", async (direction) => {
  const requestWaiting = Promise.withResolvers<void>();
  const never = Promise.withResolvers<void>();
  const texts = { a: "a".repeat(100_000), b: "b".repeat(100_000) };
  await using trees = await makeTrees(direction, texts, {}, async ({ uri, method }) => {
    if (!["/tree/a", "/tree/b"].includes(uri)) return null;
    if (uri === "/tree/a") requestWaiting.resolve();
    await (uri === "/tree/a" ? never : requestWaiting).promise;
    return [401, "Refused", {}, method === "HEAD" ? null : new Uint8Array(0)];
  });
  const error = await assertRejects(() => trees.copy({ connections: 2 }), StatusError);
  never.resolve();
  assertEquals(error.status, 401);
});

test("%s: if the disk refuses a file after the entry in its way was deleted, the source stays, and the next call copies the file", async (direction) => {
  const text = "a".repeat(100_000);
  const source = { a: text, b: text, "c/d": "d" };
  await using trees = await makeTrees(direction, source, { "a/old": "", "b/old": "", c: "old" });
  const options = { delete: true } as const;
  const { deletedPaths, result } = await trees.copy(options);
  assertEquals(deletedPaths.toSorted(), ["a", "a/old", "b", "b/old", "c"]);
  assertEquals([result.failed, result.deletionsSkipped, result.complete], [4, null, false]);
  assertEquals(await readTree(trees.target), {});
  let failedCount = 0;
  {
    // The disk refuses every new name of a file.
    const isNaming = (path: string | URL) => /\/(?:a|b|c\/d)$/.test(`${path}`);
    const fail = () => {
      failedCount++;
      throw Object.assign(new Error("the disk is broken"), { code: "EIO" });
    };
    using _links = patch(Deno, "linkSync", (linkSync) => (from, to) => {
      return isNaming(to) ? fail() : linkSync(from, to);
    });
    using _renames = patch(Deno, "renameSync", (renameSync) => (from, to) => {
      return isNaming(to) ? fail() : renameSync(from, to);
    });
    const { outcomes, result } = await trees.copy(options);
    assertEquals(outcomes, { a: "failed", b: "failed", "c/d": "failed" }, Deno.inspect(result));
  }
  assert(failedCount >= 3);
  assertEquals(await readTree(trees.source), { ...source, c: null });
  const { outcomes } = await trees.copy(options);
  assertEquals(outcomes, { a: "copied", b: "copied", "c/d": "copied" });
});

for (const isReplaced of [false, true]) {
  const name = isReplaced
    ? "a file that is replaced on every second request is not retried forever"
    : "a file is retried as long as each broken connection transfers more bytes";
  test(`%s: ${name}`, async (direction) => {
    const controller = new AbortController();
    let requests = 0;
    let previousRequest: Promise<unknown> = Promise.resolve();
    await using trees = await makeTrees(direction, {}, {}, async (request, respond) => {
      if (request.path.at(-1) === "large" && request.method !== "HEAD") {
        requests++;
        if (isReplaced && requests === 20) controller.abort(new Error("it goes on and on"));
        if (isReplaced && requests > 1 && requests % 2 === 1) {
          Deno.writeFileSync(`${trees.source}/../new`, randomBytes(2_000_000));
          Deno.renameSync(`${trees.source}/../new`, `${trees.source}/large`);
        }
      }
      // Process requests sequentially, so that the server detects a cut connection before the next
      // request for the offset.
      await previousRequest;
      const response = respond();
      previousRequest = response.catch(() => {});
      return await response;
    });
    await Deno.writeFile(`${trees.source}/large`, randomBytes(2_000_000));
    using _later = setClockAhead();
    // A restart of the file must also be reported.
    using _slow = speedUpClock();
    await using relay = new CuttingRelay(trees.serving.address);
    relay.cutEachAfter(500_000);
    const { signal } = controller;
    const { outcomes, events } = await trees.copy({ signal }, new Client(relay.address));
    assertEquals(outcomes, { large: isReplaced ? "failed" : "copied" });
    // The bytes of a failed file don't count.
    const done = isReplaced ? 0 : 2_000_000;
    assertEquals(events.at(-1), { type: "progress", done, total: 2_000_000 });
    assert(requests > 4 || isReplaced, `${requests}`);
    const isSame = (await readTree(trees.target)).large === (await readTree(trees.source)).large;
    assertEquals(isSame, !isReplaced);
  });
}

Deno.test("download: a file is requested once more after each request that has transferred further bytes", async () => {
  let requests = 0;
  await using trees = await makeTrees("download", { large: "x".repeat(300_000) }, {}, (request) => {
    const isGet = request.method === "GET" && request.uri === "/tree/large";
    if (isGet && [3, 4].includes(++requests)) throw new Error("cut");
    return null;
  });
  using _later = setClockAhead(10_000);
  await using relay = new CuttingRelay(trees.serving.address);
  relay.cutEachAfter(100_000);
  const { outcomes } = await trees.copy({ connections: 1 }, new Client(relay.address));
  assertEquals([outcomes, requests > 3], [{ large: "copied" }, true]);
});

Deno.test("download: a file whose name is taken after the list isn't requested, and its part is removed", async () => {
  const source = { small: "1", large: LARGE };
  for (const [isFile, outcome] of [[true, "unchanged"], [false, "failed"]] as const) {
    const requests: string[] = [];
    await using trees = await makeTrees("download", source, {}, ({ method, uri, query }) => {
      const isOfFile = method === "GET" && uri === "/tree/large" || query === "bundle=get";
      if (isOfFile) requests.push(uri);
      return null;
    });
    await Deno.writeTextFile(`${trees.target}/.large.degu-part`, "old");
    const onEvent = (event: TreeEvent) => {
      if (event.type !== "plan") return;
      for (const [name, text] of Object.entries(source)) {
        if (isFile) Deno.writeTextFileSync(`${trees.target}/${name}`, text);
        else Deno.mkdirSync(`${trees.target}/${name}`);
      }
    };
    const { outcomes } = await trees.copy({ onEvent });
    assertEquals([outcomes, requests], [{ small: outcome, large: outcome }, []]);
    assertEquals(Object.keys(await readTree(trees.target)), ["large", "small"]);
  }
});

Deno.test("download: no entry is deleted that the disk takes for a skipped entry in another case", async () => {
  await using trees = await makeTrees("download", { b: "1" }, { a: "1", b: "1" });
  await makeLinks({ [`${trees.source}/A`]: "b" });
  const other = `${realPathSync(trees.target)}/A`;
  using _folding = patch(Deno, "lstatSync", (lstatSync) => (path) => {
    return lstatSync(path === other ? `${trees.target}/a` : path);
  });
  const { deletedPaths, result } = await trees.copy({ delete: true });
  assertEquals([deletedPaths, result.deletionsSkipped], [[], "spelling"]);
});

Deno.test("download: a file whose part another process has locked fails alone; an unlocked part is removed", async () => {
  await using trees = await makeTrees("download", { a: "a", b: "b", c: "c".repeat(70_000) });
  for (const name of ["a", "b", "c"]) {
    await Deno.writeTextFile(`${trees.target}/.${name}.degu-part`, "old");
  }
  const lockedParts = ["a", "c"].map((name) => {
    const file = Deno.openSync(`${trees.target}/.${name}.degu-part`, { write: true });
    file.lockSync(true);
    return file;
  });
  const { outcomes, errors } = await trees.copy();
  for (const file of lockedParts) file.close();
  assertEquals(outcomes, { a: "failed", b: "copied", c: "failed" });
  for (const error of Object.values(errors)) {
    assert(error instanceof TransferError && error.code === "IN_USE", String(error));
  }
  assertEquals((await trees.copy()).result.files, 2);
  assertEquals(Object.keys(await readTree(trees.target)), ["a", "b", "c"]);
});

test("%s: if a directory can't be listed again, its obstacles stay, and each path fails once", async (direction) => {
  const accessError = Object.assign(new Deno.errors.PermissionDenied("closed"), {
    code: "EACCES",
  });
  const target = { "sub/a": "old", "sub/c": "c" };
  const source = { "sub/a/b": "new", "sub/c": "longer" };
  await using trees = await makeTrees(direction, source, target);
  let isListed = false;
  using _closed = patch(Deno, "readDir", (readDir) => (path) => {
    const isSubdirectory = `${path}` === realPathSync(`${trees.target}/sub`);
    if (isSubdirectory && isListed) throw accessError;
    isListed ||= isSubdirectory;
    return readDir(path);
  });
  const { outcomes, deletedPaths, result } = await trees.copy({ delete: true });
  const expectedOutcomes = { sub: "failed", "sub/a": "failed", "sub/a/b": "failed" };
  assertEquals(outcomes, { ...expectedOutcomes, "sub/c": "copied" });
  assertEquals([result.failed, deletedPaths], [3, []]);
  const expectedTree = { sub: null, "sub/a": "old", "sub/c": "longer" };
  assertEquals(await readTree(trees.target), expectedTree);
});

Deno.test("download: leftover parts of small files are removed, unless they are links, or another process has locked them", async () => {
  await using trees = await makeTrees("download", { a: "a", "d/b": "b" }, { d: null });
  const [freePart, lockedPart, deepPart] = ["", "", "d/"].map((directory, i) =>
    `${trees.target}/${directory}.small-0123456789abcde${i}-${i}.degu-part`
  );
  for (const path of [freePart, lockedPart, deepPart]) await Deno.writeTextFile(path!, "old");
  const link = ".small-0123456789abcdef-9.degu-part";
  await makeLinks({ [`${trees.target}/${link}`]: "a" });
  const lock = Deno.openSync(lockedPart!, { write: true });
  // A shared lock also counts.
  lock.lockSync(false);
  await trees.copy({ dryRun: true });
  assertEquals(Deno.statSync(freePart!).size, 3);
  await trees.copy();
  lock.close();
  const remaining = Object.keys(await readTree(trees.target));
  assertEquals(remaining, [".small-0123456789abcde1-1.degu-part", link, "a", "d", "d/b"]);
  await trees.copy();
  assertEquals(Object.keys(await readTree(trees.target)), [link, "a", "d", "d/b"]);
});

test("%s: leftover parts are deleted with their directory, and a locked part stays", async (direction) => {
  await using trees = await makeTrees(direction, { a: "a" }, {
    "d/.x.degu-part": "x",
    "e/f/.y.degu-part": "y",
  });
  using lockedPart = await Deno.open(`${trees.target}/e/f/.y.degu-part`, { write: true });
  lockedPart.lockSync(true);
  const { deletedPaths, outcomes, errors } = await trees.copy({ delete: true });
  assertEquals(deletedPaths, ["d"]);
  // Their parent directories stay, because they aren't empty.
  assertEquals(outcomes, { a: "copied", "e/f": "failed" });
  const error = errors["e/f"];
  assertEquals((error as TransferError).code, "IN_USE");
  const expectedNames = ["a", "e", "e/f", "e/f/.y.degu-part"];
  assertEquals(Object.keys(await readTree(trees.target)), expectedNames);
});

/** Returns a function that replaces the directory `d` of a target by a link to the outside. */
async function prepareExchange(target: string): Promise<() => void> {
  await Deno.mkdir(`${target}/../outside`);
  await Deno.utime(`${target}/../outside`, 1, 1);
  await makeLinks({ [`${target}/../link`]: "../outside" });
  return () => {
    Deno.renameSync(`${target}/d`, `${target}/../exchanged`);
    Deno.renameSync(`${target}/../link`, `${target}/d`);
  };
}

Deno.test("download: no part is written through a link that has replaced a directory while the call yielded", async () => {
  await using trees = await makeTrees("download", { "d/a": "a", "d/b": "b" }, { d: null });
  const { target } = trees;
  const exchange = await prepareExchange(target);
  let time = performance.now();
  // The time slice ends after a part has been opened.
  using _clock = patch(performance, "now", () => () => time);
  using _opening = patch(Deno, "openSync", (openSync) => (path, options) => {
    if (`${path}`.includes("/.small-")) time += 10;
    return openSync(path, options);
  });
  using patched = patch(Deno, "lstat", (lstat) => (path) => {
    if (!Array.from(Deno.readDirSync(`${target}/d`)).length) return lstat(path);
    patched[Symbol.dispose]();
    exchange();
    return lstat(path);
  });
  assertEquals((await trees.copy()).outcomes, { "d/a": "failed", "d/b": "failed" });
  assertEquals((await Deno.stat(`${target}/../outside`)).mtime, new Date(1000));
});

Deno.test("download: a small file stays locked until it has its name, so that no process removes it as a leftover", async () => {
  await using trees = await makeTrees("download", { a: "a", b: "b" });
  const areLocked: boolean[] = [];
  using _linking = patch(Deno, "linkSync", (linkSync) => (from, to) => {
    using file = Deno.openSync(from, { write: true });
    areLocked.push(file.tryLockSync(true));
    linkSync(from, to);
  });
  await trees.copy({ replace: false });
  assertEquals(areLocked, [false, false]);
});

Deno.test("download: if too many files are open, small files are requested once more, and then fail alone", async () => {
  for (const [code, maxOpen] of [["EMFILE", 2], ["ENFILE", 2], ["EROFS", 1]] as const) {
    let requests = 0;
    await using trees = await makeTrees("download", { small: "a" }, {}, ({ method }) => {
      if (method === "POST") requests++;
      return null;
    });
    using _failing = patch(Deno, "openSync", (openSync) => (path, options) => {
      if (!`${path}`.includes("/.small-")) return openSync(path, options);
      throw Object.assign(new Error("it can't be opened"), { code });
    });
    const { outcomes, errors } = await trees.copy();
    assertEquals([outcomes, requests], [{ small: "failed" }, maxOpen], code);
    assertEquals((errors.small as Error).message, "it can't be opened");
    const { message } = await catchIncomplete(() => trees.copy({ partial: false }));
    assertStringIncludes(message, `"small": it can't be opened`);
  }
});

Deno.test("a failed file is logged if no event reports it", async () => {
  await using trees = await makeTrees("upload", { x: "1" }, { "x/y": "2" });
  for (const [onEvent, count] of [[undefined, 1], [() => {}, 0]] as const) {
    const lines: string[] = [];
    using _console = patch(console, "warn", () => (line: string) => void lines.push(line));
    const options = { partial: true, onEvent };
    const { failed } = await uploadTree(trees.client, trees.source, "/tree/", options);
    assertEquals([failed, lines.length], [1, count]);
    assert(lines.every((line) => line.startsWith('"x": ')), lines.join());
  }
});

Deno.test("the log line of a failed file escapes control characters of its error", async () => {
  await using trees = await makeTrees("upload", { x: "1".repeat(1_000_000) }, {});
  using connection = await trees.client.connect();
  const requester: Requester = connection;
  const client: Requester = {
    request(method, ...rest) {
      if (method !== "PUT") return requester.request(method, ...rest);
      throw new TransferError("CHANGED", "of a peer: \x1b[2J\nforged line");
    },
  };
  const lines: string[] = [];
  using _console = patch(console, "warn", () => (line: string) => void lines.push(line));
  await uploadTree(client, trees.source, "/tree/", { partial: true });
  assertEquals(lines, ['"x": TransferError: of a peer: \\u{1b}[2J\n    forged line']);
});

// An incomplete copy rejects, unless `partial` is set.

type Trees = Awaited<ReturnType<typeof makeTrees>>;

/** Copies a tree with the default options of a caller. */
function copy({ direction, client, source, target }: Trees, options: UploadTreeOptions = {}) {
  return direction === "download"
    ? downloadTree(client, "/tree/", target, options)
    : uploadTree(client, source, "/tree/", options);
}

const catchIncomplete = (copying: () => Promise<unknown>) =>
  assertTransferError(copying, "INCOMPLETE");

const LARGE = "l".repeat(70_000);
const onEvent = () => {};

test("%s: a call with a failed file copies the rest and rejects; with partial: true it resolves", async (direction) => {
  await using trees = await makeTrees(direction, { x: "1", y: "2", z: "3" }, {
    "x/a": "2",
    "y/a": "",
  });
  const dryRunResult = await copy(trees, { dryRun: true, onEvent });
  assertEquals([dryRunResult.files, dryRunResult.failed], [1, 2]);
  const errors: unknown[] = [];
  const error = await catchIncomplete(() =>
    copy(trees, {
      onEvent: (event) => void (event.type === "failed" && errors.push(event.error)),
    })
  );
  const { files, failed, deletionsSkipped } = error.result!;
  assertEquals([files, failed, deletionsSkipped], [1, 2, null]);
  assertEquals(errors.length, 2);
  assertEquals(error.cause, errors[0]);
  assertStringIncludes(error.message, "2 entries could not be copied or deleted; the first: ");
  assertStringIncludes(error.message, (errors[0] as Error).message);
  assertEquals(isTransient(error), false);
  const singleError = await catchIncomplete(() =>
    copy(trees, { filter: { file: ({ name }) => name !== "y" }, onEvent })
  );
  const problem = '1 entry could not be copied or deleted: "x": a directory';
  assertStringIncludes(singleError.message, problem);
  const partial = await copy(trees, { partial: true, onEvent });
  assertEquals([partial.unchanged, partial.failed], [1, 2]);
});

test("%s: an empty source that would delete all entries of the target rejects the call", async (direction) => {
  await using trees = await makeTrees(direction, {}, { "old/a": "1" });
  const error = await catchIncomplete(() => copy(trees, { delete: true, onEvent }));
  const { failed, deletionsSkipped } = error.result!;
  assertEquals([failed, deletionsSkipped], [1, "over half"]);
  assertEquals((error.cause as TransferError).code, "OVER_HALF");
  assertStringIncludes(
    error.message,
    "the source has no files to copy, and entries of the target would be deleted, so no",
  );
  assertEquals(isTransient(error), false);
  for (const options of [{ dryRun: true }, { partial: true }, { compare: "digest" as const }]) {
    const { failed, deletionsSkipped } = await copy(trees, {
      ...{ delete: true, partial: true, onEvent },
      ...options,
    });
    assertEquals([failed, deletionsSkipped], [1, "over half"]);
  }
  assertEquals((await copy(trees)).deletionsSkipped, null);
  assertEquals((await copy(trees, { delete: true, deleteAll: true })).deleted, 2);
  const secondResult = await copy(trees, { delete: true });
  assertEquals(secondResult.deletionsSkipped, null, "no superfluous entry remains");
});

/** Makes trees whose large files are interrupted until a function is called. */
async function makeBreaking(direction: TreeDirection, target: Record<string, string> = {}) {
  let isCut = true;
  const cut: ChangeResponse = ({ method, path }) => {
    if (isCut && method !== "HEAD" && path.at(-1) === "large") throw new Error("it breaks off");
    return null;
  };
  const trees = await makeTrees(direction, { large: LARGE, x: "1" }, target, cut);
  return Object.assign(trees, { mend: () => void (isCut = false) });
}

test("%s: the error of a call is transient exactly if the error of each failed file is", async (direction) => {
  await using trees = await makeBreaking(direction);
  const error = await catchIncomplete(() => copy(trees, { onEvent }));
  const { files, failed } = error.result!;
  assertEquals([files, failed, isTransient(error), isTransient(error.cause)], [1, 1, true, true]);
  await using otherTrees = await makeBreaking(direction, { "x/a": "1" });
  const mixedError = await catchIncomplete(() => copy(otherTrees, { onEvent }));
  assertEquals([mixedError.result!.failed, isTransient(mixedError)], [2, false]);
});

Deno.test("download: a source that can't be listed completely rejects the call", async () => {
  const target = { old: "1" };
  await using trees = await makeTrees(
    "download",
    { a: "1" },
    target,
    async ({ query }, respond) => {
      if (query !== "tree") return null;
      const [status, reason, headers] = await respond();
      const modified = "2026-01-02T03:04:05.678Z";
      const list = listText([
        { path: ["a"], kind: "file", size: 1, modified },
        { path: ["b"], kind: "other", size: 0, modified, reason: "unreadable" },
        { end: true },
      ]);
      return [status, reason, headers, new TextEncoder().encode(list)];
    },
  );
  const error = await catchIncomplete(() => copy(trees, { delete: true, onEvent }));
  assertEquals([error.result!.files, error.result!.deletionsSkipped], [1, "incomplete"]);
  assertStringIncludes(error.message, '(deletionsSkipped: "incomplete")');
});

test("%s: a dry run is complete only if it finds no difference", async (direction) => {
  await using trees = await makeTrees(direction, { "d/a": "1" }, { old: "2" });
  const isComplete = async (options: UploadTreeOptions) =>
    (await copy(trees, { ...options, compare: "digest" })).complete;
  assertEquals(await isComplete({ dryRun: true }), false, "it would copy");
  assertEquals(await isComplete({}), true);
  assertEquals(await isComplete({ dryRun: true, delete: true }), false, "it would delete");
  assertEquals(await isComplete({ delete: true }), true);
  assertEquals(await isComplete({ dryRun: true, delete: true }), true);
});

test("%s: an error names the entry in the way, and whether the next call copies the file", async (direction) => {
  const rows: [source: string, target: string, kind: string, other: string][] = [
    ["a", "a/b", "directory", "file"],
    ["a/b", "a", "file", "directory"],
  ];
  for (const [source, target, kind, other] of rows) {
    await using trees = await makeTrees(direction, { [source]: "1" }, { [target]: "22" });
    const obstacle = `a ${kind} has this name at the target`;
    const kept = await trees.copy();
    assertStringIncludes(`${kept.errors["a"]}`, `"a": ${obstacle}`);
    assertEquals((kept.errors["a"] as TransferError).code, "IN_THE_WAY");
    const deleted = await trees.copy({ delete: true });
    const next = `; if this run deletes the ${kind}, the next run copies the ${other}`;
    assertStringIncludes(`${deleted.errors["a"]}`, obstacle + next);
  }
  await using trees = await makeTrees(direction, { a: "1" });
  if (!await makeFifo(`${trees.target}/a`)) return;
  const { errors } = await trees.copy();
  assertStringIncludes(`${errors["a"]}`, '"a": a pipe, a socket or a device has this name');
});

test("%s: the error of a call that would delete most files of the target has their number", async (direction) => {
  const names = Array.from({ length: 16 }, (_, index) => `${index}`);
  const target = Object.fromEntries(names.map((name) => [`old/${name}`, "1".repeat(20)]));
  const source = Object.fromEntries(
    names.slice(0, 5).map((name) => [`new/${name}`, "1".repeat(20)]),
  );
  // Only files of the same size and time count as renamed. One file stays.
  source.other = source.same = target.same = "1";
  await using trees = await makeTrees(direction, source, target);
  for (const path of Object.keys(source)) await Deno.utime(`${trees.source}/${path}`, 1, 1);
  for (const path of Object.keys(target)) await Deno.utime(`${trees.target}/${path}`, 1, 1);
  const { events, result } = await trees.copy({ delete: true });
  assertEquals([result.deletionsSkipped, result.failed, result.files], ["over half", 1, 0]);
  const [failed] = events.filter((event) => event.type === "failed");
  const { code, message } = failed!.error as TransferError;
  assertEquals([code, failed!.path, failed!.at], ["OVER_HALF", [], "target"]);
  const problem = "11 of 17 files would be deleted (5 others count as renamed), more than stay, ";
  assertEquals(message, `${problem}so no file is copied or deleted`);
});

test("%s: ten files are deleted although fewer stay, and more if as many stay", async (direction) => {
  for (const [deleted, staying] of [[10, 1], [11, 11]] as const) {
    const makeFiles = (count: number, name: string) =>
      Object.fromEntries(Array.from({ length: count }, (_, i) => [`${name}${i}`, name]));
    const source = makeFiles(staying, "new");
    const target = { ...makeFiles(deleted, "superfluous"), ...source };
    await using trees = await makeTrees(direction, source, target);
    const { result } = await trees.copy({ delete: true });
    assertEquals([result.deleted, result.deletionsSkipped], [deleted, null]);
  }
});
