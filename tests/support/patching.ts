/** Functions that are replaced for a while, so that a call of them fails, is counted, or does more. */

/**
 * Replaces a function of an object, such as `Deno`, until it is disposed of. The new function
 * may do that itself, for a change that is to happen once.
 *
 * @param make Returns the new function; the original is passed to it.
 */
export function patch<T extends object, K extends keyof T>(
  holder: T,
  name: K,
  make: (original: T[K]) => T[K],
): Disposable {
  const original = holder[name];
  holder[name] = make(original);
  return { [Symbol.dispose]: () => void (holder[name] = original) };
}
