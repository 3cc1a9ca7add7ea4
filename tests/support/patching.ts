/**
 * Replaces a function of an object, such as `Deno`, until the result is disposed of. To replace
 * only one call, the new function disposes of the result itself.
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
