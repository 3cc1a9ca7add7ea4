/** degu sync, and the reports of all commands that copy trees. */
import { formatAddress } from "@degu/degu/base";
import { AgentFiles, parseObjects } from "./agent_files.ts";
import type { RunningAgent } from "@degu/testing/agents.ts";
import { setClockAhead, skipPauses, speedUpClock } from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { patch } from "@degu/testing/patching.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { HAS_LINKS, makeFifo, makeLinks, makeNonUtf8Name } from "@degu/testing/special_files.ts";
import { randomBytes } from "@degu/testing/transferring.ts";
import { fill, listNames, readTree, waitForFile } from "@degu/testing/directories.ts";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

/** Makes each timeout of a duration last until `end()` is called. */
function stepTimeouts(milliseconds: number) {
  const { setTimeout } = globalThis;
  let sleepStart = Promise.withResolvers<() => void>();
  globalThis.setTimeout = ((run: () => void, duration = 0, ...args: []) => {
    if (duration !== milliseconds) return setTimeout(run, duration, ...args);
    sleepStart.resolve(run);
    return 0;
  }) as typeof setTimeout;
  return {
    /** Waits until a timeout has begun. */
    begun: async () => void await sleepStart.promise,
    /** Ends the timeout, and waits until the next one has begun. */
    end: async () => {
      const run = await sleepStart.promise;
      sleepStart = Promise.withResolvers();
      run();
      await sleepStart.promise;
    },
    [Symbol.dispose]: () => void (globalThis.setTimeout = setTimeout),
  };
}

const SETTLING = "skipped: still being written, or modified just now; a later run copies it";

/** Called with each printed text. */
type OnText = (agent: RunningAgent, to: "stdout" | "stderr", text: string) => unknown;

type Direction = "from a peer" | "to a peer";
type Tree = Readonly<Record<string, string | null>>;

/**
 * Makes a source and a target directory, and the command that makes the target equal to the source.
 * In messages, the two are `from:` and `to:`.
 */
async function setUp(direction: Direction, from: Tree, to: Tree = {}, devices?: AgentFiles) {
  const files = devices ?? await AgentFiles.start();
  const { share, inbox, local } = files;
  const [source, target, ...both] = direction === "from a peer"
    ? [`${share}/from`, `${local}/to`, "camera:from", `${local}/to`] as const
    : [`${local}/from`, `${inbox}/to`, `${local}/from`, "camera:to"] as const;
  for (const [dir, tree] of [[source, from], [target, to]] as const) {
    await Deno.remove(dir, { recursive: true }).catch(() => {});
    await Deno.mkdir(dir);
    await fill(dir, tree);
  }
  const replacePaths = (text: string) => {
    const patterns = both.map((path) => new RegExp(`${path}(/|(?=[:, ;\n]))`, "g")) as [
      RegExp,
      RegExp,
    ];
    return text.replaceAll(patterns[0], "from:").replaceAll(patterns[1], "to:");
  };
  return {
    files,
    source,
    target,
    sync: async (options: readonly string[] = [], onText: OnText = () => {}) => {
      // These tests compare each path.
      await using agent: RunningAgent = files.start(["sync", "--verbose", ...options, ...both], {
        onText: (to, text) => onText(agent, to, text),
      });
      const { code, stdout, stderr } = await agent.waitForEnd();
      const lines = (text: string) => replacePaths(text).split("\n").slice(0, -1);
      const findMessages = (kind: string) =>
        lines(stderr).flatMap((line) => line.startsWith(kind) ? line.slice(kind.length) : []);
      const results = lines(stdout);
      const notes = findMessages("").filter((line) => !line.startsWith("degu: "));
      return {
        code,
        results,
        notes,
        errors: findMessages("degu: error: "),
        warnings: findMessages("degu: warning: "),
        objects: options.includes("--json") ? results.map((line) => JSON.parse(line)) : [],
        /** The summary without its duration and the target. */
        summary: notes.at(-1)?.replace(/ in \d+:\d\d/, "").replace(/ (?:into|in) to:/, ""),
      };
    },
    [Symbol.asyncDispose]: () => files[Symbol.asyncDispose](),
  };
}

/** Tests both directions, if the program treats them differently. */
function test(name: string, fn: (direction: Direction) => Promise<void>): void {
  for (const direction of ["from a peer", "to a peer"] as const) {
    Deno.test(`sync ${direction}: ${name}`, () => fn(direction));
  }
}

const TREE = { "a": "1", "b/c": "22", "b/日本": "3", "e/f": null, "x": "same size" };

