/** `restoreTree`: a directory as it stood at a time, from the versions that were kept. */
import { type RestoreEvent, restoreTree } from "@degu/files";
import { createTempDir, fill, readTree } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { runScript } from "@degu/testing/processes.ts";
import { importMapFlags } from "@degu/testing/programs.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { KEPT, listDays, listTimes, LOG, serveKeeping, startClock } from "./kept_files.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

type Tree = Record<string, string>;

/** Restores into a new directory, and returns its files and the events. */
async function restore(dir: string, at: Date | number, { target = "" } = {}) {
  await using temporary = await createTempDir();
  const events: RestoreEvent[] = [];
  const options = {
    target: target || `${temporary.path}/new`,
    at: new Date(at),
    onEvent: (event: RestoreEvent) => void events.push(event),
  };
  const plan = await restoreTree(dir, { ...options, dryRun: true });
  const planned = events.splice(0);
  const result = await restoreTree(dir, options);
  assertEquals(plan, result);
  assertEquals(sortEvents(planned), sortEvents(events));
  return { result, events, tree: await readFiles(options.target) };
}

const sortEvents = (events: readonly RestoreEvent[]) =>
  events.map((event) => JSON.stringify(event)).sort();

async function readFiles(dir: string): Promise<Tree> {
  const tree = await readTree(dir);
  return Object.fromEntries(
    Object.entries(tree).filter(([path, text]) => text !== null && !path.startsWith(".degu")),
  ) as Tree;
}

Deno.test("a tree is restored as it stood: replaced, deleted, renamed and new files", async () => {
  await using served = await serveEmpty();
  const { clock, files } = served;
  for (const path of ["replaced", "d/deleted", "d/old", "stays", "d/moved/1"]) {
    await files.put(path, path);
  }
  const at = Date.now();
  clock.advance(DAY);
  assertEquals(await files.put("replaced", "2"), 204);
  assertEquals(await files.remove("d/deleted"), 204);
  assertEquals(await files.rename("d/old", "renamed"), 201);
  assertEquals(await files.rename("d/moved/1", "e/1"), 201);
  assertEquals(await files.put("d/old", "another"), 201);
  assertEquals(await files.put("new", "new"), 201);
  clock.advance(DAY);
  clock.setCtimes();
  const before = await readTree(files.root);
  const { tree, result, events } = await restore(files.root, at);
  assertEquals(tree, {
    "d/deleted": "d/deleted",
    "d/moved/1": "d/moved/1",
    "d/old": "d/old",
    replaced: "replaced",
    stays: "stays",
  });
  assertEquals([result.files, result.doubtful, result.missing, result.gaps], [5, 0, 0, 0]);
  const absent = events.flatMap((event) => event.type === "absent" ? [event.path.join("/")] : []);
  assertEquals(absent, ["e/1", "new", "renamed"]);
  assertEquals(await readTree(files.root), before);
  // A directory below the root, of which no file stands there now.
  assertEquals((await restore(`${files.root}/d/moved`, at)).tree, { 1: "d/moved/1" });
});

/** Changes random files at random times, and returns the trees after each change. */
async function changeRandomly(
  files: Awaited<ReturnType<typeof serveKeeping>>,
  clock: ReturnType<typeof startClock>,
  { steps, renames }: { readonly steps: number; readonly renames: boolean },
): Promise<{ readonly time: number; readonly tree: Tree }[]> {
  const random = (count: number) => Math.floor(Math.random() * count);
  const paths = ["a", "b", "c", "d/a", "d/b", "d/e/a", 'x\n"y', "ä/\u2028"];
  const history = [{ time: Date.now(), tree: {} as Tree }];
  for (let step = 0; step < steps; step++) {
    clock.advance([MINUTE, 20 * MINUTE, HOUR, 7 * HOUR][random(4)]! * (0.5 + Math.random()));
    const tree = { ...history.at(-1)!.tree };
    const existing = Object.keys(tree);
    const path = paths[random(paths.length)]!;
    const choice = random(renames ? 4 : 3);
    const uri = path.split("/").map(encodeURIComponent).join("/");
    if (choice === 0 && path in tree) {
      assertEquals(await files.remove(uri), 204);
      delete tree[path];
    } else if (choice === 3 && existing.length > 0 && !(path in tree)) {
      const from = existing[random(existing.length)]!;
      const status = await files.rename(from, path);
      if (status === 201) {
        tree[path] = tree[from]!;
        delete tree[from];
      } else assertEquals(status, 409);
    } else {
      assertEquals(await files.put(uri, `${step}`), path in tree ? 204 : 201);
      tree[path] = `${step}`;
    }
    history.push({ time: Date.now(), tree });
  }
  clock.advance(HOUR);
  clock.setCtimes();
  return history;
}

