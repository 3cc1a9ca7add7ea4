/**
 * Servers to throw away, in a worker of their own.
 *
 * @module
 */

import type { App, AppFunction } from "../base/app.ts";
import { quote, typeName } from "../base/errors.ts";
import type { Address } from "../base/session.ts";
import type { ServerOptions, ServerSslconfig } from "../server.ts";
import {
  type Command,
  fromPlainError,
  type FunctionReference,
  type Report,
} from "./temp_server_protocol.ts";

/**
 * A function for a worker: a self-contained one, which crosses by its source, or an export of a
 * module by the module's absolute URL (`import.meta.resolve("./app.ts")`) and its name.
 */
export type AppRef<F> = F | { module: string | URL; name: string };

/** An address, or an address and the options of the server; no logger, which can't cross. */
export type TempAddress = Address | {
  address: Address;
  options?: Omit<ServerOptions, "logger"> | undefined;
};

/** A function that makes an app in the worker, from arguments that can be cloned. */
// deno-lint-ignore no-explicit-any
export type BuildFunction = (...args: any[]) => App | Promise<App>;

const TERMINATE_AFTER_MILLISECONDS = 2000;

const forgotten = new FinalizationRegistry<Worker>((worker) => {
  stopWorker(worker);
});

/** What temporary servers have in common: a worker, and its end. */
export class WorkerServer implements AsyncDisposable {
  /** The address, usable as a client's. */
  readonly address: Address;
  readonly #worker: Worker;
  #closing: Promise<void> | null = null;

  /** Takes over a worker that has a server. */
  protected constructor(worker: Worker, address: Address) {
    this.#worker = worker;
    this.address = address;
    forgotten.register(this, worker, worker);
  }