test("new and changed files are copied, once; --delete removes the rest", async (direction) => {
  await using setup = await setUp(direction, TREE);
  const { source, target, sync } = setup;
  const first = await sync(["--json"]);
  assertEquals([first.code, first.summary], [0, "4 files copied, 13 B"]);
  assertMatch(first.notes.at(-1)!, /^4 files copied into to:, 13 B in /);
  // The object has the same fields as for a single file.
  const sha256 = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b";
  const result = { bytes: 1, total: 1, resumedFrom: 0, reused: 0, sha256 };
  const copied = first.objects.find(({ to }) => to === "to:a");
  assertEquals(copied, { from: "from:a", to: "to:a", ...result });
  assertEquals(await readTree(target), await readTree(source));
  const second = await sync(["--delete", "--json"]);
  assertEquals([second.results, second.notes], [[], ["4 up to date in to:"]]);
  await fill(source, { "x": "SAME SIZE", "new/n": "n" });
  await fill(target, { "old/o/o": "o", "old/p": null, "z": "z" });
  assertEquals((await sync()).results.toSorted(), ["to:new/n", "to:x"]);
  assertEquals((await readTree(target))["z"], "z");
  await sync(["--delete"]);
  assertEquals(await readTree(target), await readTree(source));
});

Deno.test("sync from a peer: a dry run prints the planned actions", async () => {
  await using setup = await setUp("from a peer", { "a": "12" }, { "old/b": "3" });
  const before = await readTree(setup.target);
  const dry = ["--dry-run", "--delete"];
  const { code, results, summary } = await setup.sync(dry);
  const deletions = ["would delete to:old/", "would delete to:old/b"];
  assertEquals(results, ["would copy from:a to to:a (new, 2 B)", ...deletions]);
  assertEquals([code, summary], [0, "1 file would be copied, 2 B; 2 would be deleted"]);
  const { objects } = await setup.sync(["--json", ...dry]);
  assertEquals([objects[0], objects.at(-1)], [
    { action: "copy", from: "from:a", to: "to:a", size: 2, replaces: false, dryRun: true },
    { action: "delete", path: "to:old/b", dryRun: true },
  ]);
  assertEquals(await readTree(setup.target), before);
});

Deno.test("sync to a peer: a dry run tells new files from changed files, with their sizes", async () => {
  const from = { "b": "22", "a": "333", "same": "1", "new/c": "1" };
  await using setup = await setUp("to a peer", from, { "a": "1", "same": "1" });
  const { results, summary } = await setup.sync(["--dry-run", "--checksum"]);
  assertEquals(results, [
    "would copy from:a to to:a (changed, 3 B)",
    "would copy from:b to to:b (new, 2 B)",
    "would copy from:new/c to to:new/c (new, 1 B)",
  ]);
  assertEquals(summary, "3 files would be copied, 6 B; 1 not to copy");
});

Deno.test("sync to a peer: --checksum compares contents, whatever the times", async () => {
  const [from, to] = [{ "a": "old", "b": "new" }, { "a": "old", "b": "old" }];
  await using setup = await setUp("to a peer", from, to);
  const { source, target, sync } = setup;
  for (const [dir, time] of [[source, 1000], [target, 2000]] as const) {
    await Deno.utime(`${dir}/a`, time, time);
    await Deno.utime(`${dir}/b`, 1000, 1000);
  }
  // Without --checksum, a file of the same size and time counts as identical.
  const dry = await sync(["--dry-run"]);
  assertEquals([dry.results, dry.notes], [[], ["2 not to copy in to:"]], "the time of a differs");
  assertEquals((await sync(["--checksum"])).results, ["to:b"]);
  assertEquals(await readTree(target), { "a": "old", "b": "new" });
  assertEquals((await Deno.stat(`${target}/a`)).mtime, new Date(2_000_000));
});

test("--exclude and the local .deguignore leave files out, at both ends", async (direction) => {
  const list = { ".deguignore": "\ufeff# what is made anew\r\n*.o\n/build/\n!kept.o\n" };
  const from = {
    ...{ "a.o": "1", "sub/b.o": "2", "kept.o": "3", "build/c": "4", "sub/build/d": "5" },
    ...{ "..a/x.tmp": "", "..a/b": "6", "A.TMP": "7", "notes": "8" },
  };
  const to = { "old.o": "9", "build/e": "10", "old": "11", "x.tmp": "12" };
  await using setup = await setUp(direction, from, to);
  const { source, target, sync } = setup;
  const local = direction === "from a peer" ? target : source;
  await fill(local, list);
  const excludes = ["--exclude", "*.tmp", "--exclude", "notes"];
  const { summary, warnings } = await sync(["--delete", ...excludes]);
  const [count, bytes] = direction === "from a peer" ? [4, 4] : [5, 48];
  assertEquals([summary, warnings], [`${count} files copied, ${bytes} B; 1 deleted`, []]);
  assertEquals(await readTree(target), {
    ...list,
    ...{ "..a": null, "..a/b": "6", "A.TMP": "7", "build": null, "build/e": "10" },
    ...{ "kept.o": "3", "old.o": "9", "sub": null, "sub/build": null, "sub/build/d": "5" },
    "x.tmp": "12",
  });
  await Deno.remove(`${local}/.deguignore`);
  await Deno.mkdir(`${local}/.deguignore`);
  const { code, errors: [problem] } = await sync(["--delete"]);
  assertEquals(code, 1);
  assertStringIncludes(problem!, "it must be a file of UTF-8");
  assertEquals((await readTree(target))["old.o"], "9");
  // A dangling link, such as a link to a disk that is not mounted.
  await Deno.remove(`${local}/.deguignore`);
  if (HAS_LINKS) {
    await makeLinks({ [`${local}/.deguignore`]: "none" });
    assertEquals((await sync(["--delete"])).code, 1);
    assertEquals((await readTree(target))["old.o"], "9");
    await Deno.remove(`${local}/.deguignore`);
  }
  await Deno.writeFile(`${local}/.deguignore`, new Uint8Array([0xff, 0xfe, 0x2a, 0, 0x0a, 0]));
  assertEquals((await sync(["--delete"])).code, 1);
  assertEquals((await readTree(target))["old.o"], "9");
});

