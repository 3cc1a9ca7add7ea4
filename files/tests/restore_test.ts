/** `restoreTree`: a directory as it was at a time, from the versions that were kept. */
import { RestoreError, type RestoreEvent, restoreTree } from "@degu/degu/files";
import { VersionStore } from "@degu/internal/files/kept_versions.ts";
import { createTempDir, fill, readTree } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { assertSynced, recordSyncedPaths } from "@degu/testing/synced.ts";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { importMapFlags, runScript } from "@degu/testing/processes.ts";
import { KEPT, listPeriods, serveKeeping, startClock } from "./kept_files.ts";
import { withRandom } from "@degu/testing/random.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

type Tree = Record<string, string>;

/** Restores into a new directory, and returns its files and the events. */
async function restore(dir: string, at: number | string) {
  await using temporary = await createTempDir();
  const events: RestoreEvent[] = [];
  const options = {
    target: `${temporary.path}/new`,
    at: typeof at === "string" ? at : new Date(at),
    onEvent: (event: RestoreEvent) => void events.push(event),
  };
  const plan = await restoreTree(dir, { ...options, dryRun: true });
  const { target: _target, ...withoutTarget } = options;
  assertEquals(await restoreTree(dir, { ...withoutTarget, dryRun: true, onEvent() {} }), plan);
  const planned = events.splice(0);
  const result = await restoreTree(dir, options);
  assertEquals(plan, result);
  assertEquals(sortEvents(planned), sortEvents(events));
  const tree = result.files === 0 ? {} : await readFiles(options.target);
  return { result, events, tree };
}

const sortEvents = (events: readonly RestoreEvent[]) =>
  events.map((event) => JSON.stringify(event)).sort();

async function readFiles(dir: string): Promise<Tree> {
  const tree = await readTree(dir);
  return Object.fromEntries(
    Object.entries(tree).filter(([path, text]) => text !== null && !path.startsWith(".degu")),
  ) as Tree;
}

/** Serves an empty directory, with a clock that begins at a full hour. */
async function serveEmpty() {
  const clock = startClock();
  clock.advance(HOUR - Date.now() % HOUR);
  const files = await serveKeeping({}, 3000);
  const dispose = async () => {
    await files[Symbol.asyncDispose]();
    clock[Symbol.dispose]();
  };
  return { clock, files, [Symbol.asyncDispose]: dispose };
}

/** Serves a directory in which a file was replaced, and one deleted, after a time. */
async function serveReplaced() {
  const served = await serveEmpty();
  const { clock, files } = served;
  await files.put("d/a", "1");
  await files.put("b", "1");
  clock.advance(DAY);
  const at = Date.now();
  // The deletion first: after a written file, it would begin another period.
  await files.remove("b");
  await files.put("d/a", "2");
  clock.advance(HOUR);
  return { ...served, at, [Symbol.asyncDispose]: () => served[Symbol.asyncDispose]() };
}

Deno.test("a tree is restored as it was: replaced, deleted, renamed and new files", async () => {
  await using served = await serveEmpty();
  const { clock, files } = served;
  for (const path of ["replaced", "d/deleted", "d/old", "stays", "d/moved/1"]) {
    await files.put(path, path);
  }
  clock.advance(DAY);
  const at = Date.now();
  assertEquals(await files.put("replaced", "2"), 204);
  assertEquals(await files.remove("d/deleted"), 204);
  assertEquals(await files.rename("d/old", "renamed"), 201);
  assertEquals(await files.rename("d/moved/1", "e/1"), 201);
  assertEquals(await files.put("d/old", "another"), 201);
  assertEquals(await files.put("new", "new"), 201);
  clock.advance(DAY);
  await files.put("replaced", "3");
  const before = await readTree(files.root);
  const { tree, result, events } = await restore(files.root, at);
  assertEquals(tree, {
    "d/deleted": "d/deleted",
    "d/moved/1": "d/moved/1",
    "d/old": "d/old",
    replaced: "replaced",
    stays: "stays",
  });
  assertEquals([result.files, result.missing, result.failed], [5, 0, 0]);
  const absent = events.flatMap((event) => event.type === "absent" ? [event.path.join("/")] : []);
  assertEquals(absent.sort(), ["e/1", "new", "renamed"]);
  assertEquals(await readTree(files.root), before);
  // A directory below the root, of which no file stands there now.
  assertEquals((await restore(`${files.root}/d/moved`, at)).tree, { 1: "d/moved/1" });
});