type History = Awaited<ReturnType<typeof changeRandomly>>;

function treeAt(history: History, at: number): Tree {
  return history.findLast(({ time }) => time <= at)!.tree;
}

/** Checks that each difference from the model is of at most an hour, and is reported. */
function checkRestored(
  history: History,
  at: number,
  { tree, events }: { readonly tree: Tree; readonly events: readonly RestoreEvent[] },
): void {
  const expected = { ...treeAt(history, at) };
  const restored = { ...tree };
  for (const event of events) {
    if (event.type !== "restored" || event.doubt === null) continue;
    const path = event.path.join("/");
    const texts = history.filter(({ time }, index) =>
      time <= at && (history[index + 1]?.time ?? Infinity) > at - HOUR
    ).map((state) => state.tree[path]);
    assert(texts.includes(restored[path]), `${path} at ${new Date(at)}: ${JSON.stringify(event)}`);
    delete restored[path];
    delete expected[path];
  }
  assertEquals(restored, expected, `at ${new Date(at)}`);
}

/** Leaves only versions, as a disk on which no line could be written. */
function removeLogs(root: string): void {
  for (const day of listDays(root)) Deno.removeSync(`${day}/${LOG}`);
}

/** Restores a tree at random times of random days; returns the number of exact restores. */
async function restoreRandomDays(steps: number, hasLogs: boolean): Promise<number> {
  using clock = startClock();
  await using files = await serveKeeping({}, 3000);
  const history = await changeRandomly(files, clock, { steps, renames: hasLogs });
  if (!hasLogs) removeLogs(files.root);
  const start = history[1]!.time;
  let exactCount = 0;
  for (let round = 0; round < 20; round++) {
    const at = Math.floor(start + Math.random() * (history.at(-1)!.time - start));
    const restored = await restore(files.root, at);
    const { missing, failed, gaps } = restored.result;
    assertEquals([missing, failed, gaps], [0, 0, hasLogs ? 0 : 1]);
    if (!hasLogs) assertEquals(restored.events[0]!.type, "gap");
    checkRestored(history, at, restored);
    exactCount += restored.result.doubtful === 0 ? 1 : 0;
  }
  return exactCount;
}

Deno.test("after random days, a tree is restored as it stood at any time, exactly to the hour", async () => {
  assert(await restoreRandomDays(80, true) > 0);
});

Deno.test("without lines, the times of the files decide, exactly to the hour except for renames", async () => {
  await restoreRandomDays(60, false);
});

/** Serves a directory without files for an hour. */
async function serveEmpty() {
  const clock = startClock();
  const files = await serveKeeping({}, 30);
  clock.advance(HOUR);
  const dispose = async () => {
    await files[Symbol.asyncDispose]();
    clock[Symbol.dispose]();
  };
  return { clock, files, [Symbol.asyncDispose]: dispose };
}

/** Serves a directory in which a file was replaced, and returns the time before. */
async function serveReplaced() {
  const served = await serveEmpty();
  const { clock, files } = served;
  await files.put("d/a", "1");
  await files.put("b", "1");
  const at = Date.now();
  clock.advance(DAY);
  await files.put("d/a", "2");
  await files.remove("b");
  clock.advance(HOUR);
  clock.setCtimes();
  return { ...served, at, [Symbol.asyncDispose]: () => served[Symbol.asyncDispose]() };
}

Deno.test("a restored file is a copy with the time and mode of its version, which it doesn't change", async () => {
  await using served = await serveReplaced();
  const { files, at } = served;
  await using dir = await createTempDir();
  const version = `${listTimes([...listDays(files.root)].sort().at(-1)!)[0]}/d/a`;
  await Deno.utime(
    version,
    new Date("2020-01-02T03:04:05.678Z"),
    new Date("2020-01-02T03:04:05.678Z"),
  );
  if (Deno.build.os !== "windows") await Deno.chmod(version, 0o640);
  await restoreTree(files.root, { target: `${dir.path}/new`, at: new Date(at) });
  const [info, versionInfo] = [`${dir.path}/new/d/a`, version].map((path) => Deno.statSync(path));
  assert(info!.ino !== versionInfo!.ino);
  assertEquals([info!.mtime, info!.mode], [versionInfo!.mtime, versionInfo!.mode]);
  assertEquals(await readTree(`${dir.path}/new`), { b: "1", d: null, "d/a": "1" });
});

