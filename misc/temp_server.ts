/**
 * Throw-away servers, each in its own worker.
 *
 * @module
 */

import type { MessagePort } from "node:worker_threads";
import type { Address } from "../base/address_rules.ts";
import type { App } from "../base/app/app.ts";
import { copyOptions, wrongType } from "../base/checks.ts";
import type { ServerOptions, ServerSslconfig } from "../server.ts";
import { readModuleExport } from "../worker/module_export.ts";
import { fromPlainError } from "../worker/plain_error.ts";
import type { Beginning, FunctionReference, Report, StartCommand } from "./temp_server_worker.ts";

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
export class TempServer implements AsyncDisposable {
  /** The address, usable as a client's. */
  readonly address: Address;
  readonly #worker: ServerWorker;

  private constructor(worker: ServerWorker, address: Address) {
    adopt(this, worker);
    this.#worker = worker;
    this.address = address;
  }

  /**
   * Starts a server in its own worker and resolves when it can be reached. Needs the permissions of a server,
   * and `--allow-read` for local modules.
   *
   * @param address Where to listen, or `{ address, options, signal }`: that, the server's options, and
   * a signal that aborts starting it (`start` rejects with its reason) or, later, closes it.
   * The options are cloned, so functions, `logger` and `onExchange`, are not possible.
   * @param build A function that is called with the arguments in the worker and returns the app: a self-contained one,
   * which is sent as its source, or an export of a module by the module's absolute URL
   * (`import.meta.resolve("./app.ts")`) and its name; `null` if the one argument is the app itself, a function.
   * @param args Values that can be cloned.
   * @throws {TypeError} if a function can't be sent to a worker, or an argument has a wrong type.
   * @throws {DOMException} if an argument or an option can't be cloned.
   * @throws {Error} the error of the worker, if the module, the build function or the address fails.
   * @throws {Error} if the worker ends by itself before the server can be reached.
   */
  static async start(
    address: Address | {
      address: Address;
      options?: Omit<ServerOptions, "logger" | "onExchange"> | undefined;
      signal?: AbortSignal | undefined;
    },
    // deno-lint-ignore no-explicit-any -- a function of any arguments that can be cloned
    build: ((...args: any[]) => App | Promise<App>) | { module: string | URL; name: string } | null,
    ...args: unknown[]
  ): Promise<TempServer> {
    return new TempServer(...await startWorker(null, address, build, args));
  }

  /** Closes the server and ends the worker; when it resolves the address is free again. */
  close(): Promise<void> {
    return this.#worker.stop();
  }

  /** Closes the server: {@linkcode TempServer.prototype.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * A TLS server that runs in a worker until it is closed, like {@linkcode TempServer}.
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
export class TempSSLServer implements AsyncDisposable {
  /** The address, usable as a client's. */
  readonly address: Address;
  readonly #worker: ServerWorker;

  private constructor(worker: ServerWorker, address: Address) {
    adopt(this, worker);
    this.#worker = worker;
    this.address = address;
  }

  /**
   * Starts a server with TLS in its own worker, like `TempServer.start`.
   *
   * @param sslconfig Which clients to trust, and the identity of the server; the worker reads the files.
   * @param address As for {@linkcode TempServer.start}.
   * @param build A function that makes the app in the worker; `null` if the one argument is the app
   * itself.
   * @param args Values that can be cloned.
   * @throws the same errors as {@linkcode TempServer.start}.
   */
  static async start(
    sslconfig: ServerSslconfig,
    address: Parameters<typeof TempServer.start>[0],
    build: Parameters<typeof TempServer.start>[1],
    ...args: unknown[]
  ): Promise<TempSSLServer> {
    return new TempSSLServer(...await startWorker(sslconfig, address, build, args));
  }

  /** Closes the server and ends the worker; when it resolves the address is free again. */
  close(): Promise<void> {
    return this.#worker.stop();
  }

