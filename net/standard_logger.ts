/**
 * The interface of a server's logger, and the default logger.
 *
 * @module
 */

/** The logger of a server; `console` works. */
export interface Logger {
  /** Connections that were reset or have ended. */
  debug(message: string): void;
  /** Mistakes of peers: invalid bytes, time-outs, refused handshakes. */
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