test("a .deguignore that an editor saves during the command ends it before the first change", async (direction) => {
  const to = { "old.o": "1", "b": "2" };
  await using setup = await setUp(direction, { "a": "3" }, to);
  const { source, target, sync } = setup;
  const local = direction === "from a peer" ? target : source;
  const path = `${local}/.deguignore`;
  // The editor truncates the file before it writes, and finishes after the lists were received.
  await Deno.writeTextFile(path, "");
  let reads = 0;
  using _editor = patch(Deno, "readFileSync", (readFileSync) => (given) => {
    if (given === path && ++reads === 2) Deno.writeTextFileSync(path, "*.o\n");
    return readFileSync(given);
  });
  const { code, errors, results } = await sync(["--delete"]);
  assertEquals([code, results], [1, []]);
  const [message, ...others] = errors.map((error) => error.replace(/from:|to:/, `${local}/`));
  assertStringIncludes(message!, `${JSON.stringify(path)} has changed since it was read: `);
  assertEquals(others, []);
  const { ".deguignore": _, ...tree } = await readTree(target);
  assertEquals(tree, to);
  assertEquals((await sync(["--delete"])).code, 0);
  assertEquals((await readTree(target))["old.o"], "1");
});

Deno.test("sync from a peer: a .deguignore of the peer has no effect, and neither replaces nor deletes the local file", async () => {
  const from = { ".deguignore": "*\n", "a": "1", "sub/.deguignore": "*\n" };
  await using setup = await setUp("from a peer", from);
  const { files, source, target, sync } = setup;
  const first = await sync(["--delete"]);
  assertEquals([first.code, first.warnings], [0, [
    "from:.deguignore: skipped: an ignore list is not downloaded",
  ]]);
  const { ".deguignore": _, ...copied } = await readTree(source);
  assertEquals(await readTree(target), copied);
  await fill(target, { ".deguignore": "*.o\n", "b.o": "2" });
  await Deno.remove(`${source}/.deguignore`);
  assertEquals((await sync(["--delete"])).warnings, []);
  assertEquals(await readTree(target), { ...copied, ".deguignore": "*.o\n", "b.o": "2" });
  await fill(source, { ".deguignore": "x\n" });
  await files.runToSuccess("get", "-r", "camera:from", `${target}/..`);
  assertEquals(await Deno.readTextFile(`${target}/../from/a`), "1");
  assertEquals((await listNames(`${target}/../from`)).toSorted(), ["a", "sub"]);
});

Deno.test("sync to a peer: a .deguignore in an inbox has no effect, with a warning", async () => {
  await using setup = await setUp("to a peer", { "a": "1" });
  const { files, inbox } = { files: setup.files, inbox: setup.files.inbox };
  await fill(files.local, { "project/.deguignore": "*\n", "project/a": "1" });
  await files.runToSuccess("put", "-r", `${files.local}/project`, "camera:");
  // The viewer forwards the files that it received.
  const root = `${inbox}/project`;
  const { stderr } = await files.runToSuccess("sync", root, "camera:again");
  assertStringIncludes(
    stderr,
    `"${root}/.deguignore" has no effect, because peers can write it: use --exclude`,
  );
  assertEquals(await listNames(`${inbox}/again`), [".deguignore", "a"]);
});

Deno.test("sync from a peer: --settled skips files that were just modified, with a warning, and a later run copies them", async () => {
  const from = { "done": "1", "d/now": "22", "d/z": "4" };
  await using setup = await setUp("from a peer", from, { "d/now": "old", "z": "3" });
  const { source, target, sync } = setup;
  await Deno.utime(`${source}/done`, 1000, 1000);
  const result = await sync(["--settled", "900", "--delete"]);
  assertEquals([result.code, result.errors], [0, []]);
  const first = `from:d/now, and 1 other file: ${SETTLING}`;
  assertEquals(result.warnings.map((each) => each.replace("d/z,", "d/now,")), [first]);
  assertEquals(result.summary, "1 file copied, 1 B; 1 deleted; 2 skipped");
  assertEquals(await readTree(target), { "d": null, "d/now": "old", "done": "1" });
  const dry = await sync(["--settled", "900", "--dry-run", "--json", "--checksum"]);
  assertEquals([dry.code, dry.objects], [0, []]);
  await Deno.utime(`${source}/d/now`, 1000, 1000);
  const second = await sync(["--settled", "900"]);
  assertEquals(second.results, ["to:d/now"]);
  assertEquals(second.warnings, [`from:d/z: ${SETTLING}`]);
  assertEquals((await sync()).summary, "1 file copied, 1 B; 2 up to date");
});