  /** Closes the server: {@linkcode TempSSLServer.prototype.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

type TempAddress = Parameters<typeof TempServer.start>[0];
type Build = NonNullable<Parameters<typeof TempServer.start>[1]>;

/** Starts a worker with a server; resolves to both when the server can be reached. */
function startWorker(
  sslconfig: ServerSslconfig | null,
  target: TempAddress,
  build: Build | null,
  args: readonly unknown[],
): Promise<[ServerWorker, Address]> {
  const { address, options, signal } = readTarget(target);
  const command = { sslconfig, address, options, ...referToApp(build, args) };
  return ServerWorker.start(command, signal, (what) => {
    // deno-lint-ignore no-console -- no promise is left that could be rejected
    console.error(`the worker of a TempServer ${what}`);
  });
}

/** Splits the first argument into its parts. */
function readTarget(target: TempAddress): {
  address: Address;
  options: Record<string, unknown>;
  signal: AbortSignal | undefined;
} {
  // What is no object isn't an address either, but the server says so.
  const isAddress = typeof target !== "object" || target === null || Array.isArray(target) ||
    target instanceof Uint8Array;
  if (isAddress) return { address: target as Address, options: {}, signal: undefined };
  const { address, options = {}, signal } = copyOptions(
    target as Exclude<TempAddress, Address>,
    ["address", "options", "signal"],
    "address",
  );
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw wrongType("signal", "an AbortSignal", signal);
  }
  for (const name of ["logger", "onExchange"] as const) {
    if ((options as ServerOptions)[name] === undefined) continue;
    throw new TypeError(`options.${name}: functions can't cross into a worker; use Server instead`);
  }
  return { address, options: { ...options }, signal };
}

/** Describes how the worker gets the app, or the function that builds it. */
function referToApp(
  build: Build | null,
  args: readonly unknown[],
): Pick<StartCommand, "build" | "app" | "args"> {
  if (build === null) {
    if (args.length === 1) {
      return { build, app: refer("app", args[0]), args: [] };
    }
    throw new TypeError(
      `build: must be followed by one argument, the app, if it is null; got ${args.length}`,
    );
  }
  const reference = refer("build", build);
  if (typeof build === "function" && build.length > 0 && args.length === 0) {
    throw new TypeError(
      `build: takes ${build.length === 1 ? "an argument" : `${build.length} arguments`}, and got ` +
        "none; if it is the app itself, put null before it: start(address, null, app)",
    );
  }
  return { build: reference, app: null, args };
}

const INSTEAD = "use a function that is self-contained, or { module, name } of an export";

/**
 * Describes how the worker gets a function.
 *
 * @throws {TypeError} if it can't be sent to one.
 * @throws {RangeError} if its module has no absolute URL.
 */
function refer(label: string, value: unknown): FunctionReference {
  if (typeof value === "function") return { kind: "source", source: sourceOf(label, value) };
  const named = readModuleExport(label, value);
  if (named !== null) return { kind: "module", ...named };
  const wanted = "a self-contained function, or { module, name } of one that a module exports";
  throw wrongType(label, wanted, value);
}

function sourceOf(label: string, value: unknown): string {
  const source: string = Function.prototype.toString.call(value);
  if (/\{\s*\[native code\]\s*\}$/.test(source)) {
    throw new TypeError(`${label}: a native or bound function has no source; ${INSTEAD}`);
  }
  if (/^class\b/.test(source)) throw new TypeError(`${label}: a class can't be called; ${INSTEAD}`);
  try {
    new Function(`"use strict"; return (${source}\n);`);
  } catch {
    throw new TypeError(`${label}: the source of a method is not a function; ${INSTEAD}`);
  }
  return source;
}

// ───────────────────────── the worker

/** A server that nobody can close any more doesn't keep its worker. */
const abandoned = new FinalizationRegistry<ServerWorker>((worker) => {
  worker.stop();
});

function adopt(owner: object, worker: ServerWorker): void {
  if (!(worker instanceof ServerWorker)) {
    throw new TypeError(
      "a temporary server is made by TempServer.start() or TempSSLServer.start(), which resolve " +
        "to it, and not by new",
    );
  }
  abandoned.register(owner, worker, worker);
}

const TERMINATE_AFTER_MILLISECONDS = 2000;

/** How long after the end of a worker its error may arrive. */
const ERROR_DELAY_MILLISECONDS = 100;

/**
 * Never called. It lets `deno cache` and other tools that analyze the code find the module that is started by
 * its URL.
 */