  /** Closes the server and ends the worker; when it resolves the address is free again. */
  close(): Promise<void> {
    forgotten.unregister(this.#worker);
    this.#closing ??= stopWorker(this.#worker);
    return this.#closing;
  }

  /** Closes the server: {@linkcode close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * A server that runs in a worker until it is closed: for tests, demos, and to try things.
 *
 * A worker keeps the process alive, so close it, best with `await using`.
 *
 * @example
 * ```ts
 * import { Client } from "@degu/degu";
 * import { TempServer } from "@degu/degu/misc";
 * import { assertEquals } from "@std/assert";
 *
 * const app = () => [200, "OK", { hello: "world" }, null] as const;
 * await using server = await TempServer.start(["127.0.0.1", 0], null, app);
 * assertEquals((await new Client(server.address).request("GET", "/")).status, 200);
 *
 * const build = (status: number) => () => [status, "As you like", {}, null] as const;
 * await using other = await TempServer.start(["127.0.0.1", 0], build, 201);
 * assertEquals((await new Client(other.address).request("GET", "/")).status, 201);
 * ```
 */
export class TempServer extends WorkerServer {
  /**
   * Starts a server in a worker of its own and resolves when it can be reached. Needs what a server
   * needs, and `--allow-read` for local modules.
   *
   * @param address Where to listen, or that and the server's options.
   * @param build A function that is called with the arguments in the worker and returns the app;
   * `null` where the one argument is the app itself, a function.
   * @param args Values that can be cloned.
   * @throws {TypeError} where a function can't cross into a worker, and for wrong arguments.
   * @throws the error of the worker: of the module, of the build function, of the address.
   */
  static async start(
    address: TempAddress,
    build: AppRef<BuildFunction> | null,
    ...args: unknown[]
  ): Promise<TempServer> {
    return new TempServer(...await startWorker(makeCommand(null, address, build, args)));
  }
}

/**
 * The same with TLS.
 *
 * @example
 * ```ts
 * import { SSLClient } from "@degu/degu";
 * import { TempPKI, TempSSLServer } from "@degu/degu/misc";
 * import { assertEquals } from "@std/assert";
 *
 * await using pki = await TempPKI.create();
 * const app = () => [200, "OK", { hello: "world" }, null] as const;
 * const { serverSslconfig, clientSslconfig } = pki;
 * await using server = await TempSSLServer.start(serverSslconfig, ["127.0.0.1", 0], null, app);
 * const client = new SSLClient(clientSslconfig, server.address);
 * assertEquals((await client.request("GET", "/")).status, 200);
 * ```
 */
export class TempSSLServer extends WorkerServer {
  /**
   * Starts a server in a worker of its own, as `TempServer.start` does.
   *
   * @param sslconfig Which clients to trust and who the server is; files that the worker reads.
   */
  static async start(
    sslconfig: ServerSslconfig,
    address: TempAddress,
    build: AppRef<BuildFunction> | null,
    ...args: unknown[]
  ): Promise<TempSSLServer> {
    return new TempSSLServer(...await startWorker(makeCommand(sslconfig, address, build, args)));
  }
}

function makeCommand(
  sslconfig: ServerSslconfig | null,
  place: TempAddress,
  build: AppRef<BuildFunction> | null,
  args: readonly unknown[],
): Command {
  const { address, options = {} } = isAddress(place) ? { address: place } : place;
  if ((options as ServerOptions).logger !== undefined) {
    throw new TypeError("options.logger: functions can't cross into a worker; use Server instead");
  }
  const common = { type: "start" as const, sslconfig, address, options: { ...options } };
  if (build !== null) return { ...common, build: refer("build", build), app: null, args };
  if (args.length !== 1) {
    throw new TypeError(`where build is null, need one more argument, the app; got ${args.length}`);
  }
  return { ...common, build: null, app: refer("app", args[0] as AppRef<AppFunction>), args: [] };
}

function isAddress(place: TempAddress): place is Address {
  if (typeof place !== "object" || place === null) return true;
  return Array.isArray(place) || place instanceof Uint8Array;
}

/** Says how the worker gets at a function. */
function refer(what: string, value: AppRef<unknown>): FunctionReference {
  if (typeof value === "function") return { kind: "source", source: sourceOf(what, value) };
  const { module, name } = (value ?? {}) as Partial<{ module: string | URL; name: string }>;
  if (!(typeof module === "string" || module instanceof URL) || typeof name !== "string") {
    throw new TypeError(
      `${what}: need a self-contained function, or { module, name } of one that a module exports; ` +
        `got ${typeName(value)}`,
    );
  }
  if (!URL.canParse(module)) {
    throw new RangeError(
      `${what}.module: need an absolute URL, as of import.meta.resolve(); got ${
        quote(`${module}`)
      }`,
    );
  }
  return { kind: "module", module: String(module), name };
}

function sourceOf(what: string, value: unknown): string {
  const source: string = Function.prototype.toString.call(value);
  if (/\{\s*\[native code\]\s*\}$/.test(source)) {
    throw new TypeError(`${what}: a native or bound function has no source; ${INSTEAD}`);
  }
  if (/^class\b/.test(source)) throw new TypeError(`${what}: a class can't be called; ${INSTEAD}`);
  try {
    new Function(`"use strict"; return (${source}\n);`);
  } catch {
    throw new TypeError(`${what}: the source of a method is not a function; ${INSTEAD}`);
  }
  return source;
}

const INSTEAD = "use a function that is self-contained, or { module, name } of an export";

/** Starts a worker with a server; resolves to both when the server can be reached. */
async function startWorker(command: Command): Promise<[Worker, Address]> {
  const worker = new Worker(new URL("./temp_server_worker.ts", import.meta.url), {
    type: "module",
    name: "TempServer",
  });
  try {
    return [worker, await ready(worker, command)];
  } catch (error) {
    worker.terminate();
    throw error;
  }
}

function ready(worker: Worker, command: Command): Promise<Address> {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }: MessageEvent<Report>) => {
      if (data.type === "ready") resolve(data.address);
      else if (data.type === "failed") reject(fromPlainError(data.error));
    };
    worker.onerror = (event) => {
      // Else it would end this thread, too. After the start there is nobody left to reject for.
      event.preventDefault();
      reject(new Error(event.message));
      // deno-lint-ignore no-console
      console.error(`the worker of a TempServer has failed: ${event.message}`);
    };
    worker.postMessage(command);
  });
}

/** Lets the server free its address, and then ends the worker, which may be too busy to listen. */
async function stopWorker(worker: Worker): Promise<void> {
  const closed = Promise.withResolvers<void>();
  worker.onmessage = ({ data }: MessageEvent<Report>) => {
    if (data.type === "closed") closed.resolve();
  };
  const timer = setTimeout(closed.resolve, TERMINATE_AFTER_MILLISECONDS);
  worker.postMessage({ type: "close" } satisfies Command);
  await closed.promise;
  clearTimeout(timer);
  worker.terminate();
}