Deno.test("sync to a peer: a file in place of a directory, and the reverse, are deleted only with --delete", async () => {
  const to = { "a": "file", "c/deep/e": "directory", "old": "4" };
  await using setup = await setUp("to a peer", { "a/b": "1", "c": "2", "d": "3" }, to);
  const { source, target, sync } = setup;
  const { code, objects, errors, summary } = await sync(["--json"]);
  const nameProblem = "has this name at the target";
  assertEquals(errors.toSorted().slice(1), [
    `from:a/b: a parent directory could not be created at the target`,
    `from:a: a file ${nameProblem}`,
    `from:c: a directory ${nameProblem}`,
  ]);
  const error = { code: "ALREADY_EXISTS", message: `a directory ${nameProblem}` };
  const failed = { from: "from:c", to: "to:c", error };
  assertEquals(objects.filter(({ from }) => from === "from:c"), [failed]);
  assertEquals([code, summary], [1, "1 file copied, 1 B"]);
  assertEquals(await readTree(target), { ...to, "c": null, "c/deep": null, "d": "3" });
  // The first run deletes the entries in the way, and the second run copies.
  const result = await sync(["--delete"]);
  assertEquals([result.code, result.summary], [1, "1 up to date; 5 deleted"]);
  assertEquals(result.errors.toSorted().slice(1), [
    "from:a/b: a parent directory could not be created at the target",
    "from:a: a file has this name at the target; if this run deletes the file, the next run copies the directory",
    "from:c: a directory has this name at the target; if this run deletes the directory, the next run copies the file",
  ]);
  assertEquals(await readTree(target), { "d": "3" });
  const next = await sync(["--delete"]);
  assertEquals([next.code, next.summary], [0, "2 files copied, 2 B; 1 up to date"]);
  assertEquals(next.results.toSorted(), ["to:a/b", "to:c"]);
  assertEquals(await readTree(target), await readTree(source));
});

Deno.test("sync needs two directories, one of them on another device", async () => {
  await using setup = await setUp("from a peer", { "c": "2" });
  const { files, target } = setup;
  await files.runToFailure(2, "on another device", "sync", files.local, files.share);
  await files.runToFailure(2, "on this device", "sync", "camera:", "camera:");
  await files.runToFailure(1, "is a file, not a directory", "sync", "camera:from/c", target);
  const syncArgs = ["sync", "--delete", "camera:aa", target];
  await files.runToFailure(1, '"camera:aa" does not exist', ...syncArgs);
  await fill(target, { "kept": "1" });
  await files.runToFailure(1, "does not exist", ...syncArgs);
  assertEquals(await readTree(target), { "kept": "1" });
});

Deno.test("sync --delete: if more files would go than stay, nothing is copied or deleted without --delete-all", async () => {
  const old = Object.fromEntries(Array.from({ length: 11 }, (_, index) => [`old${index}`, "12"]));
  await using setup = await setUp("from a peer", { "a": "1" }, old);
  const { target, sync } = setup;
  const result = await sync(["--delete", "--json"]);
  assertEquals(result.code, 1);
  assertStringIncludes(result.errors[0]!, "11 of 11 files would be deleted, more than stay");
  assertStringIncludes(result.errors[0]!, "no file is copied or deleted without --delete-all");
  const dryRun = await sync(["--dry-run", "--delete"]);
  assertEquals([dryRun.code, dryRun.results, dryRun.errors.length], [1, [], 1]);
  const listed = await sync(["--dry-run", "--delete", "--delete-all"]);
  assertEquals([listed.code, listed.results.length, listed.errors], [0, 12, []]);
  assertEquals(await readTree(target), old);
  const { files, source } = setup;
  const wrong = "--delete-all has an effect only with --delete: leave it out";
  await files.runToFailure(2, wrong, "sync", "--delete-all", "camera:from", target);
  assertEquals(await readTree(source), { "a": "1" });
  const { code, summary } = await sync(["--delete", "--delete-all"]);
  assertEquals([code, summary], [0, "1 file copied, 1 B; 11 deleted"]);
});

// Repeated runs.

const EVERY = ["sync", "--every", "7"];

