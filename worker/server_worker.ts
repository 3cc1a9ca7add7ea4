/** Importing this module has no effect in the main thread. */

import { type App, disposeApp } from "../base/app/app.ts";
import type { Address } from "../base/address.ts";
import type { ServerOptions } from "../net/server/server_options.ts";
import type { ServerSslconfig } from "../net/tls/context.ts";
import { Server, SSLServer } from "../server.ts";
import { buildApp, loadModuleExport, type ModuleExport } from "./load_app.ts";
import {
  type PostedError,
  reportUncaughtErrors,
  runInWorker,
  toPostedError,
} from "./worker_port.ts";

/** A command to a worker, in this order: load the app, serve it, close the server. */
export type WorkerCommand =
  | {
    readonly type: "load";
    readonly app: ModuleExport;
    /** The arguments for making the app; `null` if the export is the app itself. */
    readonly args: readonly unknown[] | null;
  }
  | {
    readonly type: "listen";
    readonly address: Address;
    readonly options: ServerOptions;
    readonly sslconfig: ServerSslconfig | null;
  }
  | { readonly type: "close" };

export type WorkerReport =
  /** A command was executed. */
  | {
    readonly type: WorkerCommand["type"];
    /** The address of the server after `listen`. */
    readonly result: unknown;
  }
  /** A command failed, or an error was not caught: the worker can't be used any more. */
  | { readonly type: "failed"; readonly error: PostedError };

runInWorker((port) => {
  const report = (report: WorkerReport) => port.postMessage(report);
  const fail = (error: unknown) => report({ type: "failed", error: toPostedError(error) });
  const moveListeners = reportUncaughtErrors(fail);
  let app: App;
  let server: Server | null = null;
  const execute = async (command: WorkerCommand): Promise<unknown> => {
    switch (command.type) {
      case "load": {
        const { args } = command;
        const value = await loadModuleExport(command.app);
        const label = `the export "${command.app.name}"`;
        app = args === null ? value as App : await buildApp(value, args, label);
        moveListeners();
        return undefined;
      }
      case "listen": {
        const { address, options, sslconfig } = command;
        server = sslconfig === null
          ? new Server(address, app, options)
          : new SSLServer(sslconfig, address, app, options);
        await server.ready;
        server.serveForever().catch(fail);
        return server.address;
      }
      case "close":
        server?.close();
        await server?.[Symbol.asyncDispose]();
        await disposeApp(app);
    }
    return undefined;
  };
  port.onmessage = ({ data }: MessageEvent<WorkerCommand>) => {
    const { type } = data;
    execute(data).then((result) => report({ type, result }), fail);
  };
});
