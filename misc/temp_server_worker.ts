/**
 * The worker in which a temporary server runs, and the messages between both ends.
 *
 * @module
 */

import type { MessagePort as NodeMessagePort } from "node:worker_threads";
import type { Address } from "../base/address_rules.ts";
import type { App } from "../base/app/app.ts";
import { Server, type ServerOptions, type ServerSslconfig, SSLServer } from "../server.ts";
import { loadModuleExport } from "../worker/module_export.ts";
import { type PlainError, toPlainError } from "../worker/plain_error.ts";

/** A function for the worker: by its source, or as an export of a module. */
export type FunctionReference =
  | { readonly kind: "source"; readonly source: string }
  | { readonly kind: "module"; readonly module: string; readonly name: string };

/** What the worker must start. */
export interface StartCommand {
  /** `null` for a plain server. */
  readonly sslconfig: ServerSslconfig | null;
  readonly address: Address;
  readonly options: Record<string, unknown>;
  /** The function that builds the app from the arguments; `null` if `app` is given. */
  readonly build: FunctionReference | null;
  readonly app: FunctionReference | null;
  readonly args: readonly unknown[];
}

/** The first and only message to the worker itself. */
export interface Beginning {
  readonly command: StartCommand;
  /**
   * Carries the reports; any message to the worker asks it to close. It closes by itself when the
   * worker ends for any reason, for which a `Worker` has no event.
   */
  readonly port: NodeMessagePort;
}

/** What the worker reports. */
export type Report =
  | { readonly type: "ready"; readonly address: Address }
  | { readonly type: "failed"; readonly error: PlainError }
  | { readonly type: "closed" };

interface WorkerScope {
  onmessage: ((event: MessageEvent<Beginning>) => void) | null;
}

// The types of a worker's scope exclude those of a window, which everything else is checked with.
const scope = globalThis as unknown as WorkerScope;

scope.onmessage = ({ data: { command, port } }) => {
  // Here it is a port of the web, since node:worker_threads is not loaded in this worker.
  start(command, port as unknown as MessagePort);
};

async function start(command: StartCommand, port: MessagePort): Promise<void> {
  const report = (message: Report) => port.postMessage(message);
  let server: Server;
  let serving;
  try {
    server = makeServer(command, await makeApp(command));
    await server.ready;
    serving = server.serveForever();
  } catch (error) {
    report({ type: "failed", error: toPlainError(error) });
    return;
  }
  port.onmessage = () => server.close();
  report({ type: "ready", address: server.address });
  await serving;
  report({ type: "closed" });
}

function makeServer({ address, sslconfig, options }: StartCommand, app: App): Server {
  return sslconfig === null
    ? new Server(address, app, options as ServerOptions)
    : new SSLServer(sslconfig, address, app, options as ServerOptions);
}

async function makeApp({ build, app, args }: StartCommand): Promise<App> {
  if (build === null) return await resolve(app!) as App;
  const built = await (await resolve(build))(...args);
  if (!Array.isArray(built)) return built as App;
  throw new TypeError(
    "build: returned an array, as an app does, and not an app; if it is the app itself, put null " +
      "before it: start(address, null, app)",
  );
}

type AnyFunction = (...args: unknown[]) => unknown;

async function resolve(reference: FunctionReference): Promise<AnyFunction> {
  if (reference.kind === "source") {
    return new Function(`"use strict"; return (${reference.source}\n);`)();
  }
  // A value of another type fails where it is called.
  return await loadModuleExport(reference) as AnyFunction;
}