Deno.test(
  "after random changes, a tree is restored as it was at each hour, and before each period",
  withRandom(async (random) => {
    await using served = await serveEmpty();
    const { clock, files } = served;
    const paths = ["a", "b", "c", "d/a", "d/b", "d/e/a", 'x\n"y', "ä/\u2028"];
    const states: { readonly at: number; readonly tree: Tree }[] = [];
    const log: string[] = [];
    for (let step = 0; step < 150; step++) {
      if (random.integer(3) === 0) {
        clock.advance((1 + random.integer(9)) * HOUR);
        states.push({ at: Date.now(), tree: await readFiles(files.root) });
        log.push(`-- ${states.length - 1}`);
      }
      const path = paths[random.integer(paths.length)]!;
      const encode = (text: string) => text.split("/").map(encodeURIComponent).join("/");
      const uri = encode(path);
      const existing = Object.keys(await readFiles(files.root));
      const from = existing[random.integer(existing.length)];
      const choice = random.integer(4);
      if (choice === 0 && existing.includes(path)) {
        log.push(`remove ${path}`, `${await files.remove(uri)}`);
      } else if (choice === 1 && from !== undefined && !existing.includes(path)) {
        log.push(`rename ${from} ${path}`, `${await files.rename(encode(from), uri)}`);
      } else log.push(`put ${path}`, `${await files.put(uri, `${step}`)}`);
    }
    clock.advance(HOUR);
    assert(listPeriods(files.root).length > 10);
    // Before the first period, nothing is known.
    for (const [index, { at, tree }] of states.entries()) {
      if (index === 0) continue;
      assertEquals((await restore(files.root, at)).tree, tree, `${index}\n${log.join("\n")}`);
      if (index % 5 > 0) continue;
      // The end of the hour, whatever this test has taken of it.
      assertEquals((await restore(files.root, new Date(at).setMinutes(59))).tree, tree);
    }
  }),
);

interface Accident {
  readonly name: string;
  readonly run: (files: Awaited<ReturnType<typeof serveKeeping>>) => Promise<unknown>;
}

const FILES_BEFORE = { kept: "1", replaced: "22", new: "333" };

const ACCIDENTS: readonly Accident[] = [
  {
    name: "deletes all files",
    run: async (files) => {
      for (const path of Object.keys(FILES_BEFORE)) await files.remove(path);
    },
  },
  { name: "deletes a file that was new", run: (files) => files.remove("new") },
  { name: "replaces a file that was new", run: (files) => files.put("new", "-") },
  {
    name: "replaces a file that was new, and deletes the others",
    run: async (files) => {
      await files.put("new", "-");
      await files.remove("kept");
      await files.remove("replaced");
    },
  },
];

for (const { name, run } of ACCIDENTS) {
  Deno.test(`nine minutes after the last change, the state before a peer ${name} is that of one of the last two periods`, async () => {
    await using served = await serveEmpty();
    const { clock, files } = served;
    await files.put("kept", "1");
    await files.put("replaced", "1");
    clock.advance(DAY);
    await files.put("replaced", "22");
    await files.put("new", "333");
    assertEquals(await readFiles(files.root), FILES_BEFORE);
    clock.advance(9 * MINUTE);
    await run(files);
    const states: Tree[] = [];
    for (const at of listPeriods(files.root).slice(-2)) {
      states.push((await restore(files.root, at)).tree);
    }
    const format = (tree: Tree) => JSON.stringify(Object.entries(tree).sort());
    assert(states.map(format).includes(format(FILES_BEFORE)), JSON.stringify(states));
  });
}

