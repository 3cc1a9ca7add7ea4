/** repeat(). */
import { DeguError, EmptyPreambleError, repeat } from "@degu/degu";
import { patch } from "@degu/testing/patching.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { assertEquals, assertInstanceOf, assertRejects, assertStrictEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";

/** Runs pending microtasks, and advances the time by some seconds. */
async function passTime(time: FakeTime, seconds: number): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
  time.tick(seconds * 1000);
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

/** Runs an action for some seconds; resolves to the times of its runs, and the calls of onError. */
async function runFor(
  total: number,
  step: number,
  seconds: number,
  action: (run: number) => unknown,
) {
  using time = new FakeTime();
  const ending = new AbortController();
  const start = Date.now();
  const runs: number[] = [];
  const waits: number[] = [];
  const repeating = repeat(() => {
    runs.push((Date.now() - start) / 1000);
    return action(runs.length) as Promise<unknown>;
  }, { seconds, signal: ending.signal, onError: (_error, wait) => waits.push(wait) });
  for (let passedSeconds = 0; passedSeconds < total; passedSeconds += step) {
    await passTime(time, step);
  }
  ending.abort();
  await repeating;
  return { runs, waits };
}

Deno.test("repeat runs an action at once, and again the given seconds after its end", async () => {
  const { runs, waits } = await runFor(35, 1, 10, () => Promise.resolve());
  assertEquals([runs, waits], [[0, 10, 20, 30], []]);
});

Deno.test("after consecutive errors the waits double up to ten times the first wait, and a success resets them", async () => {
  const { runs, waits } = await runFor(160, 1, 2, (run) => {
    return run === 7 ? Promise.resolve() : Promise.reject(new Error("off"));
  });
  assertEquals(waits.slice(0, 9), [2, 4, 8, 16, 20, 20, 2, 4, 8]);
  assertEquals(runs.slice(0, 9), [0, 2, 6, 14, 30, 50, 70, 72, 74]);
});

Deno.test("after an error the wait is at least a second", async () => {
  const { waits } = await runFor(6, 0.5, 0.1, () => Promise.reject(new Error("off")));
  assertEquals(waits.slice(0, 6), [1, 1, 1, 1, 1, 1]);
});

Deno.test("an abort ends the pause at once, and the error of an aborted run is ignored", async () => {
  const ending = new AbortController();
  const { promise, resolve } = Promise.withResolvers<void>();
  const pausing = repeat(() => Promise.resolve(resolve()), { seconds: 1e6, signal: ending.signal });
  await promise;
  ending.abort();
  await pausing;

  const inRun = new AbortController();
  await repeat((signal) => {
    assertStrictEquals(signal, inRun.signal);
    inRun.abort();
    return Promise.reject(signal.reason);
  }, { seconds: 1, signal: inRun.signal, onError: () => inRun.abort() });
  await repeat(() => Promise.reject(new Error("never")), { seconds: 1, signal: inRun.signal });
});

Deno.test("repeat rejects with an error of onError", async () => {
  const { signal } = new AbortController();
  const onError = () => {
    throw new Error("full");
  };
  const repeating = repeat(() => Promise.reject(new Error("off")), { seconds: 1, signal, onError });
  await assertRejects(() => repeating, Error, "full");
});

Deno.test("a failed run that lasts longer than a minute and the longest wait resets the count", async () => {
  for (const [seconds, runMilliseconds] of [[2, 60_000], [8, 80_000]] as const) {
    let clock = 0;
    using _ = patch(performance, "now", () => () => clock);
    const { waits } = await runFor(30 * seconds, 1, seconds, (run) => {
      clock += run === 4 ? runMilliseconds + 1 : run === 5 ? runMilliseconds : 1;
      return Promise.reject(new Error("off"));
    });
    assertEquals(waits.slice(0, 7).map((wait) => wait / seconds), [1, 2, 4, 1, 2, 4, 8]);
  }
});

Deno.test("the waits grow while each run consists of seconds of retries", async () => {
  let clock = 0;
  using _ = patch(performance, "now", () => () => clock);
  const { waits } = await runFor(100, 1, 1, () => {
    clock += 7000;
    return Promise.reject(new Error("off"));
  });
  assertEquals(waits.slice(0, 6), [1, 2, 4, 8, 10, 10]);
});

Deno.test("without onError a line on stderr has the error and the seconds, and the stack of an error that is not transient", async () => {
  const { warn } = console;
  const lines: unknown[] = [];
  let ending = new AbortController();
  console.warn = (line) => {
    lines.push(line);
    ending.abort();
  };
  const errors = [
    new DeguError("off"),
    new EmptyPreambleError(),
    new Deno.errors.ConnectionRefused("off"),
    new DOMException("off", "TimeoutError"),
    new TypeError("off"),
    new Error("off"),
    Object.assign(new Error("off"), { code: Symbol("off") }),
  ];
  try {
    for (const error of errors) {
      ending = new AbortController();
      await repeat(() => Promise.reject(error), { seconds: 3, signal: ending.signal });
    }
  } finally {
    console.warn = warn;
  }
  const texts = errors.map((error, i) => i < 4 ? `${error.name}: ${error.message}` : error.stack);
  assertEquals(lines, texts.map((text) => `${text}; next run in 3 s`));
});

Deno.test("repeat refuses wrong arguments", async () => {
  const { signal } = new AbortController();
  const rows: [unknown, unknown, typeof TypeError | typeof RangeError][] = [
    [5, { seconds: 1, signal }, TypeError],
    [() => {}, { seconds: 1 }, TypeError],
    [() => {}, { seconds: 1, signal, every: 1 }, TypeError],
    [() => {}, { seconds: 0, signal }, RangeError],
  ];
  for (const [action, options, kind] of rows) {
    const repeating = repeat(
      action as () => Promise<void>,
      options as Parameters<typeof repeat>[1],
    );
    const label = Deno.inspect(options);
    assertInstanceOf(await catchRejection(repeating, label), kind, label);
  }
});

Deno.test("repeat runs an action that isn't async, and awaits an async onError", async () => {
  const ending = new AbortController();
  const events: string[] = [];
  const repeating = repeat(() => {
    events.push("run");
    throw new Error("sync");
  }, {
    seconds: 0.001,
    signal: ending.signal,
    onError: async () => {
      await Promise.resolve();
      events.push("error");
      ending.abort();
    },
  });
  await repeating;
  assertEquals(events, ["run", "error"]);
  const failing = repeat(() => Promise.reject(new Error("first")), {
    seconds: 1,
    signal: new AbortController().signal,
    onError: () => Promise.reject(new Error("second")),
  });
  await assertRejects(() => failing, Error, "second");
});
