import type { Address } from "../base/address.ts";
import { DeguError } from "../base/errors.ts";
import { awaitUntilAborted } from "../internal/pause.ts";
import { type Logger, processLogger } from "../base/app/logger.ts";
import type { ServerOptions } from "../net/server/server_options.ts";
import type { ServerSslconfig } from "../net/tls/context.ts";
import { fromPostedError, loadWorkerThreads, startWorker } from "../worker/worker_port.ts";
import type { AppSource, Command, WorkerReport } from "./server_worker.ts";

/** Never called: the import lets `deno cache` find the module, which is started by its URL. */
void (() => import("./server_worker.ts"));

const WORKER_NAME = "the worker of a TempServer";
/** The time after which `close()` terminates a worker whose app blocks the thread. */
const TERMINATE_AFTER_MILLISECONDS = 2000;

type PendingCommand = PromiseWithResolvers<Address | null>;

/** A worker with a server, which is used once. */
export class WorkerThread {
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #pendingCommands = new Map<Command["type"], PendingCommand>();
  readonly #workerEnded = Promise.withResolvers<void>();
  readonly workerEnded: Promise<void> = this.#workerEnded.promise;
  /** The error that ended the use of the worker, whose later reports are ignored. */
  #finalError: Error | null = null;
  #isServing = false;
  #logger: Logger | null = null;
  #closePromise: Promise<void> | null = null;

  private constructor() {
    const url = new URL("./server_worker.ts", import.meta.url);
    const { worker, port } = startWorker(url, WORKER_NAME, (reason, error) => {
      if (error === null) this.#endWithReason(reason);
      else this.#fail(new DeguError(error.message));
    });
    port.onmessage = ({ data }: MessageEvent<WorkerReport>) => this.#receive(data);
    this.#worker = worker;
    this.#port = port;
  }

  static async start(): Promise<WorkerThread> {
    await loadWorkerThreads();
    return new WorkerThread();
  }

  async serve(
    app: AppSource,
    address: Address,
    options: Omit<ServerOptions, "logger">,
    logger: Logger | null,
    sslconfig: ServerSslconfig | null,
  ): Promise<Address> {
    this.#logger = logger;
    await this.#execute({ type: "load", app });
    this.#isServing = true;
    const hasLogger = logger !== null;
    const command = { type: "listen", address, options, hasLogger, sslconfig } as const;
    return (await this.#execute(command))!;
  }

  close(): Promise<void> {
    return this.#closePromise ??= this.#close();
  }

  async #close(): Promise<void> {
    // Let the worker close its server: terminate() alone would leave the file of a Unix socket.
    if (this.#isServing && this.#finalError === null) {
      const signal = AbortSignal.timeout(TERMINATE_AFTER_MILLISECONDS);
      await awaitUntilAborted(this.#execute({ type: "close" }), signal).catch(() => {});
    }
    this.#endWithReason("was closed");
    this.#worker.terminate();
  }

  #execute(command: Command): Promise<Address | null> {
    if (this.#finalError !== null) return Promise.reject(this.#finalError);
    const pendingCommand: PendingCommand = Promise.withResolvers();
    this.#pendingCommands.set(command.type, pendingCommand);
    this.#port.postMessage(command);
    return pendingCommand.promise;
  }

  #receive(report: WorkerReport): void {
    if (this.#finalError !== null) return;
    if (report.type === "log") {
      const { level, message, details } = report;
      const error = details.error === undefined ? undefined : fromPostedError(details.error);
      return this.#logger?.record?.(level, message, { ...details, error });
    }
    if (report.type === "failed") return this.#fail(fromPostedError(report.error));
    this.#pendingCommands.get(report.type)?.resolve(report.address);
    this.#pendingCommands.delete(report.type);
  }

  #fail(error: Error): void {
    this.#endWithReason(`has failed: ${error.stack ?? error.message}`, error);
    this.#worker.terminate();
  }

  #endWithReason(reason: string, error: Error = new DeguError(`${WORKER_NAME} ${reason}`)): void {
    if (this.#finalError !== null) return;
    this.#finalError = error;
    // Closing the port delivers the reports that have arrived. They are ignored.
    this.#port.close();
    // If no command is pending, no promise rejects, so log the end of the worker.
    if (this.#pendingCommands.size === 0 && this.#closePromise === null) {
      (this.#logger ?? processLogger).error(`${WORKER_NAME} ${reason}`);
    }
    for (const { reject } of this.#pendingCommands.values()) reject(error);
    this.#workerEnded.resolve();
  }
}
