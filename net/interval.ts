/**
 * A timer in the background.
 *
 * @module
 */

/** The argument of {@linkcode clearInterval}. */
export type Interval = ReturnType<typeof setInterval>;

/** Calls a function again and again until the interval is cleared; it doesn't keep the process alive. */
export function startInterval(tick: () => void, milliseconds: number): Interval {
  const interval = setInterval(tick, milliseconds);
  // Where `node:` modules are loaded the types are those of Node, whose timers are objects.
  Deno.unrefTimer(interval as unknown as number);
  return interval;
}