Deno.test("an interrupted call is continued, and leaves no temporary file", async () => {
  await using served = await serveReplaced();
  const { files, at } = served;
  await using dir = await createTempDir();
  const target = `${dir.path}/new`;
  const controller = new AbortController();
  const error = await assertRejects(() =>
    restoreTree(files.root, {
      target,
      at: new Date(at),
      signal: controller.signal,
      onEvent: ({ type }) => {
        if (type !== "restored") return;
        controller.abort(new Error("interrupted"));
        throw controller.signal.reason;
      },
    })
  );
  assertEquals((error as Error).message, "interrupted");
  await Deno.writeTextFile(`${target}/.restore-123.degu-part`, "left by a killed process");
  const { files: count, unchanged } = await restoreTree(files.root, { target, at: new Date(at) });
  assert(unchanged >= 1 && count + unchanged === 2, `${count} and ${unchanged}`);
  assertEquals(await readTree(target), { b: "1", d: null, "d/a": "1" });
  assertEquals([...Deno.readDirSync(target)].map(({ name }) => name).sort(), ["b", "d"]);
});

Deno.test("the target is new, empty, or of an interrupted call for the same directory and time", async () => {
  await using served = await serveReplaced();
  const { files, at } = served;
  await using dir = await createTempDir();
  await fill(dir.path, { "full/a": "1", file: "1", empty: null });
  const call = (target: string, time = at) =>
    restoreTree(files.root, { target, at: new Date(time) });
  await assertRejects(() => call(`${dir.path}/full`), Deno.errors.AlreadyExists, "not empty");
  await assertRejects(() => call(`${dir.path}/file`), Deno.errors.AlreadyExists, "exists");
  await call(`${dir.path}/empty`);
  await assertRejects(() => call(`${dir.path}/empty`), Deno.errors.AlreadyExists, "not empty");
  for (const target of [files.root, `${files.root}/x`, `${files.root}/${KEPT}/x`]) {
    await assertRejects(() => call(target), RangeError, "target: must not be in");
  }
  await assertRejects(
    () => restoreTree(`${files.root}/d`, { target: `${files.root}/${KEPT}/x`, at: new Date(at) }),
    RangeError,
    "target: must not be in",
  );
  const started = { dir: "/another", at: new Date(at).toISOString() };
  await fill(dir.path, { "begun/.restore.degu-part": JSON.stringify(started) });
  await assertRejects(
    () => call(`${dir.path}/begun`),
    Deno.errors.AlreadyExists,
    "an unfinished restore of /another",
  );
});

/** Runs a function while the next call looks for the files to restore. */
function runWhilePlanned(run: () => void): Disposable {
  let hasRun = false;
  return patch(Deno, "openSync", (openSync) => (path, options) => {
    if (!hasRun && `${path}`.endsWith(LOG)) {
      hasRun = true;
      run();
    }
    return openSync(path, options);
  });
}

Deno.test("a target that another program fills before the first copy is refused, and stays as it is", async () => {
  await using served = await serveReplaced();
  const { files, at } = served;
  await using dir = await createTempDir();
  const target = `${dir.path}/new`;
  const marker = JSON.stringify({ dir: "/another", at: new Date(at).toISOString() });
  const rows = [
    [{ b: "another" }, "not empty"],
    [{ b: "another", ".restore.degu-part": marker }, "an unfinished restore of /another"],
  ] as const;
  for (const [content, message] of rows) {
    {
      using _run = runWhilePlanned(() => {
        Deno.mkdirSync(target);
        for (const [name, text] of Object.entries(content)) {
          Deno.writeTextFileSync(`${target}/${name}`, text);
        }
      });
      await assertRejects(
        () => restoreTree(files.root, { target, at: new Date(at) }),
        Deno.errors.AlreadyExists,
        message,
      );
    }
    const expected: Record<string, string | null> = { ...content };
    assertEquals(await readTree(target), expected);
    await Deno.remove(target, { recursive: true });
  }
});

