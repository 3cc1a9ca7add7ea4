/** Clocks that are ahead, or fast, and timers that are seen. */

import { FakeTime } from "@std/testing/time";
import { patch } from "./patching.ts";

/**
 * Sets the clock of this process ahead until it is disposed of; that of the file system stays. After three
 * seconds each file has settled: it has an entity tag, and its digest is kept.
 */
export function setClockAhead(milliseconds = 3000): Disposable {
  return patch(Date, "now", (now) => () => now() + milliseconds);
}

/**
 * A clock that stands still until it is told to go on, that of `performance` as well; the file
 * system has its own.
 */
export function stoppedClock() {
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
 * The intervals that are started until it is disposed of, with their milliseconds, and those of them that run.
 *
 * @param speed How many times as fast those below a second pass; longer ones are of time-outs.
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

/** A test in which short intervals pass ten times as fast: those after which a server looks whether a client has left. */
export function fastTest(name: string, run: (t: Deno.TestContext) => Promise<void>): void {
  Deno.test(name, async (t) => {
    using _intervals = recordIntervals(10);
    await run(t);
  });
}

/**
 * Lets some timeouts pass ten times as fast, or at another speed, until it is disposed of; all that are started are kept, in
 * milliseconds.
 */
export function fastTimeouts(isFast: (milliseconds: number) => boolean, speed = 10) {
  const { setTimeout } = globalThis;
  const started: number[] = [];
  globalThis.setTimeout = ((run: () => void, milliseconds = 0) => {
    started.push(milliseconds);
    return setTimeout(run, isFast(milliseconds) ? milliseconds / speed : milliseconds);
  }) as typeof setTimeout;
  return { started, [Symbol.dispose]: () => void (globalThis.setTimeout = setTimeout) };
}

/**
 * Stops the clock of `performance` until it is disposed of. A test lets seconds pass on it; timers
 * go on.
 */
export function stopClock() {
  const { now } = performance;
  // Of whole numbers every sum is exact.
  let time = Math.ceil(now.call(performance));
  performance.now = () => time;
  return {
    pass: (seconds: number) => void (time += seconds * 1000),
    [Symbol.dispose]: () => void (performance.now = now),
  };
}

/** Lets a second last a thousand until it is disposed of: as if everything were so slow that all progress is reported. */
export function slowClock(): Disposable {
  return patch(performance, "now", (now) => () => now.call(performance) * 1000);
}

/**
 * Lets each pause before a retry pass at once, also on the clock of `performance`, if it was noted before ("trying again in
 * 2 s"). All other timers take as long as ever, but for those of `always` milliseconds.
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
