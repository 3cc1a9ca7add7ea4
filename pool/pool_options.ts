/**
 * The arguments and options of a pool.
 *
 * @module
 */

import type { Address } from "../base/address_rules.ts";
import { checkArray, checkInteger, copyOptions, wrongType } from "../base/checks.ts";
import { DeguError } from "../base/errors.ts";
import { makeSafeLogger } from "../base/safe_logger.ts";
import { checkServerAddress, endpointOf } from "../net/addresses.ts";
import { denoSharesPorts } from "../net/port_sharing.ts";
import { checkServerOptions, LEVELS, type ServerOptions } from "../net/server_options.ts";
import { type Logger, standardLogger } from "../net/standard_logger.ts";
import { buildServerSslctx, type ServerSslconfig, serverTextsOf } from "../net/tls/context.ts";
import { isForNode } from "../net/tls/raw_listener.ts";
import { type ModuleExport, readModuleExport } from "../worker/module_export.ts";
import type { AppSource, Service } from "./messages.ts";

/** What a module exports under a name, for the workers. */
export interface PoolExport {
  /** The absolute URL of the module: `import.meta.resolve("./app.ts")`. */
  module: string | URL;
  /** The name of the export. */
  name: string;
}

/** An app by the name under which a module exports it, or a function or class that makes one. */
export interface PoolApp extends PoolExport {
  /**
   * What the export is called with in each worker, to make the app; a class is constructed. `[]` for no
   * arguments. If left out, the export is the app itself. They are cloned.
   */
  args?: unknown[] | undefined;
}

/** Options of a pool. */
export interface PoolOptions {
  /**
   * How many workers there are, 1 to 256. A Unix socket has one.
   *
   * @default {navigator.hardwareConcurrency}
   */
  workers?: number | undefined;
  /** Which clients to trust, and the identity of the server; without it the connections are plain. */
  sslconfig?: ServerSslconfig | undefined;
  /** The options of the server in each worker: limits apply to each worker. */
  server?: Omit<ServerOptions, "logger" | "onExchange"> | undefined;
  /**
   * The logger that all workers report to; `console` works.
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

/** The levels of the default logger that aren't discarded. */
const PRINTED = ["warn", "error"] as const;

/** What was checked. */
export interface PoolPlan {
  readonly address: Address;
  readonly workers: number;
  readonly service: Service;
  /** With PEM texts instead of files; `null` for a plain pool. */
  readonly sslconfig: ServerSslconfig | null;
  readonly logger: Logger;
}

/**
 * Checks the arguments of a pool, and reads the files of its *sslconfig*.
 *
 * @throws {TypeError} if an argument or option is of a wrong type, or an option is unknown.
 * @throws {RangeError} if a value is not allowed.
 * @throws {DOMException} if an argument of the app can't be cloned.
 * @throws {DeguError} if `--unstable-net` is missing.
 * @throws what `buildServerSslctx` does.
 */
export function checkPool(address: Address, app: PoolApp, options: PoolOptions): PoolPlan {
  const checked = checkServerAddress(address);
  const source = checkApp(app);
  const { workers, sslconfig, server = {}, logger, onExchange } = copyOptions(
    options,
    ["workers", "sslconfig", "server", "logger", "onExchange"],
  );
  const service: Service = {
    app: source,
    options: checkOptionsOfServer(server),
    onExchange: onExchange === undefined ? null : checkOnExchange(onExchange),
    levels: logger === undefined ? PRINTED : LEVELS,
  };
  const safeLogger = makeSafeLogger(logger ?? standardLogger, LEVELS);
  const count = checkWorkers(checked, workers);
  const texts = sslconfig === undefined ? null : readSslconfig(sslconfig);
  if (count > 1) checkFlag(checked, texts === null);
  return { address: checked, workers: count, service, sslconfig: texts, logger: safeLogger };
}

/**
 * Checks an *sslconfig*, reads its files, and returns a copy with their texts, so that all workers have the same
 * one, including those that start later.
 *
 * @throws what `buildServerSslctx` does.
 */
export function readSslconfig(sslconfig: ServerSslconfig): ServerSslconfig {
  return serverTextsOf(buildServerSslctx(sslconfig));
}

function checkApp(app: PoolApp): AppSource {
  if (typeof app !== "object" || app === null) throw wrongType("app", APP, app);
  const copy = copyOptions(app, ["module", "name", "args"], "app");
  const source = readModuleExport("app", copy);
  if (source === null) throw wrongType("app", APP, app);
  const { args } = copy;
  if (args === undefined) return { ...source, args: null };
  checkArray("app.args", args);
  return { ...source, args: structuredClone(args) };
}

const APP = "an object with module and name, of an app that a module exports";

function checkOnExchange(onExchange: PoolExport): ModuleExport {
  const label = "options.onExchange";
  const isObject = typeof onExchange === "object" && onExchange !== null;
  const copy = isObject ? copyOptions(onExchange, ["module", "name"], label) : null;
  const source = readModuleExport(label, copy);
  if (source !== null) return source;
  throw wrongType(
    label,
    "an object with module and name, of a function that a module exports",
    onExchange,
  );
}

function checkOptionsOfServer(server: object): ServerOptions {
  const { logger, onExchange, ...options } = checkServerOptions(server);
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
