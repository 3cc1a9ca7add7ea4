/**
 * Where is told what happens where nobody has said where to.
 *
 * @module
 */

import type { Logger } from "./server_connection.ts";

/** Tells warnings and errors to stderr. */
export const standardLogger: Logger = {
  debug() {},
  info() {},
  // deno-lint-ignore no-console
  warn: (message) => console.warn(message),
  // deno-lint-ignore no-console
  error: (message) => console.error(message),
};