Deno.test("sync --every prints the changes of a run, and each error when it begins and ends", async () => {
  await using setup = await setUp("to a peer", { "a": "1" }, { "b/x": "in the way" });
  const { files, source, target } = setup;
  using pauses = stepTimeouts(7000);
  await using agent = files.start([...EVERY, source, "camera:to"]);
  const steps: [expected: string[], change: () => unknown][] = [
    [["1 file copied into camera:to, 1 B"], () => {}],
    [[], () => {}],
    [["degu: error: IN_THE_WAY"], () => fill(source, { "b": "2" })],
    [["degu: error: OFF"], () => files.kill()],
    [["over: camera answers again"], () => files.serve()],
    [["1 file copied into camera:to, 1 B; 1 up to date"], () => fill(source, { "c": "3" })],
    [
      ["1 file copied into camera:to, 1 B; 2 up to date", "over: IN_THE_WAY"],
      () => Deno.remove(`${target}/b`, { recursive: true }),
    ],
    [["degu: error: OFF"], () => files.kill()],
    [[], () => {}],
    [["over: camera answers again"], () => files.serve()],
    [["degu: error: OFF"], () => files.kill()],
    [
      ["1 file copied into camera:to, 2 B; 2 up to date", "over: camera answers again"],
      async () => {
        await fill(source, { "a": "44" });
        await files.serve();
      },
    ],
  ];
  await pauses.begun();
  for (const [, change] of steps.slice(1)) {
    await change();
    await pauses.end();
  }
  agent.kill("SIGINT");
  const { code, stdout, stderr } = await agent.waitForEnd();
  const result = stderr.replaceAll(/ in \d+:\d\d/g, "")
    .replaceAll(/camera does not answer \(.*; the next run begins in 7 s$/gm, "OFF")
    .replaceAll(/\S+: a directory has this name at the target.*/g, "IN_THE_WAY");
  const [start, ...printed] = result.trimEnd().split("\n");
  const expectedStart =
    `copying new and changed files of ${source} to camera:to: the next run begins 7 s after each run, until Ctrl-C`;
  assertEquals(start, expectedStart);
  assertEquals(printed, steps.flatMap(([expected]) => expected));
  assertEquals([code, stdout], [0, ""]);
  assertEquals(await readTree(target), { "a": "44", "b": "2", "c": "3" });
});

Deno.test("sync --every prints the summary of the first run, also if nothing has changed", async () => {
  await using setup = await setUp("to a peer", { "a": "1" });
  const { files, source } = setup;
  await files.runToSuccess("sync", source, "camera:to");
  using pauses = stepTimeouts(7000);
  await using agent = files.start([...EVERY, source, "camera:to"]);
  await pauses.begun();
  await pauses.end();
  agent.kill("SIGINT");
  const { stderr } = await agent.waitForEnd();
  assertEquals(stderr.split("\n").slice(1), ["1 up to date in camera:to", ""]);
});

Deno.test("sync --every shows the progress only with --verbose", async () => {
  await using setup = await setUp("to a peer", {});
  const { files, source } = setup;
  const terminal = { columns: 80, rows: 24 };
  for (const options of [["--verbose"], []]) {
    await fill(source, { "a": `${options}` });
    // The bar begins after a second.
    using _clock = speedUpClock();
    using pauses = stepTimeouts(7000);
    await using agent = files.start([...EVERY, ...options, source, "camera:to"], { terminal });
    await pauses.begun();
    agent.kill("SIGINT");
    const { stdout } = await agent.waitForEnd();
    assertEquals(stdout.includes("100 %  [="), options.length > 0, stdout);
  }
});

Deno.test("sync --every prints once a day that all is well, but not after a run that has failed", async () => {
  await using setup = await setUp("to a peer", { "a": "1" });
  const { files, source } = setup;
  using pauses = stepTimeouts(7000);
  const deleting = [...EVERY, "--delete", source, "camera:to"];
  await using agent = files.start(deleting);
  await pauses.begun();
  await pauses.end();
  {
    using _clock = setClockAhead(86_400_000);
    await files.kill();
    await pauses.end();
    await files.serve();
    for (let run = 4; run <= 6; run++) await pauses.end();
  }
  agent.kill("SIGINT");
  const { stderr } = await agent.waitForEnd();
  const [start, ...lines] = stderr.split("\n");
  assertStringIncludes(start!, `to camera:to, deleting what ${source} doesn't have: the next run `);
  const isWell = (line: string) => line.startsWith("all is well");
  assertEquals(lines.filter(isWell), ["all is well: 4 runs in a day"], stderr);
});

Deno.test("sync names once the patterns that have no effect", async () => {
  await using setup = await setUp("to a peer", { "a": "1", "build/x": "2", "b": "3" }, {
    "gone": "",
  });
  const { files, source } = setup;
  await fill(source, { ".deguignore": "# comment\n\nbuild/\nbiuld/\n*.none\n!kept\ngone\n" });
  const exclude = ["--exclude", "b", "--exclude", "/c d"];
  const args = ["--delete", ...exclude, source, "camera:to"];
  const expected =
    'degu: warning: patterns without effect in this run: "biuld/", "*.none", "!kept", "/c d"\n';
  const once = await files.runToSuccess("sync", ...args);
  assert(once.stderr.endsWith(expected), once.stderr);
  using pauses = stepTimeouts(7000);
  await using agent = files.start([...EVERY, ...args]);
  await pauses.begun();
  for (let run = 2; run <= 3; run++) await pauses.end();
  agent.kill("SIGINT");
  const { stderr } = await agent.waitForEnd();
  assertEquals(stderr.split(expected).length, 2, stderr);
  assertEquals(stderr.includes("over:"), false, stderr);
});

Deno.test("sync --every reports an inbox that it leaves out once", async () => {
  await using setup = await setUp("to a peer", { "a": "1", "Inbox/.degu-files": null });
  const { files, source, target } = setup;
  using pauses = stepTimeouts(7000);
  await using agent = files.start([...EVERY, source, "camera:to"]);
  await pauses.begun();
  for (let run = 2; run <= 4; run++) await pauses.end();
  agent.kill("SIGINT");
  const { code, stderr } = await agent.waitForEnd();
  assertEquals([code, stderr.split(`${source}/Inbox: skipped: an inbox`).length], [0, 2], stderr);
  assertEquals(await readTree(target), { "a": "1" });
});

Deno.test("sync --every exits with the code of its last run, prints only objects with --json, and interrupts a running run", async () => {
  await using setup = await setUp("to a peer", { "a": "1", "b": "2" }, { "b/x": "in the way" });
  const { files, source } = setup;
  {
    using pauses = stepTimeouts(7000);
    await using agent = files.start([...EVERY, "--json", source, "camera:to"]);
    await pauses.begun();
    await pauses.end();
    agent.kill("SIGINT");
    const end = await agent.waitForEnd();
    assertEquals(end.code, 1, end.stderr);
    assertEquals(parseObjects(end).map(({ to }) => to), ["camera:to/a", "camera:to/b"]);
  }
  {
    using pauses = stepTimeouts(7000);
    await using agent = files.start([...EVERY, "--json", source, "camera:to"]);
    await pauses.begun();
    await files.kill();
    for (let runs = 0; runs < 2; runs++) await pauses.end();
    agent.kill("SIGINT");
    const end = await agent.waitForEnd();
    const [{ to }, { error }] = parseObjects(end) as [
      { to: string },
      { error: Record<string, unknown> },
    ];
    assertEquals([to, error.code, error.peer], ["camera:to/b", "NO_ADDRESS", "camera"]);
    assertEquals(parseObjects(end).length, 2);
    await files.serve();
  }
  await Deno.remove(`${source}/b`);
  await Deno.writeFile(`${source}/large`, randomBytes(3_000_000));
  await using relay = new CuttingRelay(files.address);
  relay.stallAfter(1_000_000);
  const address = ["--address", formatAddress(relay.address)];
  await using agent = files.start([...EVERY, ...address, source, "camera:to"]);
  await waitForFile(files.inbox, (_, size) => size > 500_000);
  agent.kill("SIGINT");
  const { code, stderr } = await agent.waitForEnd();
  assertEquals(code, 130);
  assertMatch(
    stderr,
    /^copying new and changed files of .*\n1 up to date in .*\ndegu: error: interrupted\n$/,
  );
});

/** Lets a directory be on another disk, or on a disk that is mounted again, for `Deno.stat`. */
function moveToDisk(path: string, disk: "another" | "mounted again"): Disposable {
  return patch(Deno, "stat", (stat) => async (each) => {
    const info = await stat(each);
    if (each !== path) return info;
    return { ...info, dev: info.dev + 1, ino: info.ino! + (disk === "another" ? 1 : 0) };
  });
}

Deno.test("sync --every doesn't create its local directory, and copies nothing while the directory is on another disk", async () => {
  await using setup = await setUp("from a peer", { "a": "1" });
  const { files, source, target } = setup;
  await Deno.remove(target, { recursive: true });
  using pauses = stepTimeouts(7000);
  await using agent = files.start([...EVERY, "--delete", "camera:from", target]);
  const steps: [change: () => unknown, expected: Record<string, string> | null][] = [
    [() => {}, null],
    [() => Deno.mkdir(target), { a: "1" }],
    [() => fill(source, { b: "2" }), { a: "1" }],
    [() => {}, { a: "1", b: "2" }],
    [() => fill(source, { c: "3" }), { a: "1", b: "2", c: "3" }],
    [() => Deno.remove(target, { recursive: true }), null],
  ];
  await pauses.begun();
  for (const [index, [change, expected]] of steps.entries()) {
    await change();
    using _disk = index === 2
      ? moveToDisk(target, "another")
      : index === 4
      ? moveToDisk(target, "mounted again")
      : null;
    if (index > 0) await pauses.end();
    assertEquals(await readTree(target).catch(() => null), expected, `${index}`);
  }
  agent.kill("SIGINT");
  const { code, stderr } = await agent.waitForEnd();
  const [, ...missing] = stderr.split("degu: error: there is no directory");
  assertEquals([code !== 0, missing.length], [true, 2], stderr);
  for (const text of missing) assertMatch(text, /: is its disk mounted\?/);
  assertMatch(stderr, /"[^"]*" is on another disk than in the first run: is its disk mounted\?/);
});

Deno.test("to a peer: sync --every copies and deletes nothing while the local directory is on another disk", async () => {
  await using setup = await setUp("to a peer", { "a": "1", "b": "2" });
  const { files, source, target } = setup;
  using pauses = stepTimeouts(7000);
  await using agent = files.start([...EVERY, "--delete", source, "camera:to"]);
  await pauses.begun();
  await Deno.remove(`${source}/b`);
  await fill(source, { "c": "3" });
  {
    using _disk = moveToDisk(source, "another");
    await pauses.end();
    assertEquals(await readTree(target), { "a": "1", "b": "2" });
  }
  await pauses.end();
  assertEquals(await readTree(target), { "a": "1", "c": "3" });
  agent.kill("SIGINT");
  assertEquals((await agent.waitForEnd()).code, 0);
});

Deno.test("a single run of sync with --no-create, as of a service, doesn't create its local directory", async () => {
  await using setup = await setUp("from a peer", { "a": "1" });
  const { files, target } = setup;
  await Deno.remove(target, { recursive: true });
  const args = ["--no-create", "camera:from", target];
  for (const dryRun of [[], ["--dry-run"]]) {
    await files.runToFailure(1, "is its disk mounted?", "sync", ...dryRun, ...args);
  }
  assertEquals(await readTree(target).catch(() => null), null);
  await files.runToSuccess("sync", ...args.slice(1));
  assertEquals(await readTree(target), { "a": "1" });
});

Deno.test("sync --every reports permanent errors at once", async () => {
  await using setup = await setUp("to a peer", { "a": "1" });
  const { files, source } = setup;
  await files.runToFailure(3, 'there is no peer "desk"', ...EVERY, source, "desk:to");
  await files.runToFailure(2, "leave out --every", ...EVERY, "--dry-run", source, "camera:to");
  await files.runToFailure(2, "seconds, above 0", "sync", "--every", "0", source, "camera:to");
});

// The reports of all commands that copy trees.

Deno.test("sync from a peer: links and special files are one line, with --verbose one for each, with --quiet none: 0", async () => {
  await using setup = await setUp("from a peer", { "a": "1", "dir/b": "2" }, { "old": "3" });
  const { source, sync } = setup;
  await makeLinks({ [`${source}/dir/link`]: "/nowhere" });
  const hasFifo = await makeFifo(`${source}/fifo`);
  const { code, warnings, errors, summary, results } = await sync(["--delete"]);
  assertEquals(warnings.toSorted(), [
    "from:dir/link: skipped: a symbolic link, which is not followed",
    ...(hasFifo ? ["from:fifo: skipped: neither a file nor a directory"] : []),
  ]);
  assertEquals([code, errors, results.at(-1)], [0, [], "deleted to:old"]);
  assertEquals(summary, `2 files copied, 2 B; 1 deleted; ${hasFifo ? 2 : 1} skipped`);
  const { files, target } = setup;
  const args = ["sync", "camera:from", target];
  const { stderr } = await files.runToSuccess(...args);
  const skippedPattern =
    /^degu: warning: camera:from\/(dir\/link|fifo)(, and another such entry)?: skipped: /;
  assertEquals(stderr.split("\n").filter((line) => skippedPattern.test(line)).length, 1, stderr);
  assertEquals(stderr.split("degu: warning").length, 2, stderr);
  assertEquals((await files.runToSuccess("--quiet", ...args)).stderr, "");
});

Deno.test("sync to a peer: a name that can't be sent is an error, and nothing is deleted: 1", async () => {
  await using setup = await setUp("to a peer", { "a": "1" }, { "old": "3" });
  const { source, target, sync } = setup;
  if (!await makeNonUtf8Name(source)) return;
  const { code, errors, warnings } = await sync(["--delete"]);
  assertEquals(errors, [
    "from:\ufffd: its name can't be sent: it is not UTF-8",
  ]);
  assertEquals(warnings, [
    "no file is deleted, because not every entry could be compared: an entry that seems to be missing may " +
    "exist; --exclude skips such entries",
  ]);
  assertEquals([code, await readTree(target)], [1, { "a": "1", "old": "3" }]);
});

Deno.test("sync from a peer: a name at the target that is not UTF-8 is kept, which is an error", async () => {
  await using setup = await setUp("from a peer", { "a": "1" }, { "old/b": "2", "d/c": "3" });
  const { target, sync } = setup;
  if (!await makeNonUtf8Name(`${target}/old`)) return;
  const problems = ["to:old/\ufffd: can't be deleted: its name can't be sent: it is not UTF-8"];
  assertEquals((await sync()).errors, []);
  for (const options of [["--dry-run"], []]) {
    const result = await sync(["--delete", ...options]);
    assertEquals([result.code, result.errors.slice(0, 1), result.warnings], [1, problems, []]);
    assertEquals(result.results.filter((line) => line.includes("delete")).length, 3, "b, d and c");
  }
  assertEquals(await listNames(target), ["a", "old"]);
  assertEquals((await listNames(`${target}/old`)).length, 1);
});

Deno.test("sync to a peer: an empty source deletes nothing without --delete-all, which is an error only where there is something", async (t) => {
  await using files = await AgentFiles.start();
  const rows: [rule: string, source: Tree, expected: string][] = [
    ["no entries", {}, "1 deleted"],
    [
      "a mount point that is not mounted, with reserved names alone",
      { ".degu-files": null, ".a.degu-part": "1" },
      "1 deleted; 2 skipped",
    ],
  ];
  await testEachRow(t, rows, async (_rule, source, expected) => {
    const { target, sync } = await setUp("to a peer", source, { "old": "3" }, files);
    const { code, errors: [problem] } = await sync(["--delete"]);
    assertEquals(code, 1);
    assertStringIncludes(
      problem!,
      "the source has no files to copy, and entries of the target would be deleted, so no file is copied or deleted without " +
        "--delete-all; --dry-run --delete-all lists them",
    );
    assertEquals(await readTree(target), { "old": "3" });
    const { code: secondCode, summary } = await sync(["--delete", "--delete-all"]);
    assertEquals([secondCode, summary], [0, expected]);
    assertEquals(await readTree(target), {});
    assertEquals((await sync(["--delete"])).code, 0);
  });
});

Deno.test("sync from a peer: a name that the target does not list is an error, and prevents deletions in its directory: 1", async () => {
  const to = { "d/old": "3", "e/old": "4" };
  await using setup = await setUp("from a peer", { "d/a": "1", "e/b": "2" }, to);
  const { target, sync } = setup;
  // Rename the copied file, like a disk that changes names.
  const { code, errors, warnings, results } = await sync(["--delete"], (_agent, to, text) => {
    if (to === "stdout" && text.includes("/d/a")) {
      Deno.renameSync(`${target}/d/a`, `${target}/d/A`);
    }
  });
  assertEquals(errors.slice(0, 1), [
    'to:d: the target\'s disk does not list "a" by this name; deletions in its directory were skipped; ' +
    'it lists "A"',
  ]);
  assertEquals([code, warnings, results.at(-1)], [1, [], "deleted to:e/old"]);
  assertEquals(Object.keys(await readTree(target)), ["d", "d/A", "d/old", "e", "e/b"]);
});

const makeTree = (count: number): Tree =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`${i % 9}/${i}`, `${i}`]));

