/** Apps that tests run in pools, by this module's name. */

import { parentPort, threadId, workerData } from "node:worker_threads";
import type { ProxyApp } from "@degu/degu";
import type { Address } from "@degu/degu/base";
import type { AppFunction, AppObject, Exchange } from "@degu/degu/server";

const answer = (text: string) => [200, "OK", {}, new TextEncoder().encode(text)] as const;

/** Answers with the number of its thread, after the action in the path. */
export const app: AppFunction = async ({ path: [what] }) => {
  if (what === "exit") Deno.exit(7);
  if (what === "throw") setTimeout(() => fail());
  if (what === "reject") Promise.reject(new Error("nobody caught this"));
  if (what === "hang") block(Infinity);
  if (what === "fail") fail();
  return await answer(`${threadId}`);
};

const reading = Promise.withResolvers<void>();

/** Reads bodies. For `/later` a minute passes on the clock of its thread before a body is read. */
export const patient: AppFunction = async ({ body, path: [what] }) => {
  const bytes = body?.bytes();
  if (bytes !== undefined) reading.resolve();
  await bytes;
  if (what === "later") {
    await reading.promise;
    const { now } = performance;
    performance.now = () => now.call(performance) + 60_000;
  }
  return await answer(`${threadId}`);
};

/** Holds up the thread like a computation, but leaves the processor to others. */
export function block(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

function fail(): never {
  throw new Error("nobody caught this");
}

/** Counters that tests and workers share; {@linkcode count} uses number 0. */
export type Counters = SharedArrayBuffer;

/** Counts, and returns the former count. */
function count(counters: Counters): number {
  const numbers = new Int32Array(counters);
  const before = Atomics.add(numbers, 0, 1);
  Atomics.notify(numbers, 0);
  return before;
}

/** Makes an app that counts its requests, and answers once number 1 isn't 0. */
export function buildWaiting(counters: Counters): AppFunction {
  return async () => {
    count(counters);
    await Atomics.waitAsync(new Int32Array(counters), 1, 0).value;
    return answer(`${threadId}`);
  };
}

export function buildCounting(counters: Counters): AppFunction {
  return () => {
    count(counters);
    return answer(`${threadId}`);
  };
}

let exchanges: Counters | null = null;

/** Makes an app whose complete exchanges {@linkcode countExchange} counts. */
export function buildWatched(counters: Counters): AppFunction {
  exchanges = counters;
  return app;
}

export function countExchange({ method, status, error, session }: Exchange): void {
  const isWhole = method === "GET" && status === 200 && error === null;
  if (exchanges !== null && isWhole && session.peerCertificate !== null) count(exchanges);
}

/** Makes an app that counts, hangs, and never answers. */
export function buildEndless(counters: Counters): AppFunction {
  return () => {
    count(counters);
    block(Infinity);
    return answer("");
  };
}

/** Makes an app that holds up its thread for `/wait` until number 0 isn't 0. */
export function buildHeld(counters: Counters): AppFunction {
  return ({ path: [what] }) => {
    if (what === "wait") Atomics.wait(new Int32Array(counters), 0, 0);
    return answer(`${threadId}`);
  };
}

/** Makes an app so many times, and then fails. */
export function buildOnce(counters: Counters, times: number): AppFunction {
  if (count(counters) >= times) throw new Error("not again");
  return app;
}

/** Makes an app, except the time with this number, counted from 0. */
export function buildExcept(counters: Counters, number: number): AppFunction {
  if (count(counters) === number) throw new Error("not this time");
  return app;
}

/** Makes an app the first time; later calls never finish. */
export async function buildFirst(counters: Counters): Promise<AppFunction> {
  if (count(counters) > 0) await new Promise(() => {});
  return app;
}

export async function buildProxy(address: Address): Promise<ProxyApp> {
  // The other workers need no client.
  const { Client, ProxyApp } = await import("@degu/degu");
  return new ProxyApp(new Client(address));
}

/** The app of a device, which names its peers by their authority. */
export const deviceApp: AppObject = {
  onConnect: (session) => session.peerCertificate?.authority !== undefined,
  handle: (_request, { peerCertificate }) => answer(peerCertificate!.authority!.publicKey256),
};

/**
 * Makes an app that talks to the thread that has started the worker, and answers with the messages
 * and its arguments.
 */
export function buildTalking(): AppFunction {
  const heard: unknown[] = [];
  parentPort!.on("message", (message) => heard.push(message));
  for (const message of [null, 5, { type: "failed" }, { type: "log", level: "x", message: "y" }]) {
    parentPort!.postMessage(message);
  }
  return () => answer(JSON.stringify({ heard, workerData }));
}

/** An app that handles its own unhandled errors. */
export function buildForgiving(): AppFunction {
  globalThis.addEventListener("unhandledrejection", (event) => event.preventDefault());
  return app;
}

/** Makes an app, and ends the worker some milliseconds later, except the first times. */
export function buildDoomed(counters: Counters, times: number, milliseconds: number): AppFunction {
  if (count(counters) >= times) setTimeout(() => Deno.exit(9), milliseconds);
  return app;
}

export function buildHanging(): AppFunction {
  block(Infinity);
  return app;
}

export function buildAnswer() {
  return answer("");
}

export function buildFailing(): never {
  throw new RangeError("there is no such database");
}

export const constant = 5;
