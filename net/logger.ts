/** Loggers: what servers report to, by default and by users, whose loggers may fail. */

import { checkMethods } from "../base/checks.ts";

/** The logger of a server; `console` works. */
export interface Logger {
  /** Connections that have ended or were reset, even while a response was sent, and handshakes that were cut. */
  debug(message: string): void;
  /**
   * Errors of peers: invalid bytes, time-outs, refused handshakes, refused connections, and bodies that are too
   * long to be read at once.
   */
  info(message: string): void;
  /** Security concerns, and failures to accept. */
  warn(message: string): void;
  /** Exceptions of the app, and answers that are not allowed. */
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
