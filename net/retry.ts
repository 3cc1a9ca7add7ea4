/**
 * Retries of calls after transient errors, and which errors are transient.
 *
 * What fails is made again in the places of this table, those nearest to the socket first. A place
 * gets only the errors that the places above it let through. Progress of a file or of a tree starts
 * their counts again.
 *
 * | where                           | what is made again                       | how often       |
 * | ------------------------------- | ---------------------------------------- | --------------- |
 * | `net/connection_pool.ts`        | a request, if its connection had closed  | once            |
 * | `device/reach_inviter.ts`   | a connection that an inviter cuts        | 9 times         |
 * | `files/transfer/upload.ts`  | a `PUT`, if the server has another part  | once            |
 * | `files/tree/upload_tree.ts` | the reading of a small file that changes | once            |
 * | `files/tree/copies.ts`      | a request for several small files        | once            |
 * | `files/tree/copies.ts`      | a file that is cut or changes            | once            |
 * | `files/tree/deletions.ts`   | the naming of a received file            | once            |
 * | `files/tree/transfer.ts`    | a list of a tree that changes meanwhile  | 3 times         |
 * | `files/tree/transfer.ts`    | the whole tree, by `retryIf`             | `retries` times |
 * | a program                       | a call of its own, by `retry`            | `retries` times |
 * | `agent/peer_connections.ts` | a call of a command, by `retry`          | `retries` times |
 * | `agent/peer_connections.ts` | a call over a silent connection          | at each silence |
 * | `agent/peer_connections.ts` | the search for a peer that is off        | for `wait`      |
 * | `net/repeat.ts`                 | a run, failed or not                     | without end     |
 */

import {
  checkFunction,
  checkInteger,
  checkNumber,
  checkSignal,
  copyOptions,
} from "../internal/checks.ts";
import {
  DeguError,
  EmptyPreambleError,
  ProtocolError,
  type ProtocolErrorCode,
  TlsError,
} from "../base/errors.ts";
import { pause } from "../internal/pause.ts";
import { connectionFaultOf } from "./thrown.ts";
import { isUnanswered } from "./client_errors.ts";

/** How far an attempt has got: the progress of a transfer. */
export interface RetryProgress {
  /** Bytes that this attempt has transferred. */
  readonly bytes: number;
  /** Bytes that were there before this attempt. */
  readonly resumedFrom: number;
}

/** How often, and when, to retry. */
export interface RetryOptions {
  /**
   * How many times to retry, 0 or more, or `Infinity`; counted from zero after each progress.
   *
   * @default {3}
   */
  retries?: number | undefined;
  /**
   * Seconds before the first retry, 0 to 60; doubled each time, up to a minute. If a
   * `StatusError` has a longer `retryAfter`, that counts, up to a minute.
   *
   * @default {1}
   */
  seconds?: number | undefined;
  /**
   * Aborts the wait; the call rejects with the signal's reason. Pass the signal to the attempts,
   * too.
   */
  signal?: AbortSignal | undefined;
  /** Called before each wait. */
  onRetry?: ((event: RetryEvent) => void) | undefined;
}

/** A retry that is about to be made. */
export interface RetryEvent {
  /** The error of the call. */
  readonly error: unknown;
  /** 1 for the first retry. */
  readonly number: number;
  /** Seconds until the retry. */
  readonly seconds: number;
}

const OPTIONS = ["retries", "seconds", "signal", "onRetry"];
const DEFAULT_RETRIES = 3;
/** The seconds before the first retry by default, and the most before any. */
const DEFAULT_WAIT_SECONDS = 1;
const MAX_WAIT_SECONDS = 60;

/**
 * How many times in a row a peer hangs up at once, without an answer, before hanging up counts as a
 * refusal. TLS tells no more: a peer that has forgotten this device looks like a peer that is
 * stopped at that moment.
 */
const HANG_UPS = 2;
/**
 * Milliseconds within which hanging up is at once. A server without a free slot hangs up after 2 s,
 * which is no refusal: a retry may find a slot.
 */
const REFUSAL_MILLISECONDS = 1500;

/**
 * Makes a call, and retries the call a few times after {@linkcode isTransient | transient} errors,
 * with doubling delays.
 *
 * Two {@linkcode EmptyPreambleError}s in a row, each less than 1.5 s after its attempt began, end
 * the retries: the peer hangs up on this device, most likely because the peer no longer trusts this
 * device.
 *
 * @param attempt Makes the call. Its argument is a function to call after each progress, which
 * resets the count: a long transfer may be interrupted more often than a short one. The progress of
 * a transfer, if passed to that function, counts only beyond the furthest point of all earlier
 * attempts, so that retrying a file that always starts over comes to an end.
 * @param options How often and after which delays to retry, and a callback.
 * @returns The result of the call.
 * @throws {TypeError} if an argument or option has the wrong type, or an option is unknown.
 * @throws {RangeError} if a value is not allowed.
 * @throws the error of the last call; the reason of the signal if it is aborted.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { download, FilesApp, fileUri, retry } from "@degu/degu/files";
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
  attempt: (moved: (progress?: RetryProgress) => void) => Promise<T>,
  options: RetryOptions = {},
): Promise<T> {
  checkFunction("attempt", attempt);
  return await retryIf(isTransient, attempt, options);
}

/**
 * Retries a call also after other errors.
 *
 * @param attempt Its second argument is a function to call if the peer has answered the attempt:
 * then no hang-up is a refusal.
 */
