/**
 * A worker with a server, and the messages between both ends. Importing this module has no effect
 * in the main thread.
 */

import { type MessagePort, workerData } from "node:worker_threads";
import type { Address } from "../base/address.ts";
import type { App } from "../base/app/app.ts";
import { Internal } from "../base/internal.ts";
import { typeName } from "../base/quote.ts";
import { type Listen, PlainListener, type PortSharing } from "../net/listener.ts";
import { LEVELS, type Logger } from "../net/logger.ts";
import type { ServerOptions } from "../net/server_options.ts";
import { buildServerSslctx, type ServerSslconfig } from "../net/tls/context.ts";
import { ContextInForce, TlsListener } from "../net/tls/listener.ts";
import { Server } from "../server.ts";
import { loadModuleExport, type ModuleExport } from "./module_export.ts";
import { type PostedError, toPostedError } from "./posted_error.ts";

// ───────────────────────── the messages

export type Level = typeof LEVELS[number];

export interface AppSource {
  /** An export of a module, or the source of a function. */
  readonly from: ModuleExport | string;
  /** The arguments for making the app; `null` if `from` is the app itself. */
  readonly args: readonly unknown[] | null;
  /** Advice for the case that `from` is the app itself, although there are `args`. */
  readonly otherwise: string;
}

export interface Service {
  readonly app: AppSource;
  readonly options: ServerOptions;
  /** The function that is called after each exchange. */
  readonly onExchange: ModuleExport | null;
  readonly levels: readonly Level[];
}

/**
 * The data that a worker starts with. The port is separate because the app may use the worker's
 * own: neither may receive the other's messages, some of which contain the private key.
 */
export interface ServerWorkerData {
  deguPort?: MessagePort;
}

/** The requests to a worker: to make an app, to serve it, then any other. */
export type Request =
  /** `sslconfig` is `null` for a plain server. */
  | { readonly type: "load"; readonly service: Service; readonly sslconfig: ServerSslconfig | null }
  | { readonly type: "listen"; readonly address: Address; readonly sharing: PortSharing }
  | { readonly type: "ping" }
  | { readonly type: "setSslctx"; readonly sslconfig: ServerSslconfig }
  | { readonly type: "shutdown" | "close" };

/** A request to a worker, with the number that its answer repeats. */
export type Command = Request & { readonly id: number };

/**
 * The answer to `listen`. `fd` is a duplicate of the listening socket, which outlives the worker;
 * `null` if there is no duplicate.
 */
export interface Bound {
  readonly address: Address;
  readonly fd: number | null;
}

/** The reports of a worker. */
export type Report =
  | { readonly type: "started" }
  | { readonly type: "done"; readonly id: number; readonly bound: Bound | null }
  | { readonly type: "log"; readonly level: Level; readonly message: string }
  /** A request has failed, or an error was not caught: the worker can't be used any more. */
  | { readonly type: "failed"; readonly error: PostedError };

// ───────────────────────── the server

/** Carries out the requests, and reports back. */
export class WorkerServer {
  readonly #report: (report: Report) => void;
  #service: Service | null = null;
  #app: App | null = null;
  #onExchange: ServerOptions["onExchange"];
  /** The current trust of the server; `null` for a plain server. */
  #context: ContextInForce | null = null;
  #listener: TlsListener | null = null;
  #server: Server | null = null;
  #serving: Promise<void> | null = null;

  /** @param report Posts to the other end. */
  constructor(report: (report: Report) => void) {
    this.#report = report;
  }

  /** Carries out a request; resolves when that is done. */
  async receive(command: Command): Promise<void> {
    try {
      const bound = await this.#execute(command);
      this.#report({ type: "done", id: command.id, bound });
    } catch (error) {
      this.#report({ type: "failed", error: toPostedError(error) });
    }
  }

