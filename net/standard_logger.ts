/** The interface of a server's logger, and the default logger. */

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

/** Prints warnings and errors to stderr. */
export const standardLogger: Logger = {
  debug() {},
  info() {},
  // deno-lint-ignore no-console
  warn: (message) => console.warn(message),
  // deno-lint-ignore no-console
  error: (message) => console.error(message),
};
