/**
 * Retries calls after transient errors, and says which errors are.
 *
 * @module
 */

import { checkFunction, checkInteger } from "../base/checks.ts";
import {
  ConnectionClosedError,
  DeguError,
  EmptyPreambleError,
  ProtocolError,
  type ProtocolErrorCode,
  TlsError,
} from "../base/errors.ts";
import { copyOptions } from "../base/options.ts";
import { pause } from "../base/pause.ts";
import { checkSignal } from "./request_signal.ts";
import { isUnreachable, systemCode } from "./unreachable.ts";

/** How often, and when, to retry. */
export interface RetryOptions {
  /**
   * How many times to retry, 0 to 1000, counted from zero after each progress.
   *
   * @default {3}
   */
  retries?: number | undefined;
  /**
   * Milliseconds before the first retry, 0 to 60,000; doubled each time, up to a minute.
   *
   * @default {1000}
   */
  delay?: number | undefined;
  /** Aborts the wait; the call rejects with its reason. Pass it to the attempts, too. */
  signal?: AbortSignal | undefined;
  /** Called before each wait. */
  onRetry?: ((retry: Retry) => void) | undefined;
}

/** A retry that is about to be made. */
export interface Retry {
  /** The error of the call. */
  readonly error: unknown;
  /** 1 for the first retry. */
  readonly number: number;
  /** Milliseconds until the retry. */
  readonly delay: number;
}

const OPTIONS = ["retries", "delay", "signal", "onRetry"];
const RETRIES = 3;
const MAX_RETRIES = 1000;
const DELAY_MILLISECONDS = 1000;
const MAX_DELAY_MILLISECONDS = 60_000;

/**
 * Makes a call, and retries it a few times after {@linkcode isTransient | transient} errors, with doubling delays.
 *
 * @param attempt Makes the call. Its argument is a function to call after each progress, which resets
 * the count: a long transfer may be interrupted more often than a short one.
 * @param options How often and after which delays to retry, and a callback.
 * @returns The result of the call.
 * @throws {TypeError} if an argument or option has the wrong type, or an option is unknown.
 * @throws {RangeError} if a value is not allowed.
 * @throws the error of the last call; the reason of the signal if it is aborted.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { FilesApp } from "@degu/degu/files";
 * import { download, fileUri, retry } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.writeTextFile(`${dir}/a`, "hello");
 * await using server = new Server(["127.0.0.1", 0], new FilesApp(dir));
 * server.serveForever();
 * const client = new Client(server.address);
 *
 * const { total } = await retry((moved) => {
 *   return download(client, fileUri("a"), `${dir}/copy`, { onProgress: moved });
 * });
 * assertEquals(total, 5);
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export async function retry<T>(
  attempt: (moved: () => void) => Promise<T>,
  options: RetryOptions = {},
): Promise<T> {
  checkFunction("attempt", attempt);
  const { retries, delay: first, signal, onRetry } = checkOptions(options);
  let number = 0;
  while (true) {
    signal?.throwIfAborted();
    try {
      return await attempt(() => number = 0);
    } catch (error) {
      signal?.throwIfAborted();
      if (number >= retries || !isTransient(error)) throw error;
      const delay = Math.min(first * 2 ** number, MAX_DELAY_MILLISECONDS);
      onRetry?.({ error, number: ++number, delay });
      await pause(delay, signal);
    }
  }
}

function checkOptions(options: RetryOptions) {
  const copy = copyOptions(options, OPTIONS);
  const { retries = RETRIES, delay = DELAY_MILLISECONDS, signal, onRetry } = copy;
  checkInteger("retries", retries, 0, MAX_RETRIES);
  checkInteger("delay", delay, 0, MAX_DELAY_MILLISECONDS);
  checkSignal(signal);
  if (onRetry !== undefined) checkFunction("onRetry", onRetry);
  return { retries, delay, signal, onRetry };
}

/** How connections break, and what a host says whose server is about to start. */
const BROKEN: readonly (abstract new (...args: never[]) => Error)[] = [
  Deno.errors.ConnectionRefused,
  Deno.errors.ConnectionReset,
  Deno.errors.ConnectionAborted,
  Deno.errors.BrokenPipe,
  Deno.errors.NotConnected,
  Deno.errors.UnexpectedEof,
];

/** The codes of a message that broke off. */
const CUT: ReadonlySet<ProtocolErrorCode> = new Set(["PREAMBLE_INCOMPLETE", "BODY_INCOMPLETE"]);

/** The server, or a proxy in front of it, is overloaded (RFC 9110 §15.5, §15.6; RFC 6585 §4). */
const BUSY: ReadonlySet<unknown> = new Set([408, 429, 502, 503, 504]);

/**
 * Reports whether the same call may succeed a moment later: the connection broke off, was refused or timed out, or
 * the server is overloaded. A final response (404, 403, 412, 507 …), an untrusted peer, a
 * full disk and an invalid argument are not transient.
 *
 * @param error The error of a transfer, a request or `connect`.
 *
 * @example
 * ```ts
 * import { isTransient } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(isTransient(new Deno.errors.ConnectionReset()), true);
 * assertEquals(isTransient(new Deno.errors.PermissionDenied()), false);
 * ```
 */
export function isTransient(error: unknown): boolean {
  if (error instanceof DeguError && "status" in error) return BUSY.has(error.status);
  if (error instanceof TlsError) return error.code === "CLOSED";
  if (error instanceof EmptyPreambleError || error instanceof ConnectionClosedError) return true;
  if (error instanceof ProtocolError) return CUT.has(error.code);
  return isUnreachable(error) || BROKEN.some((each) => error instanceof each) ||
    systemCode(error) === "ENETRESET";
}
