/**
 * All connections with the same time-out share one coarse timer, so that no connection and no wait
 * needs its own timer or reads the clock.
 */

import type { Socket } from "../../base/app/app.ts";
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
  tickCount = 0;
  readonly milliseconds: number;
  readonly #timer: Timer;
  readonly #deadlines = new SwapRemoveSet<Deadline>();

  /**
   * Starts the timer, which doesn't keep the process alive: a read or write within a deadline does.
   */
  constructor(milliseconds: number) {
    this.milliseconds = milliseconds;
    this.#timer = startInterval(() => this.#advance(), milliseconds);
    timersByInterval.set(milliseconds, this);
  }

  add(deadline: Deadline): void {
    this.#deadlines.add(deadline);
  }

  delete(deadline: Deadline): void {
    if (!this.#deadlines.delete(deadline) || this.#deadlines.size > 0) return;
    clearInterval(this.#timer);
    timersByInterval.delete(this.milliseconds);
  }

  #advance(): void {
    this.tickCount++;
    for (const deadline of this.#deadlines) deadline.check();
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

/**
 * Limits two waits, which may overlap: a wait of the owner (for bytes, for a connection, or for the
 * next use of an idle connection), and a write. Calls a function when either wait has taken 1.0 to
 * 1.25 times the time-out.
 */
export class Deadline implements Disposable, SwapRemoveEntry {
  index = -1;
  /** The tick at which the wait began; -1 outside of a wait. */
  protected waitStart = -1;
  protected writeStart = -1;
  readonly #coarseTimer: CoarseTimer | null = null;
  readonly #onExpire: (isWrite: boolean) => void;

  constructor(timeout: number | null, onExpire: (isWrite: boolean) => void) {
    this.#onExpire = onExpire;
    if (timeout === null) return;
    const milliseconds = Math.min(timeout * 1000 / TICKS_PER_TIMEOUT, MAX_TIMER_MILLISECONDS);
    this.#coarseTimer = timersByInterval.get(milliseconds) ?? new CoarseTimer(milliseconds);
    this.#coarseTimer.add(this);
  }

  check(): void {
    this.expireAfter(TICKS_PER_TIMEOUT);
  }

  protected expireAfter(ticks: number): boolean {
    const isWrite = this.ticksSince(this.writeStart) > ticks;
    if (!isWrite && this.ticksSince(this.waitStart) <= ticks) return false;
    this.stopWait();
    this.stopWrite();
    this.#onExpire(isWrite);
    return true;
  }

  /** The first tick may follow the start of a wait at once, so one tick more is necessary. */
  protected ticksSince(start: number): number {
    return start < 0 ? 0 : this.#coarseTimer!.tickCount - start;
  }

  get isWaiting(): boolean {
    return this.waitStart >= 0;
  }

  get isWriting(): boolean {
    return this.writeStart >= 0;
  }

  startWait(): void {
    this.waitStart = this.#coarseTimer === null ? 0 : this.#coarseTimer.tickCount;
  }

  stopWait(): void {
    this.waitStart = -1;
  }

  startWrite(): void {
    this.writeStart = this.#coarseTimer === null ? 0 : this.#coarseTimer.tickCount;
  }

  stopWrite(): void {
    this.writeStart = -1;
  }

  close(): void {
    this.#coarseTimer?.delete(this);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * A deadline that also asks after each silence, as long as the wait lasts, whether the peer answers
 * on another connection, and calls a function if so.
 */
export class SilenceDeadline extends Deadline {
  readonly #silence: NonNullable<Socket["silence"]>;
  readonly #timeoutTicks: number;
  readonly #onLost: (isWrite: boolean, seconds: number) => void;
  readonly #closeController = new AbortController();
  #isAsking = false;

  /** @param onLost Called with the seconds for which the peer was silent. */
  constructor(
    timeout: number | null,
    onExpire: (isWrite: boolean) => void,
    silence: NonNullable<Socket["silence"]>,
    onLost: (isWrite: boolean, seconds: number) => void,
  ) {
    super(silence.seconds, onExpire);
    this.#silence = silence;
    this.#timeoutTicks = (timeout ?? Infinity) / silence.seconds * TICKS_PER_TIMEOUT;
    this.#onLost = onLost;
  }

  override check(): void {
    if (this.expireAfter(this.#timeoutTicks)) return;
    const isWrite = this.ticksSince(this.writeStart) > this.ticksSince(this.waitStart);
    const silences = (this.ticksSince(this.#startOf(isWrite)) - 1) / TICKS_PER_TIMEOUT;
    if (silences >= 1 && Number.isInteger(silences)) {
      this.#ask(isWrite, silences * this.#silence.seconds);
    }
  }

  #startOf(isWrite: boolean): number {
    return isWrite ? this.writeStart : this.waitStart;
  }

  async #ask(isWrite: boolean, seconds: number): Promise<void> {
    if (this.#isAsking) return;
    this.#isAsking = true;
    const start = this.#startOf(isWrite);
    const { signal } = this.#closeController;
    const isAnswering = await this.#silence.isAnsweringElsewhere(seconds, signal);
    this.#isAsking = false;
    // The peer may have answered on this connection meanwhile.
    if (isAnswering && this.#startOf(isWrite) === start) this.#onLost(isWrite, seconds);
  }

  override close(): void {
    this.#closeController.abort();
    super.close();
  }
}
