/**
 * A worker with a server, and the messages between both ends. Importing this module has no effect
 * in the main thread.
 */

import { wrongArgumentError } from "../internal/checks.ts";
import { type MessagePort, workerData } from "node:worker_threads";
import type { Address } from "../base/address.ts";
import type { App } from "../base/app/app.ts";
import { typeName } from "../internal/quote.ts";
import type { ServerOptions } from "../net/server_options.ts";
import type { ServerSslconfig } from "../net/tls/context.ts";
import { Server, SSLServer } from "../server.ts";
import { type PostedError, toPostedError } from "./posted_error.ts";

// ───────────────────────── the messages

/** An export of a module, by the module's absolute URL. */
export interface ModuleExport {
  readonly module: string;
  readonly name: string;
}

export interface AppSource {
  /** An export of a module, or the source of a function. */
  readonly from: ModuleExport | string;
  /** The arguments for making the app; `null` if `from` is the app itself. */
  readonly args: readonly unknown[] | null;
}

/**
 * The data that a worker starts with. The port is separate because the app may use the worker's
 * own: neither may receive the other's messages, some of which contain the private key.
 */
export interface ServerWorkerData {
  deguPort?: MessagePort;
}

/** The requests to a worker, in this order: to make an app, to serve it, to end the server. */
export type Command =
  | { readonly type: "load"; readonly app: AppSource }
  /** `sslconfig` is `null` for a plain server. */
  | {
    readonly type: "listen";
    readonly address: Address;
    readonly options: ServerOptions;
    readonly sslconfig: ServerSslconfig | null;
  }
  | { readonly type: "close" };

/** The reports of a worker. */
export type WorkerReport =
  /** A request is carried out; the address after `listen` is that of the server. */
  | { readonly type: Command["type"]; readonly address: Address | null }
  /** A request has failed, or an error was not caught: the worker can't be used any more. */
  | { readonly type: "failed"; readonly error: PostedError };

// ───────────────────────── the app

/** Loads the function or the export, and calls it if there are arguments. */
async function makeApp({ from, args }: AppSource): Promise<App> {
  // The text of a function is all that a worker can get of one: only data passes between threads.
  const value = typeof from === "string"
    ? new Function(`"use strict"; return (${from}\n);`)()
    : await loadModuleExport(from);
  if (args === null) return value as App; // the server checks the app
  const what = typeof from === "string" ? "the function" : `the export "${from.name}"`;
  if (typeof value !== "function") {
    throw wrongArgumentError(
      "build",
      `${what} must be a function or a class; got ${typeName(value)}`,
    );
  }
  const isClass = /^class\b/.test(Function.prototype.toString.call(value));
  const built = isClass ? Reflect.construct(value, args) : await value(...args);
  if (!Array.isArray(built)) return built as App;
  throw wrongArgumentError(
    "build",
    `${what} returned an array, as an app does, and not an app; if it is the app itself, ` +
      "put null before it: start(address, null, app)",
  );
}

async function loadModuleExport({ module, name }: ModuleExport): Promise<unknown> {
  // The URL is absolute, so `deno publish`, which warns of this import, has nothing to rewrite.
  const exports: Record<string, unknown> = await import(module);
  const value = exports[name];
  if (value === undefined) throw new TypeError(`the module ${module} has no export "${name}"`);
  return value;
}

// ───────────────────────── the worker

/** The exit code of a worker that an error has ended. */
const CRASHED = 1;

const port = takePort(workerData);
if (port !== null) run(port);

function run(port: MessagePort): void {
  // Every web worker has this property.
  Object.assign(globalThis, { self: globalThis });
  const report = (report: WorkerReport) => port.postMessage(report);
  const fail = (error: unknown) => report({ type: "failed", error: toPostedError(error) });
  const onEvent = (event: Event) => {
    if (event.defaultPrevented) return;
    event.preventDefault(); // otherwise Deno prints the error
    fail(event instanceof ErrorEvent ? event.error : (event as PromiseRejectionEvent).reason);
    Deno.exit(CRASHED);
  };
  const listenForErrors = () => {
    for (const type of ["error", "unhandledrejection"]) {
      globalThis.removeEventListener(type, onEvent);
      globalThis.addEventListener(type, onEvent);
    }
  };
  listenForErrors();
  let app: App;
  let server: Server | null = null;
  const execute = async (command: Command): Promise<Address | null> => {
    if (command.type === "load") {
      app = await makeApp(command.app);
      return null;
    }
    if (command.type === "close") {
      await server?.[Symbol.asyncDispose]();
      return null;
    }
    // The listener is added after those of the app, which may handle the event.
    listenForErrors();
    const { address, options, sslconfig } = command;
    server = sslconfig === null
      ? new Server(address, app, options)
      : new SSLServer(sslconfig, address, app, options);
    await server.ready;
    server.serveForever().catch(fail);
    return server.address;
  };
  port.on("message", (command: Command) => {
    execute(command).then((address) => report({ type: command.type, address }), fail);
  });
}

/** Takes the port out of the app's reach; `null` in another thread. */
function takePort(data: unknown): MessagePort | null {
  const given = (data ?? {}) as ServerWorkerData;
  const port = given.deguPort ?? null;
  delete given.deguPort;
  return port;
}
