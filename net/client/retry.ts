/**
 * Retries of calls after transient errors, and the classification of errors as transient.
 *
 * The table has all layers that retry, innermost first. Each layer sees only the errors that the
 * layers above it in the table have rethrown. Progress of a file or of a tree resets the counts.
 *
 * | where                       | what is retried                          | how often       |
 * | --------------------------- | ---------------------------------------- | --------------- |
 * | `…/connection_pool.ts`      | a request, if its connection had closed  | once            |
 * | `…/inviter_client.ts`       | a connection that an inviter cuts        | 9 times         |
 * | `files/transfer/client.ts`  | a change, if its response is lost        | once            |
 * | `files/transfer/upload.ts`  | a `PUT`, if the server has another part  | once            |
 * | `…/download_stream.ts`      | the remaining bytes of a file            | 3 times         |
 * | `files/tree/local_tree.ts`  | the reading of a small file that changes | once            |
 * | `files/tree/file_copier.ts` | a request for several small files        | once            |
 * | `files/tree/file_copier.ts` | a truncated or changed file              | once            |
 * | `files/tree/copy_tree.ts`   | the whole tree, by `retry`               | `retries` times |
 * | a program                   | a call of its own, by `retry`            | `retries` times |
 * | `…/peer_connections.ts`     | a call of a command, by `retry`          | `retries` times |
 * | `…/peer_connections.ts`     | the search for a peer that is off        | for `wait`      |
 * | `program/repeat.ts`         | a run, failed or not                     | without end     |
 */

import { Response } from "../../base/app/message.ts";
import type { BodyOut } from "../../base/body/sent_body.ts";
import {
  checkFunction,
  checkOptions,
  checkSignal,
  makeIntegerCheck,
  makeNumberCheck,
} from "../../internal/checks.ts";
import { errorCodeOf, propertyOf } from "../../internal/caught_errors.ts";
import { pause } from "../../internal/pause.ts";
import { EARLY_CLOSE_MILLISECONDS } from "./client_errors.ts";
import { responseStatusError } from "../../base/app/expect_ok.ts";

/** The number of retries, their delays, and the errors after which to retry. */
export interface RetryOptions {
  /**
   * How many times to retry, 0 or more, or `Infinity`; counted from zero after each progress.
   *
   * @default {3}
   */
  retries?: number | undefined;
  /**
   * Seconds before the first retry, 0 to 60; doubled each time, up to a minute. If a `StatusError`
   * has a longer `retryAfter`, its time is used, up to a minute.
   *
   * @default {1}
   */
  seconds?: number | undefined;
  /**
   * Aborts the wait; the call rejects with the signal's reason. Also pass the signal to the
   * attempts.
   */
  signal?: AbortSignal | undefined;
  /**
   * Decides whether to retry after an error. For a `Response` that is not `ok` the error is the
   * {@linkcode StatusError} that {@linkcode expectOk} would throw, without its `text`.
   *
   * @default {isTransient}
   */
  when?: ((error: unknown) => boolean) | undefined;
  /** Called and awaited before each wait. An error of the function ends the retries. */
  onRetry?: ((event: RetryEvent) => unknown) | undefined;
}

/** A retry that is about to be made. */
export interface RetryEvent {
  /** The error of the call; for a `Response`, a {@linkcode StatusError}. */
  readonly error: unknown;
  /** 1 for the first retry. */
  readonly number: number;
  /** Seconds until the retry. */
  readonly seconds: number;
  /** Counts the retries from zero again, as after a progress. */
  readonly restart: () => void;
}

const DEFAULT_RETRIES = 3;
const DEFAULT_FIRST_WAIT_SECONDS = 1;
const MAX_WAIT_SECONDS = 60;

/**
 * The number of closes in a row, each less than {@linkcode EARLY_CLOSE_MILLISECONDS} after the
 * start of its attempt, that counts as a refusal. The client can't distinguish a server that no
 * longer trusts this device from a server that is shutting down.
 */
const MAX_EARLY_CLOSES = 2;

/**
 * Makes a call, and retries the call a few times after {@linkcode isTransient | transient} errors,
 * with doubling delays.
 *
 * A `Response` with the status 408, 429, 502, 503 or 504 is discarded and requested again, if its
 * request was a GET, HEAD or OPTIONS; with another method only after 429 and 503. The last response
 * is returned with any status.
 *
 * Two {@linkcode EmptyPreambleError}s in a row, each less than 1.5 s after its attempt began, end
 * the retries: the peer closes the connection instead of responding, most likely because it no
 * longer trusts this device.
 *
 * @param attempt Makes the call. Its first argument is a function to call after each progress,
 * which resets the count: a long transfer may be interrupted more often than a short one. If the
 * progress of a transfer is passed to that function, only bytes beyond the furthest point of all
 * earlier attempts count, so that the retries of a file that always starts over come to an end. Its
 * second argument is a function to call when the peer has responded: a later close is then no
 * refusal.
 * @param options How often and after which delays to retry, and a callback.
 * @returns The result of the call.
 * @throws {TypeError} if an argument or option has the wrong type, or an option is unknown.
 * @throws {RangeError} if a value is not allowed.
 * @throws the error of the last call; the reason of the signal if it is aborted.
 *
 * @example
 * ```ts
 * import { Client, reply, retry, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * let requestCount = 0;
 * const app = () => reply(++requestCount === 1 ? 503 : 200, "hello");
 * await using server = await Server.start(["127.0.0.1", 0], app);
 * const client = new Client(server.address);
 *
 * const response = await retry(() => client.get("/"), { seconds: 0 });
 * assertEquals([response.status, await response.text(), requestCount], [200, "hello", 2]);
 * ```
 */
