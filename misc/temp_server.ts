/**
 * Throw-away servers, each in its own worker.
 *
 * @module
 */

import type { App, AppFunction } from "../base/app/app.ts";
import { copyOptions, wrongType } from "../base/checks.ts";
import type { Address } from "../base/address_rules.ts";
import type { ServerOptions, ServerSslconfig } from "../server.ts";
import { type AppRef, refer } from "./function_reference.ts";
import { ServerWorker } from "./server_worker.ts";
import type { StartCommand } from "./temp_server_protocol.ts";

export type { AppRef } from "./function_reference.ts";

/**
 * An address, or an object with an address, the options of the server, and a signal that aborts starting the
 * server or closes it later. The options are cloned, so functions, `logger` and `onExchange`, are not possible.
 */
export type TempAddress = Address | {
  address: Address;
  options?: Omit<ServerOptions, "logger" | "onExchange"> | undefined;
  signal?: AbortSignal | undefined;
};

/** A function that makes an app in the worker, from arguments that can be cloned. */
// deno-lint-ignore no-explicit-any
export type BuildFunction = (...args: any[]) => App | Promise<App>;

const abandonedServers = new FinalizationRegistry<ServerWorker>((worker) => {
  worker.stop();
});

/** The base of temporary servers: a worker and its lifetime. */
export class WorkerServer implements AsyncDisposable {
  /** The address, usable as a client's. */
  readonly address: Address;
  readonly #worker: ServerWorker;

  /** Takes over a worker with a server, made by the static method `start` of a subclass. */
  protected constructor(worker: ServerWorker, address: Address) {
    if (!(worker instanceof ServerWorker)) {
      throw new TypeError(
        "a temporary server is made by TempServer.start() or TempSSLServer.start(), which resolve " +
          "to it, and not by new",
      );
    }
    this.#worker = worker;
    this.address = address;
    abandonedServers.register(this, worker, worker);
  }

  /** Closes the server and ends the worker; when it resolves the address is free again. */
  close(): Promise<void> {
    abandonedServers.unregister(this.#worker);
    return this.#worker.stop();
  }

  /** Closes the server: {@linkcode WorkerServer.prototype.close}. */
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
   * Starts a server in its own worker and resolves when it can be reached. Needs the permissions of a server,
   * and `--allow-read` for local modules.
   *
   * @param address Where to listen, or `{ address, options, signal }`: that, the server's options, and
   * a signal that aborts starting it (`start` rejects with its reason) or, later, closes it.
   * @param build A function that is called with the arguments in the worker and returns the app;
   * `null` if the one argument is the app itself, a function.
   * @param args Values that can be cloned.
   * @throws {TypeError} if a function can't be sent to a worker, or an argument has a wrong type.
   * @throws {DOMException} if an argument or an option can't be cloned.
   * @throws {Error} the error of the worker, if the module, the build function or the address fails.
   * @throws {Error} if the worker ends by itself before the server can be reached.
   */
  static async start(
    address: TempAddress,
    build: AppRef<BuildFunction> | null,
    ...args: unknown[]
  ): Promise<TempServer> {
    return new TempServer(...await startWorker(null, address, build, args));
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
export class TempSSLServer extends WorkerServer {
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
    address: TempAddress,
    build: AppRef<BuildFunction> | null,
    ...args: unknown[]
  ): Promise<TempSSLServer> {
    return new TempSSLServer(...await startWorker(sslconfig, address, build, args));
  }
}

/** Starts a worker with a server; resolves to both when the server can be reached. */
function startWorker(
  sslconfig: ServerSslconfig | null,
  target: TempAddress,
  build: AppRef<BuildFunction> | null,
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
  if (isAddress(target)) return { address: target, options: {}, signal: undefined };
  const { address, options = {}, signal } = copyOptions(target, PROPERTIES, "address");
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw wrongType("signal", "an AbortSignal", signal);
  }
  for (const name of ["logger", "onExchange"] as const) {
    if ((options as ServerOptions)[name] === undefined) continue;
    throw new TypeError(`options.${name}: functions can't cross into a worker; use Server instead`);
  }
  return { address, options: { ...options }, signal };
}

const PROPERTIES = ["address", "options", "signal"];

function isAddress(target: TempAddress): target is Address {
  if (typeof target !== "object" || target === null) return true;
  return Array.isArray(target) || target instanceof Uint8Array;
}

/** Describes how the worker gets the app, or the function that builds it. */
function referToApp(
  build: AppRef<BuildFunction> | null,
  args: readonly unknown[],
): Pick<StartCommand, "build" | "app" | "args"> {
  if (build === null) {
    if (args.length === 1) {
      return { build, app: refer("app", args[0] as AppRef<AppFunction>), args: [] };
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
