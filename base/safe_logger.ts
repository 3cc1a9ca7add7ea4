/** Loggers given by users, which may fail. */

import { checkMethods } from "./checks.ts";

/**
 * Wraps a logger so that its failures (a full disk, say) don't reach the caller: exceptions and rejections
 * are dropped. It must have a method for each level.
 */
export function makeSafeLogger<Level extends string>(
  logger: Readonly<Record<Level, (message: string) => void>>,
  levels: readonly Level[],
): Record<Level, (message: string) => void> {
  checkMethods("logger", logger, levels);
  const log = (level: Level) => (message: string) => {
    try {
      const returned: unknown = logger[level](message);
      // The type allows async methods, and nothing else awaits them.
      if (returned !== undefined) Promise.resolve(returned).catch(() => {});
    } catch {
      // Nowhere to report it to.
    }
  };
  const entries = levels.map((level) => [level, log(level)] as const);
  // `fromEntries` doesn't know that each level has an entry.
  return Object.fromEntries(entries) as Record<Level, (message: string) => void>;
}
