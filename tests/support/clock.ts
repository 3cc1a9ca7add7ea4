/** Clocks that are ahead, stopped or fast, and records of timers. */

import { FakeTime } from "@std/testing/time";
import { patch } from "./patching.ts";

/**
 * Sets the clock of this process ahead until disposed of, but not the clock of the file system.
 * After three seconds, each file counts as settled: it has an entity tag, and its digest is cached.
 */
export function setClockAhead(milliseconds = 3000): Disposable {
  return patch(Date, "now", (now) => () => now() + milliseconds);
}

/**
 * Stops all clocks of this process, including `performance`, until the test advances them. The file
 * system has its own clock.
 */
export function stopAllClocks() {
  const time = new FakeTime();
  const { now } = performance;
  performance.now = () => Date.now();
  return {
    tick: (milliseconds: number) => time.tick(milliseconds),
    [Symbol.dispose]() {
      performance.now = now;
      time[Symbol.dispose]();
    },
  };
}

/**
 * Records the intervals that are started until disposed of, in milliseconds, and those that still
 * run.
 *
 * @param speed The factor by which intervals below a second are faster; longer ones are time-outs.
 */
export function recordIntervals(speed = 1) {
  const { setInterval, clearInterval } = globalThis;
  const started: number[] = [];
  const running = new Map<unknown, number>();
  globalThis.setInterval = ((tick: () => void, milliseconds: number) => {
    const timer = setInterval(tick, milliseconds < 1000 ? milliseconds / speed : milliseconds);
    started.push(milliseconds);
    running.set(timer, milliseconds);
    return timer;
  }) as typeof setInterval;
  globalThis.clearInterval = (timer) => {
    running.delete(timer);
    clearInterval(timer);
  };
  return {
    started,
    running,
    [Symbol.dispose]: () => void Object.assign(globalThis, { setInterval, clearInterval }),
  };
}

/**
 * Registers a test in which short intervals pass ten times as fast, such as those in which a server
 * checks whether a client has left.
 */
export function testWithFastIntervals(
  name: string,
  run: (t: Deno.TestContext) => Promise<void>,
): void {
  Deno.test(name, async (t) => {
    using _intervals = recordIntervals(10);
    await run(t);
  });
}

/**
 * Makes some timeouts pass ten times as fast, or at another speed, until disposed of; records all
 * timeouts in milliseconds.
 */
export function speedUpTimeouts(isFast: (milliseconds: number) => boolean, speed = 10) {
  const { setTimeout } = globalThis;
  const started: number[] = [];
  globalThis.setTimeout = ((run: () => void, milliseconds = 0) => {
    started.push(milliseconds);
    return setTimeout(run, isFast(milliseconds) ? milliseconds / speed : milliseconds);
  }) as typeof setTimeout;
  return { started, [Symbol.dispose]: () => void (globalThis.setTimeout = setTimeout) };
}

/** Makes each timeout of so many milliseconds last until `end` is called, until disposed of. */
export function stepTimeouts(milliseconds: number) {
  const { setTimeout } = globalThis;
  let sleepStart = Promise.withResolvers<() => void>();
  globalThis.setTimeout = ((run: () => void, given = 0, ...args: []) => {
    if (given !== milliseconds) return setTimeout(run, given, ...args);
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

/** Lets a test end the timeouts of so many milliseconds that still run, until disposed of. */
export function captureTimeouts(milliseconds: number) {
  const { setTimeout, clearTimeout } = globalThis;
  const running = new Map<unknown, () => void>();
  globalThis.setTimeout = ((run: () => void, given = 0, ...args: []) => {
    const timer = setTimeout(run, given, ...args);
    if (given === milliseconds) running.set(timer, run);
    return timer;
  }) as typeof setTimeout;
  globalThis.clearTimeout = (timer) => {
    running.delete(timer);
    clearTimeout(timer);
  };
  return {
    /** Returns how many have ended. */
    end: () => {
      const timers = [...running];
      for (const [timer, run] of timers) {
        globalThis.clearTimeout(timer as number);
        run();
      }
      return timers.length;
    },
    [Symbol.dispose]: () => void Object.assign(globalThis, { setTimeout, clearTimeout }),
  };
}

/**
 * Stops the clock of `performance` until disposed of. A test can move it on by seconds; timers go
 * on.
 */
export function stopPerformanceClock() {
  const { now } = performance;
  // Sums of whole numbers are exact.
  let time = Math.ceil(now.call(performance));
  performance.now = () => time;
  return {
    pass: (seconds: number) => void (time += seconds * 1000),
    [Symbol.dispose]: () => void (performance.now = now),
  };
}

/** Makes a second last a thousand seconds until disposed of, so that all progress is reported. */
export function slowDownClock(): Disposable {
  return patch(performance, "now", (now) => () => now.call(performance) * 1000);
}

/**
 * Ends each announced pause before a retry ("trying again in 2 s") at once, and moves the clock of
 * `performance` on. All other timers stay, except those of `always` milliseconds.
 */
export function skipPauses(always = NaN) {
  const { setTimeout } = globalThis;
  const { now } = performance;
  let noted = NaN;
  let ahead = 0;
  performance.now = () => now.call(performance) + ahead;
  globalThis.setTimeout = ((callback: () => void, milliseconds = 0, ...args: []) => {
    if (![noted, always].some((skipped) => skipped === milliseconds)) {
      return setTimeout(callback, milliseconds, ...args);
    }
    ahead += milliseconds;
    noted = NaN;
    return setTimeout(callback, 0, ...args);
  }) as typeof setTimeout;
  return {
    note: (text: string) => {
      const [, seconds] = /trying again in (\d+) s/.exec(text) ?? [];
      if (seconds !== undefined) noted = Number(seconds) * 1000;
    },
    [Symbol.dispose]: () => {
      globalThis.setTimeout = setTimeout;
      performance.now = now;
    },
  };
}