Deno.test("of two names that are one on the disk of the target, one fails, also in the next call", async () => {
  await using served = await serveEmpty();
  const { clock, files } = served;
  await files.put("d/a", "lower case");
  await files.put("d/A", "UPPER CASE");
  const at = Date.now();
  clock.advance(HOUR);
  await using dir = await createTempDir();
  const target = `${dir.path}/new`;
  const fold = (path: string | URL) =>
    `${path}`.startsWith(target)
      ? `${target}${`${path}`.slice(target.length).toLowerCase()}`
      : path;
  using _lookups = patch(Deno, "lstatSync", (lstatSync) => (path) => lstatSync(fold(path)));
  using _renames = patch(Deno, "renameSync", (renameSync) => (from, to) => {
    renameSync(fold(from), fold(to));
  });
  const call = () => restoreTree(files.root, { target, at: new Date(at) });
  const first = await call();
  assertEquals([first.files, first.failed], [1, 1]);
  const text = await Deno.readTextFile(`${target}/d/a`);
  const second = await call();
  assertEquals([second.files, second.unchanged, second.failed], [0, 1, 1]);
  assertEquals(await Deno.readTextFile(`${target}/d/a`), text);
});

Deno.test("a directory without versions is refused, and arguments are checked", async () => {
  await using dir = await createTempDir();
  const target = `${dir.path}/new`;
  const call = (options: unknown) => () =>
    restoreTree(dir.path, options as Parameters<typeof restoreTree>[1]);
  const at = new Date();
  await assertRejects(call({ target, at }), Deno.errors.NotFound, "no earlier versions are kept");
  await assertRejects(call({ target, at: new Date(NaN) }), RangeError, "at: must be a valid date");
  await assertRejects(call({ target, at: new Date(Date.now() + DAY) }), RangeError, "at:");
  await assertRejects(call({ target }), TypeError, "at:");
  await assertRejects(call({ at }), TypeError, "target:");
});

Deno.test("a line that was cut is ignored, and the line after it counts", async () => {
  await using served = await serveReplaced();
  const { clock, files, at } = served;
  const log = `${[...listDays(files.root)].sort().at(-1)}/${LOG}`;
  await Deno.writeTextFile(log, '\n{"time":"2026-', { append: true });
  await files.put("d/a", "3");
  clock.advance(HOUR);
  await Deno.writeTextFile(log, '\n{"time":"2026-', { append: true });
  const { tree, result } = await restore(files.root, at);
  assertEquals([tree, result.doubtful], [{ b: "1", "d/a": "1" }, 0]);
});

Deno.test("a change counts at its time, also if its day has another date in this time zone", async () => {
  await using dir = await createTempDir();
  // In Los Angeles, it is still the day before.
  const line = {
    time: "2026-03-02T05:00:00.000Z",
    by: "peer",
    what: "delete",
    path: "a",
    version: "2026-03-01/21_peer",
  };
  await fill(dir.path, {
    [`root/${KEPT}/2026-03-01/21_peer/a`]: "1",
    [`root/${KEPT}/2026-03-01/${LOG}`]: `\n${JSON.stringify(line)}`,
  });
  const script = `import { restoreTree } from "@degu/files";
    const options = { target: "${dir.path}/new", at: new Date("2026-03-02T04:00:00Z") };
    const { files } = await restoreTree("${dir.path}/root", options);
    console.log(files, await Deno.readTextFile("${dir.path}/new/a"));`;
  for (const TZ of ["America/Los_Angeles", "Asia/Tokyo"]) {
    assertEquals(await runScript(script, ["--allow-all", ...importMapFlags()], { TZ }), "1 1\n");
    await Deno.remove(`${dir.path}/new`, { recursive: true });
  }
});

Deno.test("a file that a link leads to is no file of the directory", async () => {
  await using served = await serveReplaced();
  const { files, at } = served;
  await using dir = await createTempDir();
  await files.put("d/c", "1");
  await Deno.rename(`${files.root}/d`, `${dir.path}/d`);
  await Deno.writeTextFile(`${dir.path}/d/c`, "outside");
  await makeLinks({ [`${files.root}/d`]: `${dir.path}/d` });
  for (const time of [at, Date.now()]) {
    const { tree } = await restore(files.root, time);
    assertEquals(Object.values(tree).includes("outside"), false);
  }
});