const _importWorker = () => import("./temp_server_worker.ts");

/**
 * A worker with a server.
 *
 * A `Worker` has no event for when it ends itself. But its end of a message channel is closed then, and
 * in `node:worker_threads` the other end has an event for that.
 */
class ServerWorker {
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #signal: AbortSignal | undefined;
  /** Reports failures of a server that has started. */
  readonly #report: (what: string) => void;
  readonly #ready = Promise.withResolvers<Address>();
  /** Resolves when the server is closed, or the worker has ended. */
  readonly #closed = Promise.withResolvers<void>();
  #state: "starting" | "serving" | "failed" | "ended" = "starting";
  #stopping: Promise<void> | null = null;
  #errorTimer: ReturnType<typeof setTimeout> | undefined;

  private constructor(
    port: MessagePort,
    signal: AbortSignal | undefined,
    report: (what: string) => void,
  ) {
    this.#port = port;
    this.#signal = signal;
    this.#report = report;
    this.#worker = new Worker(new URL("./temp_server_worker.ts", import.meta.url), {
      type: "module",
      name: "TempServer",
    });
    this.#worker.onerror = (event) => {
      event.preventDefault(); // else it would end this thread, too
      this.#fail(new Error(event.message), `has failed: ${event.message}`);
    };
    port.on("message", (report: Report) => this.#receive(report));
    port.on("close", () => this.#workerEnded());
    signal?.addEventListener("abort", this.#abort);
  }

  /**
   * Starts a server in its own worker.
   *
   * @param command What to start.
   * @param signal Aborts starting, which rejects with its reason; later it stops the server.
   * @param report Called if the worker fails or ends later, without being asked to.
   * @returns The worker and the address, when the server can be reached.
   */
  static async start(
    command: StartCommand,
    signal: AbortSignal | undefined,
    report: (what: string) => void,
  ): Promise<[ServerWorker, Address]> {
    const { MessageChannel } = await import("node:worker_threads");
    signal?.throwIfAborted();
    const { port1, port2 } = new MessageChannel();
    const worker = new ServerWorker(port1, signal, report);
    try {
      // The types of a worker's messages don't know the ports of node:worker_threads.
      const transfer = [port2 as unknown as Transferable];
      worker.#worker.postMessage({ command, port: port2 } satisfies Beginning, transfer);
      return [worker, await worker.#ready.promise];
    } catch (error) {
      worker.#terminate();
      port2.close();
      throw error;
    }
  }

  /** Lets the server free its address, and then ends the worker, which may be too busy to listen. */
  stop(): Promise<void> {
    abandoned.unregister(this);
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#port.postMessage("close");
    const timer = setTimeout(this.#closed.resolve, TERMINATE_AFTER_MILLISECONDS);
    await this.#closed.promise;
    clearTimeout(timer);
    this.#terminate();
  }

  #terminate(): void {
    this.#state = "ended";
    clearTimeout(this.#errorTimer);
    this.#signal?.removeEventListener("abort", this.#abort);
    this.#worker.terminate();
    this.#port.close();
  }

  #receive(report: Report): void {
    if (this.#state === "ended") return;
    if (report.type === "ready") {
      this.#state = "serving";
      this.#ready.resolve(report.address);
    } else if (report.type === "failed") {
      this.#ready.reject(fromPlainError(report.error));
    } else {
      this.#closed.resolve();
    }
  }

  readonly #abort = () => {
    if (this.#state === "starting") this.#ready.reject(this.#signal?.reason);
    else this.stop();
  };

  #workerEnded(): void {
    this.#signal?.removeEventListener("abort", this.#abort);
    this.#closed.resolve();
    if (this.#state === "ended" || this.#state === "failed") return;
    const what = "has ended by itself, as with Deno.exit() or self.close()";
    const fail = () => this.#fail(new Error(`the worker of a TempServer ${what}`), what);
    this.#errorTimer = setTimeout(fail, ERROR_DELAY_MILLISECONDS);
  }

  #fail(error: Error, what: string): void {
    if (this.#state === "ended") return;
    if (this.#state === "starting") this.#ready.reject(error);
    else if (this.#state === "serving") this.#report(what);
    this.#state = "failed";
  }
}
