/** Requests that are aborted, and peers that leave. */

import { assertStrictEquals } from "@std/assert";
import { catchRejection } from "./expectations.ts";
import { type RawPeer, withTimeout } from "./raw_peer.ts";

export const reason = new Error("changed my mind");

export async function assertReason(promise: Promise<unknown>, expectedReason: unknown, label = "") {
  assertStrictEquals(
    await withTimeout(catchRejection(promise, label), `${label} rejects`),
    expectedReason,
    label,
  );
}

export const makePendingPromise = () => new Promise<never>(() => {});

/** Makes a controller whose `abort` is a separate function. */
export function makeAbortController() {
  const controller = new AbortController();
  return { signal: controller.signal, abort: (reason: unknown) => controller.abort(reason) };
}

export function waitForAbort(signal: AbortSignal): Promise<unknown> {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  if (signal.aborted) resolve(signal.reason);
  signal.addEventListener("abort", () => resolve(signal.reason));
  return withTimeout(promise, "the signal is aborted");
}

export const CLOSING_ACTIONS: Readonly<Record<string, (peer: RawPeer) => unknown>> = {
  "closes": (peer) => peer.close(),
  "ends its writing side": (peer) => peer.closeWrite(),
};
