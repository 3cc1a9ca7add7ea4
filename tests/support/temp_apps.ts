/** Apps of tests, which also run in workers, by the URL of this module. */

import { parentPort, workerData } from "node:worker_threads";
import { type AppFunction, ResponseError } from "@degu/degu/server";

/** Sends back its body: chunks as chunks. */
export const echo: AppFunction = async ({ body }, _session, api) => {
  if (body === null) return [200, "OK", {}, null];
  if (!body.chunked) return [200, "OK", {}, await body.bytes()];
  return [200, "OK", {}, new api.ChunkedBodyIter(await Array.fromAsync(body))];
};

/** Builds an app with one answer. */
export function build(status: number): AppFunction {
  return () => [status, "As told", {}, null];
}

/**
 * Builds an app that talks to the thread that has started the worker, and answers with the messages
 * and its arguments.
 */
export function buildTalking(): AppFunction {
  const messages: unknown[] = [];
  parentPort!.on("message", (message) => messages.push(message));
  for (const message of [null, 5, { type: "failed" }, { type: "listen", address: null }]) {
    parentPort!.postMessage(message);
  }
  return () => [200, "OK", {}, JSON.stringify({ heard: messages, workerData })];
}

/** Builds an app that leaves a rejection behind, and handles it itself. */
export function buildForgiving(): AppFunction {
  globalThis.addEventListener("unhandledrejection", (event) => event.preventDefault());
  return () => {
    Promise.reject(new Error("nobody caught this"));
    return [200, "OK", {}, null];
  };
}

/** Throws its answer. */
export const throwResponse: AppFunction = () => {
  throw new ResponseError([404, "Not Found", {}, null]);
};
