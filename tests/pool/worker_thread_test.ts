/** Workers that hang, plain pools, and processes that end: in processes of their own. */
import { assertEquals, assertMatch } from "@std/assert";
import { runProgram } from "@degu/testing/programs.ts";

const FLAGS = ["--allow-net", "--allow-read", "--allow-write=/tmp", "--allow-env"];

/** Those that can be in one process. */
const TOGETHER = [
  ...["hang", "hangTwice", "hangThenExit", "hangThenFail", "comeBackOnPath", "neverMade"],
  ...["closeWhileBusyOnPath", "hangOnPath", "hangAtStart", "shutdownWhileHung"],
];

/** Runs parts of `pools.ts`, which ends by itself: nothing that a pool has left keeps it alive. */
async function runPools(names: readonly string[], ...flags: string[]) {
  const offline = new URL("../support/offline/import_map.json", import.meta.url).pathname;
  const all = [...FLAGS, `--import-map=${offline}`, ...flags];
  return JSON.parse(await runProgram("pools.ts", { flags: all, args: names, patience: 90 }));
}

let together: Promise<Record<string, unknown>> | null = null;

/** What a part has found. */
async function run(name: string, ...flags: string[]) {
  if (!TOGETHER.includes(name)) return (await runPools([name], ...flags))[name];
  together ??= runPools(TOGETHER);
  // deno-lint-ignore no-explicit-any -- each test knows what its part prints
  return (await together)[name] as any;
}

Deno.test("a worker that hangs is replaced while the other serves, and no connection is lost to it", async () => {
  const { lines, ...found } = await run("hang");
  assertEquals(found, { duringTheHang: true, afterwards: 2, hungAnswers: false });
  assertEquals(lines.length, 1);
  assertMatch(lines[0], /^worker [12] doesn't answer; a new one starts in 10 ms$/);
});

Deno.test("a worker that hangs in place of one that has hung is replaced, too", async () => {
  assertEquals(await run("hangTwice"), { workers: 3 });
});

Deno.test("the port of a worker that hangs stays with those after it, even if the next one ends or can't start", async () => {
  assertEquals(await run("hangThenExit"), { answers: 30, errors: 2 });
  assertEquals(await run("hangThenFail"), { answers: 30, errors: 2 });
});

Deno.test("a worker whose socket file is removed, by one that hung and came back, is replaced", async () => {
  const { lines, left } = await run("comeBackOnPath");
  assertEquals(left, 0);
  assertEquals(lines, [
    "worker 1 doesn't answer; a new one starts in 10 ms",
    "worker 1 has lost its socket file; a new one starts in 10 ms",
  ]);
});

Deno.test("a worker whose app is never made is not taken for hung, but warned of", async () => {
  const { lines, errors } = await run("neverMade");
  assertEquals(lines, [
    "worker 1 has not started for 2 s: the module or the function of its app has not finished",
  ]);
  assertEquals(errors, 1); // that its predecessor has ended
});

Deno.test("close() leaves no socket file, even if the worker is busy", async () => {
  assertEquals(await run("closeWhileBusyOnPath"), { left: 0 });
});

Deno.test("a worker that hangs on a Unix socket is replaced", async () => {
  assertEquals(await run("hangOnPath"), { replaced: true });
});

Deno.test("no worker is taken for hung while the thread of the pool is busy", async () => {
  assertEquals(await run("busyMainThread"), { same: true, lines: [] });
});

Deno.test("an app that hangs as it is made rejects start()", async () => {
  assertEquals(await run("hangAtStart"), "DeguError: a worker of the pool doesn't answer");
});

Deno.test("shutdown() ends a worker that hangs", async () => {
  assertEquals(await run("shutdownWhileHung"), ["worker N doesn't answer"]);
});

Deno.test("a plain pool serves with two workers, one of which is replaced when it ends", async () => {
  assertEquals(await run("plain", "--unstable-net"), { workers: 2, others: true });
});
