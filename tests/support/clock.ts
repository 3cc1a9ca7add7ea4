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
 * Records the durations of intervals until disposed of: of all started intervals, and of the
 * running ones.
 *
 * @param speed The factor by which intervals below a second are shortened.
 */
export function recordIntervals(speed = 1) {
  const { setInterval, clearInterval } = globalThis;
  const startedIntervals: number[] = [];
  const runningIntervals = new Map<unknown, number>();
  globalThis.setInterval = ((tick: () => void, milliseconds: number) => {
    const timer = setInterval(tick, milliseconds < 1000 ? milliseconds / speed : milliseconds);
    startedIntervals.push(milliseconds);
    runningIntervals.set(timer, milliseconds);
    return timer;
  }) as typeof setInterval;
  globalThis.clearInterval = (timer) => {
    runningIntervals.delete(timer);
    clearInterval(timer);
  };
  return {
    started: startedIntervals,
    running: runningIntervals,
    [Symbol.dispose]: () => void Object.assign(globalThis, { setInterval, clearInterval }),
  };
}

/**
 * Makes some timeouts pass ten times as fast, or at another speed, until disposed of; records all
 * timeouts in milliseconds.
 */
export function speedUpTimeouts(isFast: (milliseconds: number) => boolean, speed = 10) {
  const { setTimeout } = globalThis;
  const startedTimeouts: number[] = [];
  globalThis.setTimeout = ((run: () => void, milliseconds = 0) => {
    startedTimeouts.push(milliseconds);
    return setTimeout(run, isFast(milliseconds) ? milliseconds / speed : milliseconds);
  }) as typeof setTimeout;
  return {
    started: startedTimeouts,
    [Symbol.dispose]: () => void (globalThis.setTimeout = setTimeout),
  };
}

/** Lets a test end all running timeouts of a duration at once. */
export function captureTimeouts(milliseconds: number) {
  const { setTimeout, clearTimeout } = globalThis;
  const runningTimeouts = new Map<unknown, () => void>();
  globalThis.setTimeout = ((run: () => void, duration = 0, ...args: []) => {
    const timer = setTimeout(run, duration, ...args);
    if (duration === milliseconds) runningTimeouts.set(timer, run);
    return timer;
  }) as typeof setTimeout;
  globalThis.clearTimeout = (timer) => {
    runningTimeouts.delete(timer);
    clearTimeout(timer);
  };
  return {
    /** Ends the timeouts, and returns their number. */
    end: () => {
      const timers = [...runningTimeouts];
      for (const [timer, run] of timers) {
        globalThis.clearTimeout(timer as number);
        run();
      }
      return timers.length;
    },
    [Symbol.dispose]: () => void Object.assign(globalThis, { setTimeout, clearTimeout }),
  };
}

/** Lets only a test run the intervals of a duration, such as those of a time-out. */
export function captureIntervals(milliseconds: number) {
  const { setInterval, clearInterval } = globalThis;
  const capturedIntervals = new Map<unknown, () => void>();
  globalThis.setInterval = ((run: () => void, duration = 0) => {
    if (duration !== milliseconds) return setInterval(run, duration);
    const timer = setInterval(() => {}, 2 ** 31 - 1);
    capturedIntervals.set(timer, run);
    return timer;
  }) as typeof setInterval;
  globalThis.clearInterval = (timer) => {
    capturedIntervals.delete(timer);
    clearInterval(timer);
  };
  return {
    /** Runs the functions of the intervals once. */
    tick: () => {
      for (const run of [...capturedIntervals.values()]) run();
    },
    [Symbol.dispose]: () => void Object.assign(globalThis, { setInterval, clearInterval }),
  };
}

/** Stops the clock of `performance`, which a test can advance by seconds; timers still run. */
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

/** Makes `performance` run a thousand times as fast, so that all progress is reported. */
export function speedUpClock(): Disposable {
  return patch(performance, "now", (now) => () => now.call(performance) * 1000);
}

/**
 * Skips each announced pause before a retry ("trying again in 2 s"), and advances the clock of
 * `performance`.
 */
export function skipPauses() {
  const { setTimeout } = globalThis;
  const { now } = performance;
  let announcedMilliseconds = NaN;
  let skippedMilliseconds = 0;
  performance.now = () => now.call(performance) + skippedMilliseconds;
  globalThis.setTimeout = ((callback: () => void, milliseconds = 0, ...args: []) => {
    if (milliseconds !== announcedMilliseconds) return setTimeout(callback, milliseconds, ...args);
    skippedMilliseconds += milliseconds;
    announcedMilliseconds = NaN;
    return setTimeout(callback, 0, ...args);
  }) as typeof setTimeout;
  return {
    note: (text: string) => {
      const [, seconds] = /trying again in (\d+) s/.exec(text) ?? [];
      if (seconds !== undefined) announcedMilliseconds = Number(seconds) * 1000;
    },
    [Symbol.dispose]: () => {
      globalThis.setTimeout = setTimeout;
      performance.now = now;
    },
  };
}

/**
 * Skips the ticks of 200 ms in which a terminal ignores input before each question. Each tick advances the
 * clock by less, because the ticks of both devices advance the same clock, and a late tick would
 * be repeated.
 */
export function skipIgnoredInput(): Disposable {
  const stack = new DisposableStack();
  let skippedMilliseconds = 0;
  stack.use(patch(performance, "now", (now) => () => now.call(performance) + skippedMilliseconds));
  stack.use(patch(
    globalThis,
    "setTimeout",
    (setTimeout) =>
      ((run: () => void, milliseconds = 0, ...args: []) => {
        if (milliseconds !== 200) return setTimeout(run, milliseconds, ...args);
        skippedMilliseconds += 50;
        return setTimeout(run, 0, ...args);
      }) as typeof setTimeout,
  ));
  return stack;
}