export async function retryIf<T>(
  mayRetry: (error: unknown) => boolean,
  attempt: (
    moved: (progress?: RetryProgress) => void,
    answered: () => void,
  ) => Promise<T>,
  options: RetryOptions,
): Promise<T> {
  const { retries, seconds: first, signal, onRetry } = checkOptions(options);
  let retried = 0;
  let hangUps = 0;
  let furthest = 0;
  const moved = (progress?: RetryProgress) => {
    const reached = progress && progress.resumedFrom + progress.bytes;
    // A part that an earlier attempt had reached is no progress.
    if (reached !== undefined && reached <= furthest) return;
    if (reached !== undefined) furthest = reached;
    retried = hangUps = 0;
  };
  while (true) {
    signal?.throwIfAborted();
    const start = performance.now();
    let isAnswered = false;
    try {
      return await attempt(moved, () => isAnswered = true);
    } catch (error) {
      signal?.throwIfAborted();
      const isAtOnce = !isAnswered && performance.now() - start < REFUSAL_MILLISECONDS;
      hangUps = isAtOnce && error instanceof EmptyPreambleError ? hangUps + 1 : 0;
      if (retried >= retries || hangUps >= HANG_UPS || !mayRetry(error)) throw error;
      const seconds = Math.min(
        Math.max(first * 2 ** Math.min(retried, 16), retryAfterOf(error)),
        MAX_WAIT_SECONDS,
      );
      retried++;
      onRetry?.({ error, number: retried, seconds });
      await pause(seconds * 1000, signal);
    }
  }
}

/** The seconds that the server asks a client to wait: `retryAfter` of a {@linkcode StatusError}. */
function retryAfterOf(error: unknown): number {
  const asked = error instanceof DeguError && "retryAfter" in error ? error.retryAfter : 0;
  return typeof asked === "number" && asked > 0 ? asked : 0;
}

function checkOptions(options: RetryOptions) {
  const copy = copyOptions(options, OPTIONS);
  const { retries = DEFAULT_RETRIES, seconds = DEFAULT_WAIT_SECONDS, signal, onRetry } = copy;
  checkInteger("retries", retries, 0, Infinity);
  checkNumber("seconds", seconds);
  if (!(seconds >= 0 && seconds <= MAX_WAIT_SECONDS)) {
    throw new RangeError(`seconds: must be a number from 0 to ${MAX_WAIT_SECONDS}; got ${seconds}`);
  }
  checkSignal(signal);
  if (onRetry !== undefined) checkFunction("onRetry", onRetry);
  return { retries, seconds, signal, onRetry };
}

/** The codes of a message that broke off. */
const CUT_MESSAGE_CODES: ReadonlySet<ProtocolErrorCode> = new Set([
  "PREAMBLE_INCOMPLETE",
  "BODY_INCOMPLETE",
]);

/** The transient errors whose classes nothing here knows: those of devices and of transfers. */
const transientErrors = new WeakSet<object>();

/** Marks an error as transient; returns the error. */
export function asTransient<E extends Error>(error: E): E {
  transientErrors.add(error);
  return error;
}

/** The errors that another attempt would meet again, although their classes are transient. */
const finalErrors = new WeakSet<object>();

/** Marks an error as not transient; returns the error. */
export function asFinal<E extends Error>(error: E): E {
  finalErrors.add(error);
  return error;
}

/** The server, or a proxy in front of it, is overloaded (RFC 9110 §15.5, §15.6; RFC 6585 §4). */
const BUSY_STATUSES: ReadonlySet<unknown> = new Set([408, 429, 502, 503, 504]);

/**
 * Reports whether the same call may succeed a moment later: the connection broke off, was refused
 * or timed out, or the server is overloaded. A final response (404, 403, 412, 507 …), an untrusted
 * peer, a full disk and an invalid argument are not transient.
 *
 * Not transient either is that the peer hung up in place of an answer to a `PUT`, `POST` or
 * `DELETE` of which something was sent: it may have been carried out. `upload` and `uploadTree`
 * may be repeated, so their errors are transient even then.
 *
 * Of the errors of devices, `DeviceError` `"UNREACHABLE"` alone is transient. The status of a
 * response is no error of a request, but one of `expectOk` and of transfers. Transient are 408,
 * 429, 502, 503 and 504, of a `StatusError` or of any error that extends `DeguError` and has a
 * `status`.
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
  if (isUnanswered(error) || finalErrors.has(error as object)) return false;
  if (error instanceof DeguError && "status" in error) return BUSY_STATUSES.has(error.status);
  if (transientErrors.has(error as object)) return true;
  if (error instanceof TlsError) return error.code === "CLOSED";
  if (error instanceof EmptyPreambleError) return true;
  if (error instanceof ProtocolError) return CUT_MESSAGE_CODES.has(error.code);
  // The reason of `AbortSignal.timeout()`.
  if (error instanceof DOMException) return error.name === "TimeoutError";
  // A host that refuses may be about to start its server.
  return connectionFaultOf(error) !== null;
}
