/**
 * Loggers of applications, which may fail.
 *
 * @module
 */

/**
 * Makes a logger whose failures, as of a disk that is full, are not the caller's: what a method throws,
 * and what a promise of it rejects with, is dropped.
 */
export function makeSafeLogger<Level extends string>(
  logger: Readonly<Record<Level, (message: string) => void>>,
  levels: readonly Level[],
): Record<Level, (message: string) => void> {
  const log = (level: Level) => (message: string) => {
    try {
      // An asynchronous method is a `() => void` to the types, and nobody else waits for it.
      Promise.resolve<unknown>(logger[level](message)).catch(() => {});
    } catch {
      // There is nobody left to tell.
    }
  };
  const entries = levels.map((level) => [level, log(level)] as const);
  // `fromEntries` doesn't know that there is one for each level.
  return Object.fromEntries(entries) as Record<Level, (message: string) => void>;
}