Deno.test("sync to a peer: of two commands at once, one reports each file as copied", async () => {
  await using files = await AgentFiles.start();
  const names = Array.from({ length: 100 }, (_, i) => `file-${i}`);
  await fill(files.local, Object.fromEntries(names.map((name) => [name, name.repeat(1000)])));
  const run = () => files.runToSuccess("sync", "--json", files.local, "camera:");
  const ends = await Promise.all([run(), run()]);
  const copied = ends.flatMap(parseObjects).map(({ from }) => `${from}`.split("/").at(-1)!);
  assertEquals(copied.toSorted(), names.toSorted());
});

Deno.test("sync from a peer: an interruption prints advice, and the same command continues", async () => {
  await using setup = await setUp("from a peer", makeTree(100));
  const { source, target, sync } = setup;
  const interrupt: OnText = (agent, to) => to === "stdout" && agent.kill("SIGINT");
  const { code, notes, errors } = await sync([], interrupt);
  assertEquals([code, errors], [130, ["interrupted"]]);
  assertStringIncludes(notes[0]!, "; a file that is small, or was just changed, starts over");
  // The summary still counts the copied files.
  assertMatch(notes.slice(1).join("|"), /^\d+ files? copied into to:, \d+ B in \d+:\d\d$/);
  assertEquals((await sync()).code, 0);
  assertEquals(await readTree(target), await readTree(source));
});

