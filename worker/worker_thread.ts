import { DeguError } from "../base/errors.ts";
import { stackOf } from "../internal/caught_errors.ts";
import { awaitUntilAborted } from "../internal/pause.ts";
import { processLogger } from "../base/app/logger.ts";
import type { WorkerCommand, WorkerReport } from "./server_worker.ts";
import { fromPostedError } from "./worker_port.ts";

/** Never called: the import lets `deno cache` find the module, which is started by its URL. */
void (() => import("./server_worker.ts"));

/** The time after which `close()` terminates a worker whose app blocks the thread. */
const CLOSE_MILLISECONDS = 2000;

/** The name for errors and log lines. */
const NAME = "the worker of a TempServer";

type PendingCommand = PromiseWithResolvers<unknown>;

/**
 * Resolves when this thread can notice the end of a worker: ports fire `close` only if this module
 * is loaded.
 */
export async function loadWorkerThreads(): Promise<void> {
  await import("node:worker_threads");
}

/** A worker with a server, which is used once. */
export class WorkerThread {
  readonly #worker: Worker;
  /**
   * The port for all messages but the app's own, because the app may listen at the worker's own
   * port, and some of the messages have the private key.
   */
  readonly #port: MessagePort;
  readonly #pendingCommands = new Map<WorkerCommand["type"], PendingCommand>();
  readonly #ended = Promise.withResolvers<void>();
  /** Resolves when the worker can't be used any more. */
  readonly ended: Promise<void> = this.#ended.promise;
  /** The error that ended the use of the worker, whose later reports are ignored. */
  #finalError: Error | null = null;
  #isLoaded = false;
  #closePromise: Promise<void> | null = null;

  /** Starts a worker; {@linkcode loadWorkerThreads} must have resolved. */
  constructor() {
    const url = new URL("./server_worker.ts", import.meta.url);
    const worker = this.#worker = new Worker(url, { type: "module", name: NAME });
    const { port1: port, port2 } = new MessageChannel();
    worker.postMessage(port2, [port2]);
    port.addEventListener("close", () => {
      this.#end("has ended by itself, as with Deno.exit() or self.close()");
    });
    port.onmessage = ({ data }: MessageEvent<WorkerReport>) => this.#receive(data);
    worker.onerror = (event) => {
      event.preventDefault(); // otherwise the error ends this thread
      this.#end(`has failed: ${event.message}`, new DeguError(event.message));
    };
    this.#port = port;
  }

  /** Executes a command; a second command of the same type must wait for the first one. */
  execute(command: WorkerCommand): Promise<unknown> {
    if (this.#finalError !== null) return Promise.reject(this.#finalError);
    const pendingCommand: PendingCommand = Promise.withResolvers();
    this.#pendingCommands.set(command.type, pendingCommand);
    this.#port.postMessage(command);
    return pendingCommand.promise;
  }

  /** Resolves when the server is closed, the app was disposed of, and the worker has ended. */
  close(): Promise<void> {
    return this.#closePromise ??= this.#close();
  }

  async #close(): Promise<void> {
    // Let the worker close its server: terminate() alone would leave the file of a Unix socket.
    if (this.#isLoaded && this.#finalError === null) {
      const signal = AbortSignal.timeout(CLOSE_MILLISECONDS);
      await awaitUntilAborted(this.execute({ type: "close" }), signal).catch(() => {});
    }
    this.#end("was closed");
  }

  #receive(report: WorkerReport): void {
    if (this.#finalError !== null) return;
    if (report.type === "failed") {
      const error = fromPostedError(report.error);
      return this.#end(`has failed: ${stackOf(error)}`, error);
    }
    if (report.type === "load") this.#isLoaded = true;
    this.#pendingCommands.get(report.type)?.resolve(report.result);
    this.#pendingCommands.delete(report.type);
  }

  #end(reason: string, error?: Error): void {
    if (this.#finalError !== null) return;
    const text = `${NAME} ${reason}`;
    this.#finalError = error ?? new DeguError(text);
    // Closing the port delivers the reports that have arrived. They are ignored.
    this.#port.close();
    this.#worker.terminate();
    const isStarting = this.#pendingCommands.has("load") || this.#pendingCommands.has("listen");
    // While the worker starts, the caller gets the error.
    if (!isStarting && this.#closePromise === null) processLogger.error(text);
    for (const { reject, promise } of this.#pendingCommands.values()) {
      promise.catch(() => {});
      reject(this.#finalError);
    }
    this.#ended.resolve();
  }
}
