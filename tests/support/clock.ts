/** Clocks that are ahead, or fast. */

/**
 * Sets the clock of this process ahead until it is disposed of; that of the file system stays. After three
 * seconds each file has settled: it has an entity tag, and its digest is kept.
 */
export function setClockAhead(milliseconds = 3000): Disposable {
  const { now } = Date;
  Date.now = () => now() + milliseconds;
  return { [Symbol.dispose]: () => void (Date.now = now) };
}

/** Lets a second last a thousand until it is disposed of: as if everything were so slow that all progress is reported. */
export function slowClock(): Disposable {
  const { now } = performance;
  performance.now = () => now.call(performance) * 1000;
  return { [Symbol.dispose]: () => void (performance.now = now) };
}
