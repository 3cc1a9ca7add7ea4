/**
 * One coarse timer for all connections with the same time-out: no connection and no wait needs its
 * own timer or reads the clock.
 */

import { wrongType } from "../base/checks.ts";
import { type Member, Members } from "../base/members.ts";

export type Interval = ReturnType<typeof setInterval>;

/** Calls a function at intervals, which don't keep the process alive. */
export function startInterval(tick: () => void, milliseconds: number): Interval {
  const interval = setInterval(tick, milliseconds);
  // If `node:` modules are loaded, the types are those of Node, whose timers are objects.
  Deno.unrefTimer(interval as unknown as number);
  return interval;
}

/** The number of ticks of the timer within one time-out. */
const TICKS = 8;
/** The longest time that a timer can wait, in milliseconds. */
export const MAX_INTERVAL = 2 ** 31 - 1;

/** Checks a time-out: seconds above zero, or `null` for none. */
export function checkTimeout(timeout: number | null, label = "timeout"): void {
  if (timeout === null) return;
  if (typeof timeout !== "number") {
    throw wrongType(label, "a number of seconds, or null", timeout);
  }
  if (!(timeout > 0 && timeout < Infinity)) {
    throw new RangeError(
      `${label}: must be a number of seconds above 0, or null for no limit; got ${timeout}`,
    );
  }
}

/** Ticks for all deadlines with the same interval, as long as there are any. */
class Clock {
  tick = 0;
  readonly #milliseconds: number;
  readonly #timer: Interval;
  readonly #deadlines = new Members<Deadline>();

  /** Begins to tick; this does not keep the process alive: a wait does. */
  constructor(milliseconds: number) {
    this.#milliseconds = milliseconds;
    this.#timer = startInterval(() => this.#advance(), milliseconds);
    clocks.set(milliseconds, this);
  }

  add(deadline: Deadline): void {
    this.#deadlines.add(deadline);
  }

  /** Removes a deadline; the clock ends with the last one. */
  delete(deadline: Deadline): void {
    if (!this.#deadlines.delete(deadline) || this.#deadlines.size > 0) return;
    clearInterval(this.#timer);
    clocks.delete(this.#milliseconds);
  }

  #advance(): void {
    this.tick++;
    for (const deadline of this.#deadlines) deadline.check();
  }
}

/** By the interval in milliseconds. */
const clocks = new Map<number, Clock>();

/**
 * The most turns of the microtask queue from the end of a response to the next request of a program
 * that does nothing between the two: with three functions around each request, and a body that is
 * read from memory, some twenty turns.
 */
const TURNS = 30;

/**
 * Keeps the timer of a time-out running from now until after the last wait of a client, which may
 * begin another wait at once. To stop and start the timer takes a tenth of the time of a request
 * over a connection of its own.
 *
 * @returns A function to call after the last wait.
 */
export function keepTimerForNext(timeout: number | null): () => Promise<void> {
  const idle = new Deadline(timeout, () => {});
  return async () => {
    for (let turn = 0; turn < TURNS; turn++) await null;
    idle.close();
  };
}

/** Bounds waits, each of which fires between 1.0 and 1.25 times the time-out. */
export class Deadline implements Disposable, Member {
  place = -1;
  /** The tick at which the wait for bytes began; -1 while there is none. */
  #reading = -1;
  /** The same of a write, which may wait at the same time. */
  #writing = -1;
  readonly #clock: Clock | null = null;
  readonly #onExpire: () => void;

  constructor(timeout: number | null, onExpire: () => void) {
    this.#onExpire = onExpire;
    if (timeout === null) return;
    const milliseconds = Math.min(timeout * 1000 / TICKS, MAX_INTERVAL);
    this.#clock = clocks.get(milliseconds) ?? new Clock(milliseconds);
    this.#clock.add(this);
  }

  /** Ends both waits, at a tick, if either has taken too long. */
  check(): void {
    if (!this.#isOver(this.#reading) && !this.#isOver(this.#writing)) return;
    this.stopReading();
    this.stopWriting();
    this.#onExpire();
  }

  #isOver(since: number): boolean {
    // The wait began between two ticks: one tick more than fit in the time-out must pass.
    return since >= 0 && this.#clock!.tick - since > TICKS;
  }

  get isReading(): boolean {
    return this.#reading >= 0;
  }

  /** Begins or restarts the wait for bytes. */
  startReading(): void {
    this.#reading = this.#clock === null ? 0 : this.#clock.tick;
  }

  stopReading(): void {
    this.#reading = -1;
  }

  startWriting(): void {
    this.#writing = this.#clock === null ? 0 : this.#clock.tick;
  }

  stopWriting(): void {
    this.#writing = -1;
  }

  /** From now on no wait expires. */
  close(): void {
    this.#clock?.delete(this);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
