/**
 * Calls that are made again after an error that may be over in a moment.
 *
 * @module
 */

import { checkFunction, checkInteger } from "../base/checks.ts";
import { copyOptions } from "../base/options.ts";
import { checkSignal } from "../net/request_signal.ts";
import { isTransient } from "./transient.ts";

/** How often, and when, to try again. */
export interface RetryOptions {
  /**
   * How many times to try again, 0 to 1000, counted anew whenever something has been moved.
   *
   * @default {3}
   */
  retries?: number | undefined;
  /**
   * Milliseconds before the first time, 0 to 60,000; doubled each time, up to a minute.
   *
   * @default {1000}
   */
  delay?: number | undefined;
  /** Ends the waiting; the call rejects with its reason. The attempts need it, too. */
  signal?: AbortSignal | undefined;
  /** Called before each wait. */
  onRetry?: ((retry: Retry) => void) | undefined;
}

/** A call that is about to be made again. */
export interface Retry {
  /** What the call has failed with. */
  readonly error: unknown;
  /** 1 for the first time. */
  readonly number: number;
  /** Milliseconds until then. */
  readonly delay: number;
}

const OPTIONS = ["retries", "delay", "signal", "onRetry"];
const RETRIES = 3;
const MAX_RETRIES = 1000;
const DELAY_MILLISECONDS = 1000;
const MAX_DELAY_MILLISECONDS = 60_000;

/**
 * Makes a call, and again after an error that {@linkcode isTransient}, a few times and after a while that doubles.
 *
 * @param attempt Makes the call. It is given a function to call when something was moved, from which on the
 * attempts are counted anew: a long transfer may be cut more often than a short one.
 * @param options How often, how long it waits, and what is told of it.
 * @returns What the call resolves to.
 * @throws {TypeError} if an argument or option has the wrong type, or an option is unknown.
 * @throws {RangeError} if a value is not allowed.
 * @throws what the last call has failed with; the reason of the signal if it is aborted.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { FilesApp } from "@degu/degu/files";
 * import { download, fileUri, retry } from "@degu/degu/transfer";
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
      await wait(delay, signal);
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

async function wait(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, milliseconds);
  const stop = () => resolve();
  signal?.addEventListener("abort", stop);
  await promise;
  clearTimeout(timer);
  signal?.removeEventListener("abort", stop);
  signal?.throwIfAborted();
}
