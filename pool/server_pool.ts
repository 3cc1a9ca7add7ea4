/** Servers in workers, on a common address. */

import type { Address } from "../base/address.ts";
import { checkArray, checkInteger, copyOptions, wrongType } from "../base/checks.ts";
import { DeguError } from "../base/errors.ts";
import { LEVELS, type Logger, makeSafeLogger, standardLogger } from "../net/logger.ts";
import { checkServerAddress, endpointOf } from "../net/addresses.ts";
import { denoSharesPorts } from "../net/listener.ts";
import { checkServerOptions, type ServerOptions } from "../net/server_options.ts";
import { buildServerSslctx, type ServerSslconfig, serverTextsOf } from "../net/tls/context.ts";
import { EVERY_CLIENT_IS_ACCEPTED, isForNode } from "../net/tls/listener.ts";
import { serveUntilSignal, type UntilSignalOptions } from "../net/until_signal.ts";
import { type ModuleExport, readModuleExport } from "../worker/module_export.ts";
import { PoolMember, type PoolState, type PoolTimes } from "./pool_member.ts";
import type { AppSource, Service } from "../worker/server_worker.ts";

/** An export of a module, for the workers. */
export interface PoolExport {
  /** The absolute URL of the module: `import.meta.resolve("./app.ts")`. */
  module: string | URL;
  /** The name by which the module exports it. */
  name: string;
}

/** An app that a module exports, or a function or class that makes an app. */
export interface PoolApp extends PoolExport {
  /**
   * The arguments with which each worker calls the export to make the app; a class is constructed.
   * `[]` stands for no arguments. If left out, the export is the app itself. The arguments are
   * cloned.
   */
  args?: readonly unknown[] | undefined;
}

/** How many workers serve, and with which options. */
export interface PoolOptions {
  /**
   * The number of workers, 1 to 256. A Unix socket has a single worker.
   *
   * @default {navigator.hardwareConcurrency}
   */
  workers?: number | undefined;
  /** The trusted clients and the identity of the server; if left out, the connections are plain. */
  sslconfig?: ServerSslconfig | undefined;
  /** The options that each worker passes to its server: limits apply to each worker. */
  server?: Omit<ServerOptions, "logger" | "onExchange" | "signal" | "replaceSocket"> | undefined;
  /**
   * The logger for all workers; `console` works.
   *
   * @default {warnings and errors, to stderr}
   */
  logger?: Logger | undefined;
  /**
   * A function that a module exports, and that each worker calls as the `onExchange` of its server:
   * `export const onExchange = accessLog(console.log);`
   *
   * @default {none}
   */
  onExchange?: PoolExport | undefined;
}

/** Each worker costs memory, and more workers than cores gain nothing. */
const MAX_WORKERS = 256;

/** The levels that the default logger prints. */
const PRINTED = ["warn", "error"] as const;

/** A worker that is silent for 30 seconds is considered hung. */
const TIMES: PoolTimes = {
  heartbeat: { every: 5000, missed: 6 },
  restart: { first: 100, most: 10_000 },
};

/** Starts a pool as {@linkcode ServerPool.start} does, with other times. */
export let startPool: (
  address: Address,
  app: PoolApp,
  options: PoolOptions,
  times: PoolTimes,
) => Promise<ServerPool>;

/**
 * Serves an app from several workers that share a port, so that more than one core is used and a
 * busy app doesn't block this thread. {@linkcode ServerPool.start} makes a pool.
 *
 * The kernel distributes the connections. A worker that fails, ends itself, or doesn't answer for
 * 30 seconds is logged and replaced, after 100 ms at first and then twice as long each time, up to
 * 10 s; the others continue to serve. The workers share nothing: each has its own app, and the
 * limits in `server` apply to each worker.
 *
 * @example
 * ```ts
 * import { SSLClient } from "@degu/degu";
 * import { TempPKI } from "@degu/degu/misc";
 * import { ServerPool } from "@degu/degu/pool";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * await using pki = await TempPKI.create();
 * const app = { module: import.meta.resolve("@degu/degu/files"), name: "FilesApp", args: [dir] };
 * const options = { workers: 2, sslconfig: pki.serverSslconfig };
 * await using pool = await ServerPool.start(["127.0.0.1", 0], app, options);
 * const client = new SSLClient(pki.clientSslconfig, pool.address);
 * assertEquals((await client.request("GET", "/nothing")).status, 404);
 * await pool.shutdown();
 * await Deno.remove(dir);
 * ```
 */
