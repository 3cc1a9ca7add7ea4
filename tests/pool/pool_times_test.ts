/**
 * The times that docs/pool.md names, of pools as users start them, on a clock that the test sets.
 */
import { Client } from "@degu/degu/client";
import { ServerPool } from "@degu/degu/pool";
import { recordIntervals } from "@degu/testing/clock.ts";
import { appOf } from "@degu/testing/pools.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { stated } from "@degu/testing/stated.ts";
import { assert, assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";

const { setTimeout: realTimeout } = globalThis;

const PAGE = "docs/pool.md";

/** Lets workers and sockets go on for a moment, whatever the clock of the test says. */
function moment(): Promise<void> {
  return new Promise((resolve) => void realTimeout(resolve, 1));
}

/** Waits until so many lines of a level were logged. */
async function logged(logger: RecordingLogger, level: "error" | "warn", count: number) {
  for (let tries = 0; logger.at(level).length < count; tries++) {
    assert(tries < 60_000, `not logged: ${count} of level ${level}`);
    await moment();
  }
  return logger.at(level);
}

/** A module that makes an app, as a URL. */
function moduleOf(source: string): string {
  return `data:text/javascript,${encodeURIComponent(source)}`;
}

Deno.test("a worker is considered hung when it hasn't answered for as long as docs/pool.md says, and no sooner", async () => {
  const seconds = await stated(PAGE, /it doesn't answer for (\d+) seconds/i);
  const counters = new SharedArrayBuffer(8);
  const numbers = new Int32Array(counters);
  const module = moduleOf(`export function build(counters) {
    const numbers = new Int32Array(counters);
    return () => {
      Atomics.store(numbers, 1, 1);
      Atomics.notify(numbers, 1);
      Atomics.wait(numbers, 0, 0);
      return [200, "OK", {}, null];
    };
  }`);
  const logger = new RecordingLogger();
  using time = new FakeTime();
  using intervals = recordIntervals();
  const app = { module, name: "build", args: [counters] };
  const pool = await ServerPool.start(["127.0.0.1", 0], app, { workers: 1, logger });
  const [beat, ...others] = intervals.started;
  assert(beat !== undefined && others.length === 0, "a pool of one worker has one interval");
  const asked = new Client(pool.address, { timeout: null }).request("GET", "/").catch(() => {});
  try {
    await Atomics.waitAsync(numbers, 1, 0).value;
    // The first question that it does not answer is asked now.
    time.tick(beat);
    time.tick(seconds * 1000 - 1);
    for (let i = 0; i < 20; i++) await moment();
    assertEquals(logger.at("error"), []);
    time.tick(1);
    const [line] = await logged(logger, "error", 1);
    const first = await stated(PAGE, /a new worker starts after\s+(\d+) ms/);
    assertEquals(line, `worker 1 doesn't answer; a new one starts in ${first} ms`);
  } finally {
    Atomics.store(numbers, 0, 1);
    Atomics.notify(numbers, 0);
    await asked;
    await pool.close();
  }
});

Deno.test("a worker that can't start is tried again after the times that docs/pool.md says", async () => {
  const first = await stated(PAGE, /a new worker starts after\s+(\d+) ms/);
  const second = await stated(PAGE, /if that fails, too, after (\d+) ms/);
  const most = 1000 * await stated(PAGE, /and so on up to (\d+) s/);
  const counters = new SharedArrayBuffer(4);
  const logger = new RecordingLogger();
  using time = new FakeTime();
  const app = appOf("buildOnce", [counters, 1]);
  const pool = await ServerPool.start(["127.0.0.1", 0], app, { workers: 1, logger });
  try {
    await new Client(pool.address, { timeout: null }).request("GET", "/exit").catch(() => {});
    const delays: number[] = [];
    while (delays.at(-2) !== most) {
      const line = (await logged(logger, "error", delays.length + 1)).at(-1)!;
      delays.push(Number(/; a new one starts in (\d+) ms$/.exec(line)?.[1]));
      assert(delays.length < 12, `${delays}`);
      // Once the wait for it has begun.
      await moment();
      time.tick(delays.at(-1)!);
    }
    const doubled = Array.from({ length: delays.length }, (_, i) => first * 2 ** i);
    assertEquals(delays, doubled.map((delay) => Math.min(delay, most)));
    assertEquals(delays[1], second);
  } finally {
    await pool.close();
  }
});

Deno.test("a worker whose module never finishes is warned about after the time that docs/pool.md says", async () => {
  const seconds = await stated(
    PAGE,
    /the module of a worker never finishes, a warning is logged after (\d+) seconds/,
  );
  const logger = new RecordingLogger();
  using time = new FakeTime();
  const counters = new SharedArrayBuffer(8);
  const numbers = new Int32Array(counters);
  const module = moduleOf(`export async function build(counters) {
    const numbers = new Int32Array(counters);
    Atomics.store(numbers, 0, 1);
    Atomics.notify(numbers, 0);
    await Atomics.waitAsync(numbers, 1, 0).value;
    return () => [200, "OK", {}, null];
  }`);
  const app = { module, name: "build", args: [counters] };
  const starting = ServerPool.start(["127.0.0.1", 0], app, { workers: 1, logger });
  await Atomics.waitAsync(numbers, 0, 0).value;
  time.tick(seconds * 1000 - 1);
  await moment();
  assertEquals(logger.at("warn"), []);
  time.tick(1);
  const [line] = await logged(logger, "warn", 1);
  assert(line!.startsWith(`worker 1 has not started for ${seconds} s: `), line);
  Atomics.store(numbers, 1, 1);
  Atomics.notify(numbers, 1);
  await (await starting).close();
});
