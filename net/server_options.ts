/**
 * The options of a server.
 *
 * @module
 */

import { typeName } from "../base/errors.ts";
import { copyOptions } from "../base/options.ts";
import { checkTimeout } from "./deadline.ts";
import type { Logger } from "./standard_logger.ts";

/** The limits of a server, and what it reports to. */
export interface ServerOptions {
  /**
   * How many connections are served at a time, or `Infinity`. One more waits for up to 2 seconds.
   * TLS handshakes don't count: 64 may be under way, of which the oldest is ended for the next.
   *
   * @default {50}
   */
  maxConnections?: number | undefined;
  /**
   * How many requests one connection may make, or `Infinity`.
   *
   * @default {1000}
   */
  maxRequests?: number | undefined;
  /**
   * Seconds that may pass: before a request's first byte, within its preamble, between two pieces
   * of its body, for a write, for a handshake. `null` for no limit. It fires between 1.0 and 1.25
   * times its value.
   *
   * @default {30}
   */
  timeout?: number | null | undefined;
  /**
   * What to report to; `console` fits.
   *
   * @default {warnings and errors, to stderr}
   */
  logger?: Logger | undefined;
}

const OPTIONS = ["maxConnections", "maxRequests", "timeout", "logger"];
/** The methods of a logger. */
export const LEVELS = ["debug", "info", "warn", "error"] as const;

/**
 * Checks options and copies them.
 *
 * @throws {TypeError} if one is unknown or of a wrong type.
 * @throws {RangeError} if a value is not allowed.
 */
export function checkServerOptions(options: ServerOptions): ServerOptions {
  const copy = copyOptions(options, OPTIONS);
  checkCount("maxConnections", copy.maxConnections);
  checkCount("maxRequests", copy.maxRequests);
  if (copy.timeout !== undefined) checkTimeout(copy.timeout);
  for (const level of LEVELS) {
    if (copy.logger !== undefined && typeof copy.logger?.[level] !== "function") {
      throw new TypeError(`logger: need an object with the method ${level}`);
    }
  }
  return copy;
}

function checkCount(name: string, value: number | undefined): void {
  if (value === undefined) return;
  if (typeof value !== "number") {
    throw new TypeError(`${name}: need a number; got ${typeName(value)}`);
  }
  if (value !== Infinity && (!Number.isSafeInteger(value) || value < 1)) {
    throw new RangeError(`${name}: need an integer of 1 or more, or Infinity; got ${value}`);
  }
}