Deno.test("the state before the first change of a process is that of a period", async () => {
  await using dir = await createTempDir();
  const change = (minute: number, requests: readonly (readonly ["PUT" | "DELETE", string])[]) => {
    const script = `Date.now = () => ${Date.UTC(2026, 0, 31, 14, minute)};
      import { FilesApp } from "@degu/degu/files";
      import { mkreq } from "@degu/degu/misc";
      const app = new FilesApp("${dir.path}", { write: true, keep: 9 });
      const session = { user: "", ifTrusted: (step: () => void) => step(), signal: new AbortController().signal };
      for (const [method, path] of ${JSON.stringify(requests)}) {
        const body = method === "PUT" ? new TextEncoder().encode(path) : null;
        await app.handle(mkreq(method, path, {}, body), session);
      }`;
    return runScript(script, ["--allow-all", ...importMapFlags()], {});
  };
  await change(0, [["PUT", "/a"], ["PUT", "/b"]]);
  const count = listPeriods(dir.path).length;
  await change(9, [["PUT", "/a.encrypted"], ["DELETE", "/a"], ["PUT", "/b"]]);
  const { tree } = await restore(dir.path, listPeriods(dir.path)[count]!);
  assertEquals(tree, { a: "/a", b: "/b" });
});

Deno.test("if the clock was wrong, a time is refused with the periods around it, and each is restored by its name", async () => {
  await using served = await serveEmpty();
  const { clock, files } = served;
  const states: Tree[] = [];
  const put = async (text: string, milliseconds: number) => {
    clock.advance(milliseconds);
    states.push(await readFiles(files.root));
    await files.put("a", text);
    await files.put(text, text);
  };
  const start = Date.now();
  await put("1", 0);
  await put("2", 5 * DAY);
  await put("behind", -3 * DAY);
  await put("4", 4 * DAY);
  await put("ahead", 9 * DAY);
  await put("6", -8 * DAY);
  clock.advance(DAY);
  const periods = listPeriods(files.root);
  assertEquals(periods.length, 6);
  for (const [index, period] of periods.entries()) {
    assertEquals((await restore(files.root, period)).tree, states[index], period);
  }
  await restore(files.root, start);
  const rows = [[-1, "NO_STATE", 0], [1, "CLOCK", 0], [6, "CLOCK", 0], [8, "CLOCK", 3]] as const;
  for (const [days, code, first] of rows) {
    const error = await assertRejects(
      () => restore(files.root, start + days * DAY),
      RestoreError,
    );
    assertEquals([error.code, error.choices], [code, periods.slice(first)], `${days}`);
  }
  const error = await assertRejects(() => restore(files.root, "2.none"), RestoreError);
  assertEquals([error.code, error.choices], ["NO_STATE", periods.slice(3)]);
});

Deno.test("versions of hours that are still to come are not in order with the clock", async () => {
  await using served = await serveEmpty();
  const { clock, files } = served;
  await files.put("a", "1");
  clock.advance(HOUR);
  await files.put("a", "2");
  // So does another time zone than that of the server.
  clock.advance(-6 * HOUR);
  const error = await assertRejects(() => restore(files.root, Date.now()), RestoreError);
  assertEquals(error.code, "CLOCK");
  assertStringIncludes(error.message, "the hours of the kept versions and of the clock are not");
});

Deno.test("an hour of a clock that was not set is no time: a change of 1970 may have come after every time", async () => {
  await using served = await serveEmpty();
  const { clock, files } = served;
  const start = Date.now();
  const put = async (text: string, time: number) => {
    clock.advance(time - Date.now());
    await files.put("a", text);
    await files.put(text, text);
  };
  const in2019 = Date.parse("2019-06-01T12:00Z");
  await put("first-boot", 0);
  await put("set", start);
  await put("unset-again", in2019);
  await put("set-again", start + 2 * DAY);
  await put("last", start + 4 * DAY);
  clock.advance(DAY);
  const rows: [at: number, first: string | null][] = [
    [-HOUR, null],
    [0, null],
    [1000 * HOUR, null],
    [in2019, null],
    [start - DAY, null],
    [start + DAY, null],
    [start + 3 * DAY, "set-again"],
    [start + 5 * DAY, "last"],
  ];
  for (const [at, text] of rows) {
    if (text !== null) assertEquals((await restore(files.root, at)).tree.a, text);
    else {
      const error = await assertRejects(() => restore(files.root, at), RestoreError);
      assertEquals([error.code, error.choices.length], ["CLOCK", 5], `${new Date(at)}`);
      assertStringIncludes(error.message, "the clock was not set");
    }
  }
});