  async #execute(command: Command): Promise<Bound | null> {
    if (command.type === "load") {
      this.#service = command.service;
      if (command.sslconfig !== null) {
        this.#context = new ContextInForce(buildServerSslctx(command.sslconfig));
      }
      const { app, onExchange } = command.service;
      this.#app = await makeApp(app);
      if (onExchange !== null) this.#onExchange = await loadOnExchange(onExchange);
    } else if (command.type === "listen") {
      return await this.#listen(command.address, command.sharing);
    } else if (command.type === "setSslctx") {
      this.#context!.replace(buildServerSslctx(command.sslconfig));
    } else if (command.type === "shutdown" || command.type === "close") {
      await this.#server?.[command.type]();
      await this.#serving;
    }
    return null;
  }

  async #listen(address: Address, sharing: PortSharing): Promise<Bound> {
    const { options, levels } = this.#service!;
    const logger = this.#makeLogger(levels);
    const given = { ...options, logger, onExchange: this.#onExchange };
    const listen: Listen = (address, side) => {
      if (this.#context === null) return new PlainListener(address, side.logger, sharing);
      this.#listener = new TlsListener(address, side, this.#context, null, sharing);
      return this.#listener;
    };
    const server = new Server(address, this.#app!, given, new Internal(listen));
    this.#server = server;
    await server.ready;
    this.#serving = server.serveForever();
    this.#serving.catch((error) => this.#report({ type: "failed", error: toPostedError(error) }));
    return { address: server.address, fd: this.#listener?.duplicate() ?? null };
  }

  #makeLogger(levels: readonly Level[]): Logger {
    const log = (level: Level) => (message: string) => {
      if (levels.includes(level)) this.#report({ type: "log", level, message });
    };
    const [debug, info, warn, error] = LEVELS.map(log);
    return { debug, info, warn, error } as Logger;
  }
}

/** Loads the function or the export, and calls it if there are arguments. */
async function makeApp({ from, args, otherwise }: AppSource): Promise<App> {
  const value = typeof from === "string"
    ? new Function(`"use strict"; return (${from}\n);`)()
    : await loadModuleExport(from);
  if (args === null) return value as App; // the server checks the app
  const what = typeof from === "string" ? "the function" : `the export "${from.name}"`;
  if (typeof value !== "function") {
    throw new TypeError(
      `app: ${what} must be a function or a class if there are args; got ${typeName(value)}`,
    );
  }
  const isClass = /^class\b/.test(Function.prototype.toString.call(value));
  const built = isClass ? Reflect.construct(value, args) : await value(...args);
  if (!Array.isArray(built)) return built as App;
  throw new TypeError(
    `app: ${what} returned an array, as an app does, and not an app; if it is the app itself, ${otherwise}`,
  );
}

async function loadOnExchange(source: ModuleExport): Promise<ServerOptions["onExchange"]> {
  const value = await loadModuleExport(source);
  if (typeof value === "function") return value as ServerOptions["onExchange"];
  throw new TypeError(
    `options.onExchange: the export "${source.name}" must be a function; got ${typeName(value)}`,
  );
}

// ───────────────────────── the worker

/** The exit code of a worker that an error has ended. */
const CRASHED = 1;

const port = takePort(workerData);
if (port !== null) run(port);

function run(port: MessagePort): void {
  // Every web worker has this property.
  Object.assign(globalThis, { self: globalThis });
  const report = (report: Report) => port.postMessage(report);
  const crash = (error: unknown) => {
    report({ type: "failed", error: toPostedError(error) });
    Deno.exit(CRASHED);
  };
  const onEvent = (event: Event) => {
    if (event.defaultPrevented) return;
    event.preventDefault(); // otherwise Deno prints the error
    crash(event instanceof ErrorEvent ? event.error : (event as PromiseRejectionEvent).reason);
  };
  const listen = () => {
    for (const type of ["error", "unhandledrejection"]) {
      globalThis.removeEventListener(type, onEvent);
      globalThis.addEventListener(type, onEvent);
    }
  };
  listen();
  report({ type: "started" }); // from now on the worker can answer
  const server = new WorkerServer(report);
  port.on("message", (command: Command) => {
    // This listener comes after those of the app, which may handle the event.
    if (command.type === "listen") listen();
    server.receive(command);
  });
}

/** Takes the port out of the app's reach; `null` in another thread. */
function takePort(data: unknown): MessagePort | null {
  const given = (data ?? {}) as ServerWorkerData;
  const port = given.deguPort ?? null;
  delete given.deguPort;
  return port;
}