Deno.test("a line that can't be written fails no change, is logged, and is a gap of the restore", async () => {
  await using served = await serveEmpty();
  const { clock, files } = served;
  await files.put("a", "1");
  const at = Date.now();
  clock.advance(HOUR);
  {
    using _disk = patch(Deno, "openSync", (openSync) => (path, options) => {
      if (!`${path}`.endsWith(LOG)) return openSync(path, options);
      throw Object.assign(new Error("No space left on device"), { code: "ENOSPC" });
    });
    assertEquals([await files.put("a", "2"), await files.put("b", "2")], [204, 201]);
    assertEquals(files.warnings.filter((text) => text.includes("log of namings")).length, 1);
  }
  clock.advance(HOUR);
  assertEquals(await files.put("c", "3"), 201);
  clock.advance(HOUR);
  clock.setCtimes();
  const { tree, events } = await restore(files.root, at);
  assertEquals(tree, { a: "1" });
  const found = events.map((event) => event.type === "gap" ? event.reason : event.type);
  assertEquals(found, ["unwritten", "absent", "absent", "restored"]);
  assertEquals(
    events.flatMap((event) => event.type === "absent" ? [[event.path[0], event.isLogged]] : []),
    [["b", false], ["c", true]],
  );
});

Deno.test("a change by another program is reported: its file may not have been there", async () => {
  await using served = await serveReplaced();
  const { files, at } = served;
  await fill(files.root, { new: "by another program" });
  const { tree, events } = await restore(files.root, at);
  assertEquals(tree, { b: "1", "d/a": "1" });
  const absent = events.filter(({ type }) => type === "absent");
  assertEquals(absent, [{ type: "absent", path: ["new"], isLogged: false }]);
});

Deno.test("a version that was removed is missing", async () => {
  await using served = await serveReplaced();
  const { files, at } = served;
  await Deno.remove(`${listTimes([...listDays(files.root)].sort().at(-1)!)[0]}/d/a`);
  const { tree, events } = await restore(files.root, at);
  assertEquals(tree, { b: "1" });
  const missing = events.filter(({ type }) => type === "missing");
  assertEquals(missing, [{ type: "missing", path: ["d", "a"], reason: "no-version" }]);
});

Deno.test("a killed process leaves a line without a naming, which changes nothing", async () => {
  await using served = await serveEmpty();
  const { clock, files } = served;
  for (const path of ["a", "b", "c"]) await files.put(path, path);
  const at = Date.now();
  clock.advance(DAY);
  {
    // The version and the line exist; the naming, and what follows an error, don't take place.
    using _rename = patch(Deno, "renameSync", () => () => {
      throw Object.assign(new Error("killed"), { code: "EIO" });
    });
    assertEquals(await files.put("a", "2"), 500);
  }
  const log = `${[...listDays(files.root)].sort().at(-1)}/${LOG}`;
  const text = await Deno.readTextFile(log);
  assert(text.includes('"cancel"'));
  const [, version] = /"version":"([^"]*)"/.exec(text)!;
  await Deno.link(`${files.root}/a`, `${files.root}/${KEPT}/${version}/a`);
  await Deno.writeTextFile(log, text.replace(/\n[^\n]*"cancel"[^\n]*/, ""));
  assertEquals(await Deno.readTextFile(`${files.root}/a`), "a");
  clock.advance(DAY);
  assertEquals((await restore(files.root, at)).tree, { a: "a", b: "b", c: "c" });
});

/** Synchronous reading ignores this error of the disk, and returns a part of the names. */
async function* readInPart(entries: AsyncIterable<Deno.DirEntry>) {
  for await (const entry of entries) {
    yield entry;
    throw new Error("Input/output error (os error 5)");
  }
}

Deno.test("a directory that the disk can only read in part is reported, and versions of which only a part can be read reject", async () => {
  await using files = await serveKeeping({ "d/a": "1", "d/b": "2", c: "3" });
  const at = Date.now();
  await files.remove("c");
  let part = `${files.root}/d`;
  using _patch = patch(Deno, "readDir", (readDir) => (path) => {
    const entries = readDir(path);
    return `${path}`.startsWith(part) ? readInPart(entries) : entries;
  });
  const { result, events } = await restore(files.root, at);
  assertEquals(result.missing, 1);
  const missing = events.filter(({ type }) => type === "missing");
  assertEquals(missing, [{ type: "missing", path: ["d"], reason: "unreadable" }]);
  part = `${files.root}/${KEPT}`;
  await assertRejects(() => restore(files.root, at), Error, "Input/output error");
});