Deno.test("sync to a peer: a lost connection hides no warning, and repeats no copy", async () => {
  await using setup = await setUp("to a peer", makeTree(60));
  const { files, source, target, sync } = setup;
  await Deno.writeFile(`${source}/large`, randomBytes(3_000_000));
  await makeLinks({ [`${source}/link`]: "/nowhere" });
  await using relay = new CuttingRelay(files.address);
  using pauses = skipPauses();
  for (const cut of [12_000, 300_000]) {
    relay.cutAfter(cut);
    const address = ["--address", formatAddress(relay.address)];
    const result = await sync(address, (_agent, _to, text) => {
      if (text.includes("trying again")) relay.cutAfter(Infinity);
      pauses.note(text);
    });
    assertEquals(result.notes.filter((note) => note.includes("trying again in 1 s")).length, 1);
    assertEquals([result.code, result.errors], [0, []]);
    const { link: _, ...copied } = await readTree(source);
    assertEquals(await readTree(target), copied);
    const paths = Object.keys(copied).filter((path) => copied[path] !== null);
    const printed = new Set(result.results);
    assertEquals(printed.size, result.results.length);
    assert(printed.isSubsetOf(new Set(paths.map((path) => `to:${path}`))));
    assertEquals(result.warnings, ["from:link: skipped: a symbolic link, which is not followed"]);
    await Deno.remove(target, { recursive: true });
    await Deno.mkdir(target);
  }
});
