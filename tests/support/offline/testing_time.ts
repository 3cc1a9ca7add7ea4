/**
 * Stands in for `@std/testing/time` if JSR is unreachable: the part of `FakeTime` that does not
 * wait for real time.
 */

interface Timer {
  readonly id: number;
  readonly callback: (...args: unknown[]) => void;
  readonly args: readonly unknown[];
  /** Milliseconds between two calls; `null` for a timer with a single call. */
  readonly period: number | null;
  due: number;
}

type GlobalTime = Pick<
  typeof globalThis,
  "Date" | "setTimeout" | "setInterval" | "clearTimeout" | "clearInterval"
>;

const RealDate = Date;
const realGlobals: GlobalTime = { Date, setTimeout, setInterval, clearTimeout, clearInterval };
let activeTime: FakeTime | undefined;

/** Replaces the clock and the timers by others that move only on request. */
export class FakeTime implements Disposable {
  readonly start: number;
  #now: number;
  #lastId = 0;
  readonly #timers = new Map<number, Timer>();

  /** @param start milliseconds since the epoch, or a date; the present if left out */
  constructor(start: number | Date = RealDate.now()) {
    if (activeTime) throw new Error("cannot fake time: it is faked already");
    this.start = Number(start);
    this.#now = this.start;
    activeTime = this;
    const clear = (id?: unknown) => void this.#timers.delete(id as number);
    Object.assign(globalThis, {
      Date: dateAt(() => this.#now),
      setTimeout: (callback: Timer["callback"], delay = 0, ...args: unknown[]) =>
        this.#add(callback, args, Math.max(0, Math.floor(delay)), false),
      setInterval: (callback: Timer["callback"], delay = 0, ...args: unknown[]) =>
        this.#add(callback, args, Math.max(1, Math.floor(delay)), true),
      clearTimeout: clear,
      clearInterval: clear,
    });
  }

  #add(callback: Timer["callback"], args: unknown[], delay: number, repeats: boolean): number {
    const id = ++this.#lastId;
    const due = this.#now + delay;
    this.#timers.set(id, { id, callback, args, period: repeats ? delay : null, due });
    return id;
  }

  /** Milliseconds since the epoch. */
  get now(): number {
    return this.#now;
  }

  /** Advances to a later time, and calls the timers that are due until then. */
  set now(value: number) {
    if (value < this.#now) throw new RangeError(`time is at ${this.#now}, which is after ${value}`);
    for (let timer = this.#next(); timer && timer.due <= value; timer = this.#next()) {
      this.#now = timer.due;
      // The timer moves behind others of the same time, as if each call had set a new timer.
      this.#timers.delete(timer.id);
      if (timer.period !== null) {
        timer.due += timer.period;
        this.#timers.set(timer.id, timer);
      }
      timer.callback(...timer.args);
    }
    this.#now = value;
  }

  #next(): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers.values()) {
      if (next === undefined || timer.due < next.due) next = timer;
    }
    return next;
  }

  tick(milliseconds = 0): void {
    this.now += milliseconds;
  }

  restore(): void {
    if (activeTime !== this) throw new Error("cannot restore time: it is restored already");
    activeTime = undefined;
    Object.assign(globalThis, realGlobals);
  }

  [Symbol.dispose](): void {
    this.restore();
  }
}

/** Makes a `Date` with another present time. */
function dateAt(now: () => number): DateConstructor {
  return new Proxy(RealDate, {
    construct: (target, args, newTarget) =>
      Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget),
    apply: () => new RealDate(now()).toString(),
    get: (target, key) => key === "now" ? now : Reflect.get(target, key),
  });
}
