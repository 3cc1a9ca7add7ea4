/** Requests that are aborted, and peers that leave. */

import { assertStrictEquals } from "@std/assert";
import { catchRejection } from "./expectations.ts";
import { type RawPeer, withTimeout } from "./raw_peer.ts";

export const reason = new Error("changed my mind");

/** Reasons that are no errors, as `abort(null)` and `abort("text")` give them, beside an error. */
export const reasons: readonly unknown[] = [reason, "text", null, 0];

/** Asserts that a promise rejects with this reason, and soon. */
export async function assertReason(promise: Promise<unknown>, expected: unknown, what = "") {
  assertStrictEquals(
    await withTimeout(catchRejection(promise, what), `${what} rejects`),
    expected,
    what,
  );
}

export const HALF_RESPONSE = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello";

export const makePendingPromise = () => new Promise<never>(() => {});

/** A controller, with a function that aborts with {@linkcode reason}. */
export function withAbort() {
  const controller = new AbortController();
  return { signal: controller.signal, abort: (reason: unknown) => controller.abort(reason) };
}

/** Resolves when the signal is aborted, to its reason. */
export function waitForAbort(signal: AbortSignal): Promise<unknown> {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  if (signal.aborted) resolve(signal.reason);
  signal.addEventListener("abort", () => resolve(signal.reason));
  return withTimeout(promise, "the signal is aborted");
}

/** The ways in which a peer leaves. */
export const CLOSING_ACTIONS: Readonly<Record<string, (peer: RawPeer) => unknown>> = {
  "closes": (peer) => peer.close(),
  "ends its writing side": (peer) => peer.closeWrite(),
};