Deno.test("a restored file is a copy with the time and mode of its version, which it doesn't change", async () => {
  await using served = await serveReplaced();
  const { files, at } = served;
  await using dir = await createTempDir();
  const version = `${files.root}/${KEPT}/${listPeriods(files.root).at(-1)}/d/a`;
  await Deno.utime(
    version,
    new Date("2020-01-02T03:04:05.678Z"),
    new Date("2020-01-02T03:04:05.678Z"),
  );
  if (Deno.build.os !== "windows") await Deno.chmod(version, 0o640);
  const options = { target: `${dir.path}/new`, at: new Date(at) };
  const synced = await recordSyncedPaths(dir.path, () => restoreTree(files.root, options));
  assertSynced(dir.path, synced, [".", "./new", "./new/b", "./new/d", "./new/d/a"]);
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
  const signal = AbortSignal.abort(new Error("aborted"));
  const aborted = () => restoreTree(files.root, { target, at: new Date(at), signal });
  await assertRejects(aborted, Error, "aborted");
  assertEquals(Object.values(await readFiles(target)), [""], "the marker");
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
  await Deno.writeTextFile(`${target}/.restore-copy-123.degu-part`, "left by a killed process");
  const { files: count, unchanged } = await restoreTree(files.root, { target, at: new Date(at) });
  assert(unchanged >= 1 && count + unchanged === 2, `${count} and ${unchanged}`);
  assertEquals(await readFiles(target), { b: "1", "d/a": "1" });
  assertEquals([...Deno.readDirSync(target)].length, 2);
});

Deno.test("the target is new, empty, or of an interrupted call for the same directory and state", async () => {
  await using served = await serveReplaced();
  const { files, at } = served;
  await using dir = await createTempDir();
  await fill(dir.path, { "full/a": "1", file: "1", empty: null });
  const call = (target: string, from = files.root) =>
    restoreTree(from, { target, at: new Date(at) });
  for (const name of ["full", "file"]) {
    await assertRejects(() => call(`${dir.path}/${name}`), Deno.errors.AlreadyExists, "exists");
  }
  await call(`${dir.path}/empty`);
  await assertRejects(() => call(`${dir.path}/empty`), Deno.errors.AlreadyExists, "not empty");
  for (const target of [files.root, `${files.root}/x`, `${files.root}/${KEPT}/x`]) {
    await assertRejects(() => call(target), RangeError, "target: must not be in");
  }
  await assertRejects(
    () => call(`${files.root}/${KEPT}/x`, `${files.root}/d`),
    RangeError,
    "target: must not be in",
  );
});

/** Runs a function after the present files are listed. */
function runWhilePlanned(root: string, run: () => void): Disposable {
  let hasRun = false;
  return patch(Deno, "readDir", (readDir) => (path) => {
    const isOfVersions = `${path}`.startsWith(`${root}/${KEPT}`);
    if (!hasRun && isOfVersions && new Error().stack!.includes("plan")) {
      hasRun = true;
      run();
    }
    return readDir(path);
  });
}

Deno.test("a target that another program fills before the first copy is refused, and stays as it is", async () => {
  await using served = await serveReplaced();
  const { files, at } = served;
  await using dir = await createTempDir();
  const target = `${dir.path}/new`;
  const content = { b: "another", ".restore-1.degu-part": "" };
  using _run = runWhilePlanned(files.root, () => {
    Deno.mkdirSync(target);
    for (const [name, text] of Object.entries(content)) {
      Deno.writeTextFileSync(`${target}/${name}`, text);
    }
  });
  await assertRejects(
    () => restoreTree(files.root, { target, at: new Date(at) }),
    Deno.errors.AlreadyExists,
    "not empty",
  );
  const expected: Record<string, string | null> = content;
  assertEquals(await readTree(target), expected);
});

