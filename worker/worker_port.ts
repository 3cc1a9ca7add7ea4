import { type PostedError, toPostedError } from "./posted_error.ts";

export interface RunningWorker {
  readonly worker: Worker;
  /**
   * The port for all messages but the app's own, because the app may listen at the worker's own
   * port, and some of the messages have the private key.
   */
  readonly port: MessagePort;
}

/**
 * Resolves when this thread can notice the end of a worker: ports fire `close` only if this module
 * is loaded.
 */
export async function loadWorkerThreads(): Promise<void> {
  await import("node:worker_threads");
}

/** @param onEnd Called at most once, if the worker has failed or has ended by itself. */
export function startWorker(
  url: URL,
  name: string,
  onEnd: (reason: string, error: Error | null) => void,
): RunningWorker {
  const worker = new Worker(url, { type: "module", name });
  const { port1: port, port2 } = new MessageChannel();
  worker.postMessage(port2, [port2]);
  port.addEventListener("close", () => {
    onEnd("has ended by itself, as with Deno.exit() or self.close()", null);
  });
  worker.onerror = (event) => {
    event.preventDefault(); // otherwise the error ends this thread
    onEnd(`has failed: ${event.message}`, new Error(event.message));
  };
  return { worker, port };
}

/** Calls a function in a worker with the port to the thread that has started the worker. */
export function runInWorker(run: (port: MessagePort) => void): void {
  if (!("DedicatedWorkerGlobalScope" in globalThis)) return;
  const onPort = (event: Event) => {
    event.stopImmediatePropagation(); // the message is not for the app
    run((event as MessageEvent<MessagePort>).data);
  };
  globalThis.addEventListener("message", onPort, { once: true });
}

/**
 * Reports the errors that no code of the app catches.
 *
 * @returns A function that moves the listeners behind those of the app, which may handle the
 * errors.
 */
export function reportUncaughtErrors(report: (error: PostedError) => void): () => void {
  const onEvent = (event: Event) => {
    if (event.defaultPrevented) return;
    event.preventDefault(); // otherwise Deno prints the error
    report(toPostedError(
      event instanceof ErrorEvent ? event.error : (event as PromiseRejectionEvent).reason,
    ));
  };
  const listen = () => {
    for (const type of ["error", "unhandledrejection"]) {
      globalThis.removeEventListener(type, onEvent);
      globalThis.addEventListener(type, onEvent);
    }
  };
  listen();
  return listen;
}