export class ServerPool implements AsyncDisposable {
  /** The address of all workers, usable as a client's. */
  readonly address: Address;
  /** The number of workers. */
  readonly workers: number;
  readonly #state: PoolState;
  readonly #members: readonly PoolMember[];
  #isStopped = false;
  readonly #ended = Promise.withResolvers<void>();

  private constructor(state: PoolState, members: readonly PoolMember[]) {
    this.address = state.address;
    this.workers = members.length;
    this.#state = state;
    this.#members = members;
  }

  static {
    startPool = async (address, app, options, times) => {
      const { logger, workers, ...plan } = checkPool(address, app, options);
      const state: PoolState = {
        ...plan,
        times,
        reusePort: workers > 1,
        log: (level, message) => logger[level](message),
      };
      const members = Array.from({ length: workers }, (_, i) => new PoolMember(i + 1, state));
      try {
        await Promise.all(members.map((member) => member.load()));
        // The first worker chooses the port.
        const [first, ...others] = members;
        state.address = await first!.listen();
        await Promise.all(others.map((member) => member.listen()));
        for (const member of members) member.supervise();
      } catch (error) {
        await Promise.all(members.map((member) => member.close()));
        throw error;
      }
      warnOfUnauthenticated(state, null);
      return new ServerPool(state, members);
    };
  }

  /**
   * Starts the workers and resolves when all of them serve. If a worker can't, the others are
   * ended.
   *
   * Needs the permissions of a `Server`, or an `SSLServer`, and of the app, and `--allow-read` of
   * local modules: the library's and the app's. Without TLS, more than one worker needs
   * `--unstable-net`.
   *
   * @param address The address, as for `Server`. Port 0 is for a free port, the same for all
   * workers.
   * @param app The app, as an export of a module.
   * @param options The number of workers, TLS, the options of the servers, and the logger.
   * @throws {TypeError} if an argument or option is of a wrong type, or an option is unknown; if
   * the module can't be found or has no such export.
   * @throws {RangeError} if a value is not allowed.
   * @throws {DOMException} if an argument of the app can't be cloned.
   * @throws {DeguError} if `--unstable-net` is missing, or a worker ends before it serves.
   * @throws {Error} the errors of the module, the function, `buildServerSslctx` or a server.
   */
  static async start(
    address: Address,
    app: PoolApp,
    options: PoolOptions = {},
  ): Promise<ServerPool> {
    return await startPool(address, app, options, TIMES);
  }

