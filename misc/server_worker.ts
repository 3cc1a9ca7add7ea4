/** Importing this module has no effect in the main thread. */

import type { Address } from "../base/address.ts";
import type { App } from "../base/app/app.ts";
import type { LogDetails, Logger, LogLevel } from "../base/app/logger.ts";
import type { ServerOptions } from "../net/server/server_options.ts";
import type { ServerSslconfig } from "../net/tls/context.ts";
import { Server, SSLServer } from "../server.ts";
import { buildApp, isClass, loadModuleExport, type ModuleExport } from "../worker/load_app.ts";
import {
  type PostedError,
  reportUncaughtErrors,
  runInWorker,
  toPostedError,
} from "../worker/worker_port.ts";

// ───────────────────────── the messages

export interface AppSource {
  /**
   * The app, or the function that makes the app: a module's export, or a function's source code.
   */
  readonly definition: ModuleExport | string;
  /** The arguments for making the app; `null` if `definition` is the app itself. */
  readonly args: readonly unknown[] | null;
}

/** A command to a worker, in this order: load the app, serve it, close the server. */
export type Command =
  | { readonly type: "load"; readonly app: AppSource }
  | {
    readonly type: "listen";
    readonly address: Address;
    readonly options: Omit<ServerOptions, "logger">;
    /** Whether the log goes to the thread that has started the worker. */
    readonly hasLogger: boolean;
    readonly sslconfig: ServerSslconfig | null;
  }
  | { readonly type: "close" };

export type WorkerReport =
  /** A command was executed; `address` is that of the server after `listen`. */
  | { readonly type: Command["type"]; readonly address: Address | null }
  /** A line of the server's log. */
  | {
    readonly type: "log";
    readonly level: LogLevel;
    readonly message: string;
    readonly details: Omit<LogDetails, "error"> & { readonly error: PostedError | undefined };
  }
  /** A command failed, or an error was not caught: the worker can't be used any more. */
  | { readonly type: "failed"; readonly error: PostedError };

// ───────────────────────── the app

async function makeApp({ definition, args }: AppSource): Promise<App> {
  // A function is sent to the worker as its source, because threads exchange only data.
  const value = typeof definition === "string"
    ? explainClosures(await evaluateFunction(definition))
    : await loadModuleExport(definition);
  if (args === null) return value as App; // the server checks the app
  const label = typeof definition === "string" ? "the function" : `the export "${definition.name}"`;
  const advice = "put null before it: start(address, null, app)";
  const app = await buildApp(value, args, { argument: "build", label, advice });
  return (typeof definition === "string" ? explainClosures(app) : app) as App;
}

/**
 * Evaluates the source of a function. The names of `@degu/degu` are in its scope, except those that
 * are globals with another meaning.
 */
async function evaluateFunction(source: string): Promise<unknown> {
  const scope = Object.entries(await import("../mod.ts")).filter(([name]) => !(name in globalThis));
  const evaluate = new Function(
    ...scope.map(([name]) => name),
    `"use strict"; return (${source}\n);`,
  );
  return evaluate(...scope.map(([, value]) => value));
}

/**
 * Returns a function, or an app with functions, that explains the error of a variable that the
 * worker doesn't have.
 */
function explainClosures(value: unknown): unknown {
  if (typeof value === "object" && value !== null) {
    for (const name of ["handle", "onConnect"]) {
      const method: unknown = Object.hasOwn(value, name) && Reflect.get(value, name);
      if (typeof method !== "function") continue;
      Reflect.set(value, name, explainClosures(method.bind(value)));
    }
    return value;
  }
  if (typeof value !== "function" || isClass(value)) return value;
  const explain = (error: unknown): never => {
    if (!(error instanceof ReferenceError)) throw error;
    const advice = "the function was sent to a worker as text, and has only its arguments, " +
      "globals and the names of @degu/degu: pass data as arguments of start(), or pass " +
      "{ module, name } of a function that a module exports";
    throw new ReferenceError(`${error.message}; ${advice}`, { cause: error });
  };
  return (...args: unknown[]) => {
    try {
      const result: unknown = value(...args);
      return result instanceof Promise ? result.catch(explain) : result;
    } catch (error) {
      return explain(error);
    }
  };
}

// ───────────────────────── the worker

runInWorker(runWorker);

function runWorker(port: MessagePort): void {
  const report = (report: WorkerReport) => port.postMessage(report);
  const reportFailure = (error: unknown) => report({ type: "failed", error: toPostedError(error) });
  const record: Required<Logger>["record"] = (level, message, details) => {
    const error = details.error === undefined ? undefined : toPostedError(details.error);
    report({ type: "log", level, message, details: { ...details, error } });
  };
  const ignoreLine = () => {};
  const logger: Logger = {
    debug: ignoreLine,
    info: ignoreLine,
    warn: ignoreLine,
    error: ignoreLine,
    record,
  };
  const listenForErrors = reportUncaughtErrors((error) => report({ type: "failed", error }));
  let app: App;
  let server: Server | null = null;
  const execute = async (command: Command): Promise<Address | null> => {
    if (command.type === "load") {
      app = await makeApp(command.app);
      return null;
    }
    if (command.type === "close") {
      server?.close();
      await server?.[Symbol.asyncDispose]();
      return null;
    }
    // Add the listeners again, after the listeners of the app, which may handle the events.
    listenForErrors();
    const { address, hasLogger, sslconfig } = command;
    const options: ServerOptions = hasLogger ? { ...command.options, logger } : command.options;
    server = sslconfig === null
      ? new Server(address, app, options)
      : new SSLServer(sslconfig, address, app, options);
    await server.ready;
    server.serveForever().catch(reportFailure);
    return server.address;
  };
  port.onmessage = ({ data: command }: MessageEvent<Command>) => {
    execute(command).then((address) => report({ type: command.type, address }), reportFailure);
  };
}