Deno.test("of two calls at once with one target, one is refused", async () => {
  await using served = await serveReplaced();
  const { files, at } = served;
  await using dir = await createTempDir();
  const target = `${dir.path}/new`;
  const call = () => restoreTree(files.root, { target, at: new Date(at) });
  const outcomes = await Promise.allSettled([call(), call()]);
  const errors = outcomes.flatMap((each) => each.status === "rejected" ? [each.reason] : []);
  assertEquals(errors.length, 1);
  assert(["Busy", "AlreadyExists"].includes(errors[0].name), `${errors[0]}`);
  assertEquals(await readFiles(target), { b: "1", "d/a": "1" });
});

Deno.test("if the disk is full, the call is continued, and only for the same state", async () => {
  await using served = await serveReplaced();
  const { files, at } = served;
  await using dir = await createTempDir();
  const target = `${dir.path}/new`;
  const call = () => restoreTree(files.root, { target, at: new Date(at) });
  {
    using _disk = patch(Deno, "copyFile", (copyFile) => async (from, to) => {
      if (`${from}`.endsWith("/b")) return await copyFile(from, to);
      throw Object.assign(new Error("No space left on device (os error 28)"), { code: "ENOSPC" });
    });
    await assertRejects(call, Error, "No space left on device");
  }
  const other = () => restoreTree(files.root, { target, at: new Date(Date.now()) });
  await assertRejects(other, Deno.errors.AlreadyExists, "exists");
  const { files: count, unchanged } = await call();
  assertEquals([count, unchanged], [1, 1]);
  assertEquals(await readFiles(target), { b: "1", "d/a": "1" });
});

Deno.test("a file that changes before its copy is restored from its new version", async () => {
  for (const isReplaced of [false, true]) {
    await using served = await serveReplaced();
    const { files } = served;
    await files.put("stays", "1");
    served.clock.advance(HOUR);
    await using dir = await createTempDir();
    const target = `${dir.path}/new`;
    let hasChanged = false;
    using _copy = patch(Deno, "copyFile", (copyFile) => async (from, to) => {
      if (!hasChanged && `${from}`.endsWith("/stays")) {
        hasChanged = true;
        const { mtime } = Deno.statSync(from);
        await (isReplaced ? files.put("stays", "2") : files.remove("stays"));
        // The size and the time are the same.
        if (isReplaced) Deno.utimeSync(from, mtime!, mtime!);
      }
      return await copyFile(from, to);
    });
    const { files: count } = await restoreTree(files.root, { target, at: new Date(Date.now()) });
    assertEquals([count, hasChanged], [2, true]);
    assertEquals(await readFiles(target), { "d/a": "2", stays: "1" });
  }
});

Deno.test("a file that a peer replaces while the present files are listed is restored as it was", async () => {
  for (const hour of [0, 1]) {
    await using served = await serveReplaced();
    const { clock, files } = served;
    await files.put("stays", "1");
    clock.advance(HOUR);
    const at = Date.now();
    await files.put("first", "1");
    clock.advance(hour * HOUR);
    await using dir = await createTempDir();
    const target = `${dir.path}/new`;
    let hasChanged = false;
    using _list = patch(Deno, "readDir", (readDir) =>
      async function* (path) {
        if (!hasChanged && path === `${files.root}/`) {
          hasChanged = true;
          assertEquals([await files.put("stays", "22"), await files.remove("d/a")], [204, 204]);
        }
        yield* readDir(path);
      });
    await restoreTree(files.root, { target, at: new Date(at) });
    assertEquals([await readFiles(target), hasChanged], [{ "d/a": "2", stays: "1" }, true]);
  }
});

Deno.test("if the versions are removed during the call, it rejects", async () => {
  await using served = await serveReplaced();
  const { files, at } = served;
  await using dir = await createTempDir();
  const target = `${dir.path}/new`;
  using _run = runWhilePlanned(files.root, () => Deno.removeSync(`${files.root}/${KEPT}/2.new`));
  const error = await assertRejects(
    () => restoreTree(files.root, { target, at: new Date(at) }),
    RestoreError,
    "were removed at the same time",
  );
  assertEquals(error.code, "NO_STATE");
  assertEquals([...Deno.readDirSync(dir.path)], []);
});

