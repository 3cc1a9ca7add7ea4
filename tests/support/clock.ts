/** A clock that is ahead. */

/**
 * Sets the clock of this process ahead until it is disposed of; that of the file system stays. After three
 * seconds each file has settled: it has an entity tag, and its digest is kept.
 */
export function setClockAhead(milliseconds = 3000): Disposable {
  const { now } = Date;
  Date.now = () => now() + milliseconds;
  return { [Symbol.dispose]: () => void (Date.now = now) };
}
