/**
 * The worker in which a temporary server runs.
 *
 * @module
 */

import type { App } from "../base/app.ts";
import { Server, type ServerOptions, SSLServer } from "../server.ts";
import type { Command, FunctionReference, Report } from "./temp_server_protocol.ts";
import { toPlainError } from "./temp_server_protocol.ts";

interface WorkerScope {
  postMessage(report: Report): void;
  onmessage: ((event: MessageEvent<Command>) => void) | null;
  close(): void;
}

// The types of a worker's scope exclude those of a window, which everything else is checked with.
const scope = globalThis as unknown as WorkerScope;

type StartCommand = Command & { type: "start" };

let server: Server | null = null;

scope.onmessage = ({ data }) => {
  if (data.type === "close") server?.close();
  else start(data);
};

async function start(command: StartCommand): Promise<void> {
  let serving;
  try {
    server = makeServer(command, await makeApp(command));
    await server.ready;
    serving = server.serveForever();
  } catch (error) {
    scope.postMessage({ type: "failed", error: toPlainError(error) });
    return;
  }
  scope.postMessage({ type: "ready", address: server.address });
  await serving;
  scope.postMessage({ type: "closed" });
}

function makeServer({ address, sslconfig, options }: StartCommand, app: App): Server {
  return sslconfig === null
    ? new Server(address, app, options as ServerOptions)
    : new SSLServer(sslconfig, address, app, options as ServerOptions);
}

async function makeApp({ build, app, args }: StartCommand): Promise<App> {
  if (build === null) return await resolve(app!) as App;
  return await (await resolve(build))(...args) as App;
}

type AnyFunction = (...args: unknown[]) => unknown;

async function resolve(reference: FunctionReference): Promise<AnyFunction> {
  if (reference.kind === "source") {
    return new Function(`"use strict"; return (${reference.source}\n);`)();
  }
  const { module, name } = reference;
  const value = (await import(module))[name];
  if (value === undefined) throw new TypeError(`the module ${module} has no export "${name}"`);
  return value;
}