Deno.test("if a list is damaged, or is missing between others, the call rejects", async () => {
  await using served = await serveReplaced();
  const { clock, files, at } = served;
  await files.put("c", "1");
  clock.advance(HOUR);
  await files.put("e", "1");
  const [first, , , last] = listPeriods(files.root);
  const lists = `${files.root}/${KEPT}`;
  const check = async (name: string) => {
    for (const time of [at, first!]) {
      await assertRejects(() => restore(files.root, time), Deno.errors.InvalidData, name);
    }
  };
  await Deno.writeTextFile(`${lists}/4.new`, "");
  await check("4.new");
  await Deno.writeTextFile(`${lists}/4.new`, JSON.stringify(last));
  await Deno.remove(`${lists}/3.new`);
  await check("3.new");
});

Deno.test("a process that is late, after another one has changed the file in the next hour, makes no version", async () => {
  await using served = await serveReplaced();
  const { clock, files } = served;
  clock.advance(HOUR);
  await files.put("x", "1");
  const at = listPeriods(files.root).at(-1)!;
  const root = await Deno.realPath(files.root);
  let isLate = false;
  using _link = patch(Deno, "linkSync", (linkSync) => (from, to) => {
    if (!isLate) {
      isLate = true;
      clock.advance(HOUR);
      const otherProcess = new VersionStore(9, () => {});
      otherProcess.keep(root, "d/a", Deno.lstatSync(`${root}/d/a`), "replace", "anna");
      Deno.writeTextFileSync(`${root}/d/new`, "by the other process");
      Deno.renameSync(`${root}/d/new`, `${root}/d/a`);
    }
    linkSync(from, to);
  });
  assertEquals(await files.put("d/a", "late"), 409);
  assertEquals((await restore(files.root, at)).tree, { "d/a": "2" });
});

Deno.test("a path with another spelling, which the disk takes for the path of a version, is new", async () => {
  await using served = await serveReplaced();
  const { files } = served;
  await files.put("name", "1");
  served.clock.advance(HOUR);
  const fold = (path: string | URL) => `${path}`.replace(/NAME$/, "name");
  {
    using _lookups = patch(Deno, "lstatSync", (lstatSync) => (path) => lstatSync(fold(path)));
    using _paths = patch(
      Deno,
      "realPathSync",
      (realPathSync) => (path) => realPathSync(fold(path)),
    );
    assertEquals(await files.remove("name"), 204);
    assertEquals(await files.put("NAME", "2"), 201);
  }
  const [deletion = "", period = ""] = listPeriods(files.root).slice(-2);
  assertEquals((await restore(files.root, deletion)).tree, { "d/a": "2", name: "1" });
  assertEquals((await restore(files.root, period)).tree, { "d/a": "2" });
});

Deno.test("a file that was new and then replaced or deleted by another spelling is absent", async () => {
  for (const milliseconds of [0, HOUR]) {
    for (const isReplaced of [false, true]) {
      await using served = await serveReplaced();
      const { files, at } = served;
      await files.put("d/new", "1");
      const [, number] = listPeriods(files.root).at(-1)!.split("_");
      const list = `${files.root}/${KEPT}/${number}.new`;
      const lines = await Deno.readTextFile(list);
      served.clock.advance(milliseconds);
      if (isReplaced) await files.put("d/new", "2");
      served.clock.advance(HOUR);
      await files.remove("d/new");
      assert(lines.includes("d/new"));
      await Deno.writeTextFile(list, lines.replace("d/new", "D/NEW"));
      using _lookups = patch(
        Deno,
        "lstatSync",
        (lstatSync) => (path) => lstatSync(`${path}`.replace(/D\/NEW$/, "d/new")),
      );
      assertEquals((await restore(files.root, at)).tree, { b: "1", "d/a": "1" });
    }
  }
});