  /**
   * Replaces the context of all workers, like `SSLServer.setSslctx`; resolves when all of them use
   * the new context. Workers that start later use it, too. The files are read once, here. After a
   * rejection, the old context stays in use.
   *
   * @param sslconfig The new configuration, as of an `SSLServer`.
   * @throws {TypeError} if the pool has no TLS.
   * @throws {DeguError} if the pool was closed.
   * @throws the errors of `buildServerSslctx`.
   */
  async setSslctx(sslconfig: ServerSslconfig): Promise<void> {
    if (this.#state.sslconfig === null) {
      throw new TypeError(
        "setSslctx: the pool must have TLS; it was started without sslconfig",
      );
    }
    if (this.#isStopped) throw new DeguError("the pool was closed");
    const texts = readSslconfig(sslconfig);
    const before = this.#state.sslconfig;
    this.#state.sslconfig = texts;
    warnOfUnauthenticated(this.#state, before);
    await Promise.all(this.#members.map((member) => member.setSslctx(texts)));
  }

  /**
   * Resolves once the process has received a signal and all workers have ended, like
   * `Server.serveUntilSignal()`. The first signal calls {@linkcode ServerPool.prototype.shutdown};
   * a second signal, or the deadline, calls {@linkcode ServerPool.prototype.close}. Needs no
   * permission.
   *
   * @param options The signals, and the seconds after which the rest is closed.
   * @throws {TypeError} if an option is of a wrong type or unknown, or Deno doesn't know a signal.
   * @throws {RangeError} if a value is not allowed.
   */
  serveUntilSignal(options: UntilSignalOptions = {}): Promise<void> {
    const serving = {
      serveForever: () => this.#ended.promise,
      shutdown: () => this.shutdown(),
      close: () => this.close(),
    };
    return serveUntilSignal(serving, options);
  }

  /**
   * Ends the workers: requests in progress are answered, other connections are closed. Resolves
   * when all workers have ended; {@linkcode ServerPool.prototype.close} ends them at once.
   */
  async shutdown(): Promise<void> {
    await this.#end((member) => member.shutdown());
  }

  /** Ends the workers and all connections at once; resolves when the address is free. */
  async close(): Promise<void> {
    await this.#end((member) => member.close());
  }

  async #end(end: (member: PoolMember) => Promise<void>): Promise<void> {
    this.#isStopped = true;
    await Promise.all(this.#members.map(end));
    this.#ended.resolve();
  }

  /** Closes the pool: {@linkcode ServerPool.prototype.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Warns, once for all workers, if clients are no longer authenticated. */
function warnOfUnauthenticated(
  { sslconfig, log }: PoolState,
  before: ServerSslconfig | null,
): void {
  const isOpen = sslconfig?.allowUnauthenticatedClients === true;
  if (!isOpen || before?.allowUnauthenticatedClients === true) return;
  log("warn", EVERY_CLIENT_IS_ACCEPTED);
}

// ───────────────────────── arguments and options

export function checkPool(address: Address, app: PoolApp, options: PoolOptions) {
  const checked = checkServerAddress(address);
  const source = checkApp(app);
  const { workers, sslconfig, server = {}, logger, onExchange } = copyOptions(
    options,
    ["workers", "sslconfig", "server", "logger", "onExchange"],
  );
  const service: Service = {
    app: source,
    options: checkOptionsOfServer(server),
    onExchange: onExchange === undefined
      ? null
      : checkExport("options.onExchange", "a function", ["module", "name"], onExchange).source,
    levels: logger === undefined ? PRINTED : LEVELS,
  };
  const safeLogger = makeSafeLogger(logger ?? standardLogger, LEVELS);
  const count = checkWorkers(checked, workers);
  const texts = sslconfig === undefined ? null : readSslconfig(sslconfig);
  if (count > 1) checkFlag(checked, texts === null);
  return { address: checked, workers: count, service, sslconfig: texts, logger: safeLogger };
}

/**
 * Checks an *sslconfig*, and returns a copy with the texts of its files: all workers get the same
 * texts, even those that start later.
 */
export function readSslconfig(sslconfig: ServerSslconfig): ServerSslconfig {
  return serverTextsOf(buildServerSslctx(sslconfig));
}

function checkApp(app: PoolApp): AppSource {
  const { source, args } = checkExport("app", "an app", ["module", "name", "args"], app);
  if (args !== undefined) checkArray("app.args", args);
  const cloned = args === undefined ? null : structuredClone(args);
  return { from: source, args: cloned, otherwise: "leave out args" };
}

function checkExport<T extends PoolExport>(
  label: string,
  what: string,
  names: readonly string[],
  given: T,
): T & { readonly source: ModuleExport } {
  const isObject = typeof given === "object" && given !== null;
  const copy = isObject ? copyOptions(given, names, label) : null;
  const source = readModuleExport(label, copy);
  if (copy !== null && source !== null) return { ...copy, source };
  const wanted = `an object with module and name, of ${what} that a module exports`;
  throw wrongType(label, wanted, given);
}

function checkOptionsOfServer(server: object): ServerOptions {
  const { logger, onExchange, signal, replaceSocket, ...options } = checkServerOptions(server);
  if (signal !== undefined || replaceSocket !== undefined) {
    const name = signal === undefined ? "replaceSocket" : "signal";
    throw new TypeError(`options.server.${name}: can't be given for the servers of a pool`);
  }
  if (logger !== undefined) {
    throw new TypeError("options.server.logger: can't be given; use options.logger");
  }
  if (onExchange === undefined) return options;
  throw new TypeError(
    "options.server.onExchange: functions can't cross into a worker; export it from a module, and " +
      "name it in options.onExchange",
  );
}

function checkWorkers(address: Address, workers: number | undefined): number {
  if (endpointOf(address).transport === "unix") {
    if (workers !== undefined) checkInteger("workers", workers, 1, MAX_WORKERS);
    if ((workers ?? 1) === 1) return 1;
    throw new RangeError(
      `workers: must be 1 for a Unix socket, which can't be shared; got ${workers}`,
    );
  }
  if (workers === undefined) return Math.min(navigator.hardwareConcurrency, MAX_WORKERS);
  checkInteger("workers", workers, 1, MAX_WORKERS);
  return workers;
}

function checkFlag(address: Address, isPlain: boolean): void {
  if ((!isPlain && isForNode(endpointOf(address))) || denoSharesPorts()) return;
  throw new DeguError(
    "a pool of more than one worker without TLS, or at a link-local address, needs the flag " +
      "--unstable-net: without it Deno can't share a port; add the flag, or give workers: 1",
  );
}
