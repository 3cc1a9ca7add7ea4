/**
 * The messages between a pool and its workers.
 *
 * @module
 */

import type { MessagePort } from "node:worker_threads";
import type { Address } from "../base/address_rules.ts";
import type { LEVELS, ServerOptions } from "../net/server_options.ts";
import type { PortSharing } from "../net/port_sharing.ts";
import type { ServerSslconfig } from "../net/tls/context.ts";
import type { ModuleExport } from "../worker/module_export.ts";
import type { PlainError } from "../worker/plain_error.ts";

/** A level of a logger. */
export type Level = typeof LEVELS[number];

/** Where the workers get the app from. */
export interface AppSource extends ModuleExport {
  /** What the export is called with, to make the app; `null` if it is the app. */
  readonly args: readonly unknown[] | null;
}

/** What every worker of a pool serves. */
export interface Service {
  readonly app: AppSource;
  readonly options: ServerOptions;
  /** The function that is called after each exchange. */
  readonly onExchange: ModuleExport | null;
  /** The levels that the pool's logger wants. */
  readonly levels: readonly Level[];
}

/**
 * What a worker starts with. It has a port of its own, since the app may use the worker's: neither may receive
 * the other's messages, some of which contain the private key.
 */
export interface PoolWorkerData {
  deguPort?: MessagePort;
}

/** What the pool sends to a worker. */
export type Command =
  /** The first one: make the app. `sslconfig` has PEM texts instead of files; `null` for a plain server. */
  | { readonly type: "load"; readonly service: Service; readonly sslconfig: ServerSslconfig | null }
  /** The second one: serve. */
  | { readonly type: "listen"; readonly address: Address; readonly sharing: PortSharing }
  | { readonly type: "ping" }
  | { readonly type: "setSslctx"; readonly id: number; readonly sslconfig: ServerSslconfig }
  | { readonly type: "shutdown" }
  | { readonly type: "close" };

/** What a worker reports. */
export type Report =
  | { readonly type: "loaded" }
  /** `fd` is a duplicate of the listening socket, for the pool; `null` if there is none. */
  | { readonly type: "serving"; readonly address: Address; readonly fd: number | null }
  /** The app can't be made or the address can't be bound. */
  | { readonly type: "failed"; readonly error: PlainError }
  | { readonly type: "pong" }
  | { readonly type: "sslctxSet"; readonly id: number }
  | { readonly type: "log"; readonly level: Level; readonly message: string }
  /** An uncaught error, which ends the worker. */
  | { readonly type: "crashed"; readonly error: PlainError }
  /** After "shutdown" or "close": the server has ended. */
  | { readonly type: "closed" };