Deno.test("a new file is absent, although the disk lists it by another spelling", async () => {
  await using served = await serveReplaced();
  const { files, at } = served;
  await files.put("d/new", "1");
  const list = `${files.root}/${KEPT}/${listPeriods(files.root).at(-1)!.split("_")[1]}.new`;
  const lines = await Deno.readTextFile(list);
  assert(lines.includes("d/new"));
  await Deno.writeTextFile(list, lines.replace("d/new", "D/NEW"));
  using _lookups = patch(
    Deno,
    "lstatSync",
    (lstatSync) => (path) => lstatSync(`${path}`.replace(/D\/NEW$/, "d/new")),
  );
  assertEquals((await restore(files.root, at)).tree, { b: "1", "d/a": "1" });
});

Deno.test("if no file was there, no directory is made, and an empty one stays empty", async () => {
  await using served = await serveEmpty();
  const { files } = served;
  await files.put("a", "1");
  const [period] = listPeriods(files.root);
  await using dir = await createTempDir();
  for (const target of [`${dir.path}/new`, dir.path]) {
    const { files: count } = await restoreTree(files.root, { target, at: period! });
    assertEquals([count, [...Deno.readDirSync(dir.path)]], [0, []]);
  }
});

Deno.test("of two names that are one on the disk of the target, one fails, also in the next call", async () => {
  await using served = await serveEmpty();
  const { clock, files } = served;
  await files.put("d/a", "lower case");
  await files.put("d/A", "UPPER CASE");
  clock.advance(HOUR);
  const at = Date.now();
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
  const messages: string[] = [];
  const onEvent = (event: RestoreEvent) => {
    if (event.type === "failed") messages.push(`${event.error}`);
  };
  const call = () => restoreTree(files.root, { target, at: new Date(at), onEvent });
  const first = await call();
  assertEquals([first.files, first.failed], [1, 1]);
  const text = await Deno.readTextFile(`${target}/d/a`);
  const second = await call();
  assertEquals([second.files, second.unchanged, second.failed], [0, 1, 1]);
  assertEquals(await Deno.readTextFile(`${target}/d/a`), text);
  for (const message of messages) assertStringIncludes(message, "the disk takes two names for one");
});

Deno.test("without the permission to read a file the call rejects, and one that the disk can't read is missing", async () => {
  await using served = await serveReplaced();
  const path = `${await Deno.realPath(served.files.root)}/d/a`;
  let error: Error = new Deno.errors.NotCapable("no read access");
  using _failing = patch(Deno, "lstatSync", (lstatSync) => (each) => {
    if (each === path) throw error;
    return lstatSync(each);
  });
  await assertRejects(() => restore(served.files.root, Date.now()), Deno.errors.NotCapable);
  error = Object.assign(new Error("no name"), { code: "EILSEQ" });
  const { events } = await restore(served.files.root, Date.now());
  assertEquals(events, [{ type: "missing", path: ["d", "a"], reason: "unreadable" }]);
});

Deno.test("a directory without versions is refused, and arguments are checked", async () => {
  await using dir = await createTempDir();
  const target = `${dir.path}/new`;
  const call = (options: unknown) => () =>
    restoreTree(dir.path, options as Parameters<typeof restoreTree>[1]);
  const at = new Date();
  await assertRejects(call({ target, at }), RestoreError, "no earlier versions are kept");
  await assertRejects(call({ target, at: new Date(NaN) }), RangeError, "at: must be a valid date");
  await assertRejects(call({ target, at: new Date(Date.now() + DAY) }), RangeError, "at:");
  await assertRejects(call({ target }), TypeError, "at:");
  await assertRejects(call({ at }), TypeError, "target:");
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
    const { tree, events } = await restore(files.root, time);
    assertEquals(Object.values(tree).includes("outside"), false);
    const missing = events.filter(({ type }) => type === "missing");
    assertEquals(missing, [{ type: "missing", path: ["d"], reason: "no file" }]);
  }
});

Deno.test("what another program has changed stays changed, and a directory with versions of its own is reported", async () => {
  await using served = await serveReplaced();
  const { files } = served;
  assertEquals([await files.put("e/b", "1"), await files.remove("e/b")], [201, 204]);
  assertEquals(await files.put("e/b", "2"), 201);
  const time = served.at;
  served.clock.advance(HOUR);
  assertEquals(await files.remove("e/b"), 204);
  await fill(files.root, { new: "by another program", [`e/${KEPT}/1.new`]: "", "e/a": "1" });
  assertEquals((await restore(files.root, listPeriods(files.root).at(-1)!)).tree, {
    ...{ "d/a": "2", new: "by another program" },
  });
  const { tree, events } = await restore(files.root, time);
  assertEquals(tree, { b: "1", "d/a": "1", new: "by another program" });
  const missing = events.filter(({ type }) => type === "missing");
  assertEquals(missing, [{ type: "missing", path: ["e"], reason: "own versions" }]);
});