export async function retry<T>(
  attempt: (
    onProgress: (progress?: { readonly done: number }) => void,
    onResponse: () => void,
  ) => T | Promise<T>,
  options: RetryOptions = {},
): Promise<T> {
  checkFunction("attempt", attempt);
  const {
    retries = DEFAULT_RETRIES,
    seconds: firstWaitSeconds = DEFAULT_FIRST_WAIT_SECONDS,
    signal,
    when = isTransient,
    onRetry,
  } = checkOptions(options, {
    retries: makeIntegerCheck(0, Infinity),
    seconds: makeNumberCheck(0, MAX_WAIT_SECONDS),
    signal: checkSignal,
    when: checkFunction,
    onRetry: checkFunction,
  });
  let retryCount = 0;
  let earlyCloseCount = 0;
  let furthestByte = 0;
  const onProgress = (progress?: { readonly done: number }) => {
    // A byte that an earlier attempt has reached isn't progress.
    if (progress !== undefined && progress.done <= furthestByte) return;
    if (progress !== undefined) furthestByte = progress.done;
    retryCount = earlyCloseCount = 0;
  };
  while (true) {
    signal?.throwIfAborted();
    const startedAt = performance.now();
    let hasResponded = false;
    let response: Response<BodyOut> | null = null;
    let result!: T;
    let error: unknown;
    try {
      result = await attempt(onProgress, () => hasResponded = true);
      if (!isUnsuccessfulResponse(result)) return result;
      response = result;
      error = responseStatusError(response, "");
    } catch (thrownError) {
      signal?.throwIfAborted();
      error = thrownError;
    }
    const isEarly = !hasResponded && performance.now() - startedAt < EARLY_CLOSE_MILLISECONDS;
    earlyCloseCount = isEarly && errorCodeOf(error) === "EMPTY_PREAMBLE" ? earlyCloseCount + 1 : 0;
    if (retryCount >= retries || earlyCloseCount >= MAX_EARLY_CLOSES || when(error) !== true) {
      if (response !== null) return result;
      throw error;
    }
    await response?.discard();
    const doubledSeconds = firstWaitSeconds * 2 ** Math.min(retryCount, 16);
    const seconds = Math.min(Math.max(doubledSeconds, retryAfterOf(error)), MAX_WAIT_SECONDS);
    retryCount++;
    await onRetry?.({ error, number: retryCount, seconds, restart: () => onProgress() });
    await pause(seconds * 1000, signal);
  }
}

function isUnsuccessfulResponse(result: unknown): result is Response<BodyOut> {
  return result instanceof Response && !result.ok;
}

function retryAfterOf(error: unknown): number {
  const retryAfter = propertyOf(error, "retryAfter");
  return typeof retryAfter === "number" && retryAfter > 0 ? retryAfter : 0;
}

/**
 * Reports whether the same call may succeed a moment later: the connection broke off, was refused
 * or timed out, a name could not be resolved, or the server is overloaded. A final response (404,
 * 403, 412, 507 …), an untrusted peer, a full disk and an invalid argument are not transient. An
 * error of a disk is not transient. The `cause` of an error doesn't count.
 *
 * If the peer closes the connection instead of responding to a `PUT`, `POST` or `DELETE`, the error
 * is not transient: the server may have processed the request. `upload` and `uploadTree` can be
 * repeated, so their errors are transient even then. A stream can't be repeated, so after its first
 * byte, an error of its transfer is not transient.
 *
 * Of the errors of devices, only `DeviceError` `"UNREACHABLE"` is transient. A `Response` that
 * {@linkcode retry} would request again is transient, and so is an error with its `status`. An
 * error of your own is transient if its property `isTransient` is `true`.
 *
 * @param error The error of a transfer, a request or `connect`, or a response.
 *
 * @example
 * ```ts
 * import { Client, isTransient } from "@degu/degu";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const client = new Client(["127.0.0.1", 1]); // no server listens at this port
 * const error = await assertRejects(() => client.request("GET", "/"));
 * assertEquals(isTransient(error), true);
 * assertEquals(isTransient(new Deno.errors.PermissionDenied()), false);
 * ```
 */
export function isTransient(error: unknown): boolean {
  if (isUnsuccessfulResponse(error)) return isTransient(responseStatusError(error, ""));
  const ownAnswer = propertyOf(error, "isTransient");
  return typeof ownAnswer === "boolean" ? ownAnswer : isTimeout(error);
}

/**
 * Reports whether a time limit has passed: the `timeout` of the client, a time limit of the system,
 * or that of an `AbortSignal.timeout()`. The server may have processed the request. The `cause` of
 * an error doesn't count: the error of `createFetch` is a `TypeError`, whose `cause` you can pass.
 * A `StatusError` with the status 408 or 504 doesn't count, because the server has responded.
 *
 * @param error The error of a transfer, a request or `connect`.
 *
 * @example
 * ```ts
 * import { Client, isTimeout, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * await using server = await Server.start(["127.0.0.1", 0], () => new Promise(() => {}));
 * const client = new Client(server.address);
 * const signal = AbortSignal.timeout(50);
 * const request = client.request("GET", "/slow", {}, null, { signal });
 * assertEquals(await request.then(() => null, isTimeout), true);
 * assertEquals(isTimeout(AbortSignal.abort().reason), false);
 * ```
 */
export function isTimeout(error: unknown): boolean {
  if (error instanceof DOMException) return propertyOf(error, "name") === "TimeoutError";
  return propertyOf(error, "fault") === "timed out";
}
