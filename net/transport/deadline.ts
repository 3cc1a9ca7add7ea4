/**
 * All connections with the same time-out share one coarse timer, so that no connection and no wait
 * needs its own timer or reads the clock. At each tick, the deadline of a connection asks which
 * wait is in progress.
 */

import { notAllowedError, wrongTypeError } from "../../internal/checks.ts";
import { type SwapRemoveEntry, SwapRemoveSet } from "../../internal/collections.ts";

export type Timer = ReturnType<typeof setInterval>;

export function startInterval(onTick: () => void, milliseconds: number): Timer {
  return unrefTimer(setInterval(onTick, milliseconds));
}

export function unrefTimer(timer: Timer): Timer {
  // If a module imports from `node:`, the type of a timer is Node's object; Deno's is a number.
  Deno.unrefTimer(timer as unknown as number);
  return timer;
}

const TICKS_PER_TIMEOUT = 8;
export const MAX_TIMER_MILLISECONDS = 2 ** 31 - 1;

/** A larger number was probably meant as milliseconds. */
const MAX_TIMEOUT_SECONDS = 3600;

export function checkTimeout(label: string, timeout: number | null): void {
  if (timeout === null) return;
  if (typeof timeout !== "number") {
    throw wrongTypeError(label, "a number of seconds, or null", timeout);
  }
  if (!(timeout > 0 && timeout <= MAX_TIMEOUT_SECONDS)) {
    throw notAllowedError(
      label,
      `must be a number of seconds above 0 and at most ${MAX_TIMEOUT_SECONDS}, ` +
        `or null for no limit; got ${timeout}`,
    );
  }
}

class CoarseTimer {
  readonly milliseconds: number;
  readonly #timer: Timer;
  readonly #deadlines = new SwapRemoveSet<TimerUser>();

  /**
   * Starts the timer, which doesn't keep the process alive: a read or write within a deadline does.
   */
  constructor(milliseconds: number) {
    this.milliseconds = milliseconds;
    this.#timer = startInterval(() => this.#advance(), milliseconds);
    timersByInterval.set(milliseconds, this);
  }

  add(deadline: TimerUser): void {
    this.#deadlines.add(deadline);
  }

  delete(deadline: TimerUser): void {
    if (!this.#deadlines.delete(deadline) || this.#deadlines.size > 0) return;
    clearInterval(this.#timer);
    timersByInterval.delete(this.milliseconds);
  }

  #advance(): void {
    for (const deadline of this.#deadlines) deadline.onTick();
  }
}

const timersByInterval = new Map<number, CoarseTimer>();

/** Restarting the timer for each connection would slow connections with one request. */
export function keepTimerRunning(timeout: number | null): Disposable {
  return new Deadline(timeout, () => {});
}

/**
 * For a client that makes a connection for each request, releasing at once costs 7 % more processor
 * time.
 */
export function releaseAfterTick(runningTimer: Disposable): void {
  setImmediate(() => runningTimer[Symbol.dispose]());
}

abstract class TimerUser implements Disposable, SwapRemoveEntry {
  index = -1;
  readonly #coarseTimer: CoarseTimer | null = null;

  constructor(timeout: number | null) {
    if (timeout === null) return;
    const milliseconds = Math.min(timeout * 1000 / TICKS_PER_TIMEOUT, MAX_TIMER_MILLISECONDS);
    this.#coarseTimer = timersByInterval.get(milliseconds) ?? new CoarseTimer(milliseconds);
    this.#coarseTimer.add(this);
  }

  abstract onTick(): void;

  close(): void {
    this.#coarseTimer?.delete(this);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Limits a wait that begins and ends in one module. Calls a function when the wait has taken 1.0 to
 * 1.25 times the time-out.
 */
export class Deadline extends TimerUser {
  /** The ticks since the wait began; -1 outside of a wait. */
  #ticks = -1;
  readonly #onExpire: () => void;

  constructor(timeout: number | null, onExpire: () => void) {
    super(timeout);
    this.#onExpire = onExpire;
  }

  /** The first tick may follow the start of a wait at once, so one tick more is necessary. */
  override onTick(): void {
    if (this.#ticks < 0 || this.#ticks++ < TICKS_PER_TIMEOUT) return;
    this.stopWait();
    this.#onExpire();
  }

  startWait(): void {
    this.#ticks = 0;
  }

  stopWait(): void {
    this.#ticks = -1;
  }
}

/** What the deadline of a connection asks. */
export interface Waiter {
  /** The name of the wait for the peer, of each wait another one; `null` for no wait. */
  readonly wait: string | null;
  /** The same for a write, which may overlap the wait. */
  readonly writeWait: string | null;
  /** The number of time-outs that a write may take. */
  readonly writeTimeouts: number;
  /**
   * Called when a wait has taken 1.0 to 1.25 times the time-out, or a write up to a quarter of the
   * time-out longer than it may.
   */
  onExpire(isWrite: boolean): void;
}

class TickCounter {
  #wait: string | null = null;
  #ticks = 0;

  /** Returns the ticks since the first one that has seen this wait. */
  count(wait: string | null): number {
    this.#ticks = wait !== null && wait === this.#wait ? this.#ticks + 1 : 0;
    this.#wait = wait;
    return this.#ticks;
  }
}

/**
 * Limits the waits of a connection. The first tick that sees a wait may follow its start at once,
 * so it doesn't count.
 */
export class ConnectionDeadline extends TimerUser {
  readonly #waiter: Waiter;
  readonly #waitTicks = new TickCounter();
  readonly #writeTicks = new TickCounter();

  constructor(timeout: number | null, waiter: Waiter) {
    super(timeout);
    this.#waiter = waiter;
  }

  override onTick(): void {
    const { wait, writeWait, writeTimeouts } = this.#waiter;
    const waitTicks = this.#waitTicks.count(wait);
    const isUnread = this.#writeTicks.count(writeWait) >= TICKS_PER_TIMEOUT * writeTimeouts;
    if (isUnread || waitTicks >= TICKS_PER_TIMEOUT) this.#waiter.onExpire(isUnread);
  }
}
