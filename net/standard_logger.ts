/**
 * What a server reports to, and what it reports to unless told otherwise.
 *
 * @module
 */

/** What a server reports to; `console` fits. */
export interface Logger {
  /** Connections that were reset or have ended. */
  debug(message: string): void;
  /** What peers do wrong: invalid bytes, time-outs, refused handshakes. */
  info(message: string): void;
  /** Security concerns. */
  warn(message: string): void;
  /** Exceptions of the app. */
  error(message: string): void;
}

/** Prints warnings and errors to stderr. */
export const standardLogger: Logger = {
  debug() {},
  info() {},
  // deno-lint-ignore no-console
  warn: (message) => console.warn(message),
  // deno-lint-ignore no-console
  error: (message) => console.error(message),
};
