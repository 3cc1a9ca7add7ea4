/** Loggers: the standard one, and a wrapper of a user's, which may fail. */

import { checkMethods } from "../base/checks.ts";

/** The logger of a server; `console` works. */
export interface Logger {
  /**
   * Connections that have ended or were reset, also during a response, and handshakes that were
   * cut.
   */
  debug(message: string): void;
  /**
   * Errors of peers: invalid bytes, time-outs, refused handshakes, refused connections, and bodies
   * that are too long to be read at once.
   */
  info(message: string): void;
  /** Security concerns, and failures to accept. */
  warn(message: string): void;
  /** Exceptions of the app, answers that are not allowed, and bugs of this package. */
  error(message: string): void;
}

export const LEVELS = ["debug", "info", "warn", "error"] as const;

/** Prints warnings and errors to stderr. */
export const standardLogger: Logger = {
  debug() {},
  info() {},
  // deno-lint-ignore no-console
  warn: (message) => console.warn(message),
  // deno-lint-ignore no-console
  error: (message) => console.error(message),
};

/**
 * Wraps a logger, which must have a method for each level, so that its failures (a full disk, say)
 * don't reach the caller: exceptions and rejections are dropped.
 */
export function makeSafeLogger<Level extends string>(
  logger: Readonly<Record<Level, (message: string) => void>>,
  levels: readonly Level[],
): Record<Level, (message: string) => void> {
  checkMethods("logger", logger, levels);
  const log = (level: Level) => (message: string) => {
    try {
      const returned: unknown = logger[level](message);
      // The types also allow async methods, whose promises nothing else awaits.
      if (returned !== undefined) Promise.resolve(returned).catch(() => {});
    } catch {
      // A failure of the logger can't be logged.
    }
  };
  const entries = levels.map((level) => [level, log(level)] as const);
  // `fromEntries` doesn't know that each level has an entry.
  return Object.fromEntries(entries) as Record<Level, (message: string) => void>;
}
