/** Apps for tests. Workers load them by the URL of this module. */

import type { AppFunction } from "@degu/degu/server";

/** Responds with the body of the request, chunk by chunk if it is chunked. */
export const echo: AppFunction = async ({ body }, _session, api) => {
  if (body === null) return [200, "OK", {}, null];
  if (!body.chunked) return [200, "OK", {}, await body.bytes()];
  return [200, "OK", {}, new api.ChunkedBodyIter(await Array.fromAsync(body))];
};

/**
 * Builds an app that exchanges messages with the thread that started the worker, and responds with
 * the messages that it has received.
 */
export function buildTalking(status: number): AppFunction {
  const messages: unknown[] = [];
  globalThis.addEventListener("message", (event) => messages.push((event as MessageEvent).data));
  for (const message of [null, 5, { type: "failed" }, { type: "listen", address: null }]) {
    Reflect.get(globalThis, "postMessage")(message);
  }
  return () => [status, "OK", {}, JSON.stringify(messages)];
}
