/**
 * The worker of a pool. Importing it has no effect in the main thread.
 *
 * @module
 */

import { type MessagePort, workerData } from "node:worker_threads";
import { toPlainError } from "../worker/plain_error.ts";
import type { Command, PoolWorkerData, Report } from "./messages.ts";
import { PoolServer } from "./pool_server.ts";

/** The exit code of a worker that an error has ended. */
const CRASHED = 1;

const port = takePort(workerData);
if (port !== null) run(port);

function run(port: MessagePort): void {
  const report = (report: Report) => port.postMessage(report);
  const crash = (error: unknown) => {
    report({ type: "crashed", error: toPlainError(error) });
    Deno.exit(CRASHED);
  };
  const onEvent = (event: Event) => {
    if (event.defaultPrevented) return;
    event.preventDefault(); // otherwise Deno prints it
    crash(event instanceof ErrorEvent ? event.error : (event as PromiseRejectionEvent).reason);
  };
  const listen = () => {
    for (const type of ["error", "unhandledrejection"]) {
      globalThis.removeEventListener(type, onEvent);
      globalThis.addEventListener(type, onEvent);
    }
  };
  listen();
  const server = new PoolServer(report);
  port.on("message", (command: Command) => {
    // After the app's own listeners, which may handle the event.
    if (command.type === "listen") listen();
    server.receive(command);
  });
}

/** Takes the port from where the app could find it; `null` in a thread that isn't a worker of a pool. */
function takePort(data: unknown): MessagePort | null {
  const given = (data ?? {}) as PoolWorkerData;
  const port = given.deguPort ?? null;
  delete given.deguPort;
  return port;
}