Deno.test("a killed process leaves entries of a change that did not take place, and a part of a line", async () => {
  await using served = await serveEmpty();
  const { clock, files } = served;
  for (const path of ["a", "b", "c"]) await files.put(path, path);
  clock.advance(DAY);
  const at = Date.now();
  {
    using _rename = patch(Deno, "renameSync", () => () => {
      throw Object.assign(new Error("killed"), { code: "EIO" });
    });
    assertEquals(await files.put("a", "2"), 500);
  }
  const [list] = [...Deno.readDirSync(`${files.root}/${KEPT}`)].map(({ name }) => name)
    .filter((name) => name === "2.new");
  await Deno.writeTextFile(`${files.root}/${KEPT}/${list}`, '\n"cut', { append: true });
  await files.put("new", "1");
  assertEquals((await restore(files.root, at)).tree, { a: "a", b: "b", c: "c" });
  clock.advance(DAY);
  assertEquals(await files.put("a", "3"), 204);
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
  await files.remove("c");
  const [at] = listPeriods(files.root);
  let part = `${files.root}/d`;
  using _patch = patch(Deno, "readDir", (readDir) => (path) => {
    const entries = readDir(path);
    return `${path}`.startsWith(part) ? readInPart(entries) : entries;
  });
  const { result, events } = await restore(files.root, at!);
  assertEquals(result.missing, 1);
  const missing = events.filter(({ type }) => type === "missing");
  assertEquals(missing, [{ type: "missing", path: ["d"], reason: "unreadable" }]);
  part = `${files.root}/${KEPT}`;
  await assertRejects(() => restore(files.root, at!), Error, "Input/output error");
});

Deno.test("a present file whose name no peer can use is restored", async () => {
  await using served = await serveReplaced();
  await Deno.writeTextFile(`${served.files.root}/..;y`, "local");
  const { tree } = await restore(served.files.root, served.at);
  assertEquals(tree, { "..;y": "local", b: "1", "d/a": "1" });
});

Deno.test("a repeated call doesn't replace files that were changed in its target", async () => {
  await using served = await serveReplaced();
  await using temporary = await createTempDir();
  const options = { target: `${temporary.path}/new`, at: new Date(served.at) };
  {
    // The disk is full after the first file.
    let renames = 0;
    using _rename = patch(Deno, "renameSync", (renameSync) => (from, to) => {
      if (++renames === 1) return renameSync(from, to);
      throw Object.assign(new Error("No space left on device (os error 28)"), { code: "ENOSPC" });
    });
    await assertRejects(() => restoreTree(served.files.root, options), Error, "No space left");
  }
  const path = Object.keys(await readFiles(options.target)).find((each) => !each.startsWith("."))!;
  await Deno.writeTextFile(`${options.target}/${path}`, "edited since then");
  const events: RestoreEvent[] = [];
  const onEvent = (event: RestoreEvent) => void events.push(event);
  const { failed } = await restoreTree(served.files.root, { ...options, onEvent });
  assertEquals(failed, 1);
  assertEquals(events.some(({ type }) => type === "failed"), true);
  assertEquals(await Deno.readTextFile(`${options.target}/${path}`), "edited since then");
});

Deno.test("a directory is refused if one above it also has versions of its files", async () => {
  await using served = await serveEmpty();
  const { files } = served;
  await files.put("sub/a", "1");
  const name = "2020-01-01T09_1";
  await fill(`${files.root}/sub/${KEPT}`, { "1.new": JSON.stringify(name), [`${name}/b`]: "1" });
  const error = await assertRejects(() => restore(`${files.root}/sub`, name), RestoreError);
  assertEquals([error.code, error.choices], ["OTHER_VERSIONS", []]);
});
