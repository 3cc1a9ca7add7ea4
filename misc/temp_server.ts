import type { Address } from "../base/address.ts";
import type { App } from "../base/app/app.ts";
import {
  checkConstructorKey,
  checkSignal,
  CONSTRUCTOR_KEY,
  copyOptions,
  wrongArgumentError,
  wrongTypeError,
} from "../internal/checks.ts";
import { awaitUntilAborted } from "../internal/pause.ts";
import type { ServerOptions, ServerSslconfig } from "../server.ts";
import type { makeFunctionApp } from "./function_app.ts";
import { type ModuleExport, parseModuleExport } from "../worker/load_app.ts";
import { loadWorkerThreads, WorkerThread } from "../worker/worker_thread.ts";

/**
 * A server that runs in a worker until it is closed: for tests, demos and experiments.
 *
 * A worker keeps the process alive, so close the server, best with `await using`.
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
  /** The address, which can be passed to a client. */
  readonly address: Address;
  readonly #thread: WorkerThread;

  /** @internal */
  protected constructor(key: symbol, thread: WorkerThread, address: Address) {
    const { name } = new.target;
    checkConstructorKey(key, name, `${name}.start() of "@degu/degu/misc"`);
    abandonedServers.register(this, thread);
    this.#thread = thread;
    this.address = address;
  }

  /**
   * Starts a server in its own worker and resolves when clients can reach it. Needs the permissions
   * of a server, and `--allow-read` for local modules.
   *
   * @param address The address to listen on, or `{ address, options, signal }`: the address, the
   * server's options, and a signal that aborts the start (`start` rejects with its reason) or,
   * later, closes the server. The options are cloned, so that they can't have functions: `logger`
   * and `onExchange` are not possible, and the worker logs like any program.
   * @param build A function that the worker calls with the arguments and that returns the app: a
   * self-contained function, which is sent as its source and may use the names of `@degu/degu`, or
   * an export of a module by the module's absolute URL (`import.meta.resolve("./app.ts")`) and its
   * name; `null` if the only argument is the app itself, a function.
   * @param args Values that can be cloned.
   * @throws {TypeError} if a function can't be sent to a worker, or an argument has a wrong type.
   * @throws {DOMException} if an argument or an option can't be cloned.
   * @throws {Error} the error of the worker, if the module, the build function or the address
   * fails.
   * @throws {Error} if the worker ends by itself before clients can reach the server.
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
    return new TempServer(CONSTRUCTOR_KEY, ...await startThread(null, address, build, args));
  }

  /**
   * Closes the server and ends the worker. The address is then free, unless the app blocks its
   * thread.
   */
  close(): Promise<void> {
    return this.#thread.close();
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
export class TempSSLServer extends TempServer {
  /**
   * Makes the type compatible with the static method of the base class. This overload can't be
   * called.
   *
   * @internal
   */
  static override start(address: never, build: never, ...args: unknown[]): Promise<never>;
  /**
   * Starts a server with TLS in its own worker: {@linkcode TempServer.start}, with the same errors.
   *
   * @param sslconfig The trusted clients and the identity of the server; the worker reads the
   * files.
   */
  static override start(
    sslconfig: ServerSslconfig,
    address: Parameters<typeof TempServer.start>[0],
    build: Parameters<typeof TempServer.start>[1],
    ...args: unknown[]
  ): Promise<TempSSLServer>;
  static override async start(
    sslconfig: ServerSslconfig,
    address: Parameters<typeof TempServer.start>[0],
    build?: Parameters<typeof TempServer.start>[1],
    ...args: unknown[]
  ): Promise<TempSSLServer> {
    const worker = await startThread(sslconfig, address, build!, args);
    return new TempSSLServer(CONSTRUCTOR_KEY, ...worker);
  }
}

type TempAddress = Parameters<typeof TempServer.start>[0];
type Build = NonNullable<Parameters<typeof TempServer.start>[1]>;

async function startThread(
  sslconfig: ServerSslconfig | null,
  target: TempAddress,
  build: Build | null,
  args: readonly unknown[],
): Promise<[WorkerThread, Address]> {
  const { address, options, signal } = parseTempAddress(target);
  const app = describeApp(build, args);
  signal?.throwIfAborted();
  await loadWorkerThreads();
  const thread = new WorkerThread();
  const listen = async () => {
    await thread.execute({ type: "load", ...app });
    return await thread.execute({ type: "listen", address, options, sslconfig });
  };
  const addressPromise = listen() as Promise<Address>;
  const close = () => thread.close();
  try {
    const address = await awaitUntilAborted(addressPromise, signal);
    signal?.addEventListener("abort", close);
    thread.ended.then(() => signal?.removeEventListener("abort", close));
    return [thread, address];
  } catch (error) {
    addressPromise.catch(() => {});
    await close();
    throw error;
  }
}

/** Closes the worker of a server that was garbage-collected before the program closed it. */
const abandonedServers = new FinalizationRegistry<WorkerThread>((thread) => thread.close());

function parseTempAddress(target: TempAddress): {
  address: Address;
  options: ServerOptions;
  signal: AbortSignal | undefined;
} {
  // If the value isn't an object, the server checks it, and reports an invalid address.
  const isAddress = typeof target !== "object" || target === null || Array.isArray(target) ||
    target instanceof Uint8Array;
  if (isAddress) {
    return { address: target as Address, options: {}, signal: undefined };
  }
  const { address, options = {}, signal } = copyOptions(
    target as Exclude<TempAddress, Address>,
    ["address", "options", "signal"],
    "address",
  );
  checkSignal("signal", signal);
  for (const name of ["logger", "onExchange"] as const) {
    if ((options as ServerOptions)[name] === undefined) continue;
    throw wrongArgumentError(`options.${name}`, "can't cross into a worker; use Server instead");
  }
  return { address, options, signal };
}

interface AppSource {
  readonly app: ModuleExport;
  /** The arguments for making the app; `null` if the export is the app itself. */
  readonly args: readonly unknown[] | null;
}

function describeApp(build: Build | null, args: readonly unknown[]): AppSource {
  if (build === null) {
    if (args.length === 1) return describeExport("app", args[0], null);
    throw wrongArgumentError(
      "build",
      `must be followed by one argument, the app, if it is null; got ${args.length}`,
    );
  }
  return describeExport("build", build, args);
}

function describeExport(label: string, value: unknown, args: AppSource["args"]): AppSource {
  if (typeof value === "function") {
    const module = new URL("./function_app.ts", import.meta.url).href;
    const sentArgs: Parameters<typeof makeFunctionApp> = [readSource(label, value), args];
    return { app: { module, name: "makeFunctionApp" }, args: sentArgs };
  }
  const app = parseModuleExport(label, value);
  if (app !== null) return { app, args };
  const expected = "a self-contained function, or { module, name } of one that a module exports";
  throw wrongTypeError(label, expected, value);
}

function readSource(label: string, value: CallableFunction): string {
  const source: string = Function.prototype.toString.call(value);
  const problem = /\{\s*\[native code\]\s*\}$/.test(source)
    ? "a native or bound function has no source"
    : /^class\b/.test(source)
    ? "a class can't be called"
    : isFunctionSource(source)
    ? null
    : "the source of a method is not a function";
  if (problem === null) return source;
  throw wrongArgumentError(
    label,
    `${problem}; use a function that is self-contained, or { module, name } of an export`,
  );
}

function isFunctionSource(source: string): boolean {
  try {
    new Function(`"use strict"; return (${source}\n);`);
    return true;
  } catch {
    return false;
  }
}
