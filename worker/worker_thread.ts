/** A worker with a server, from the view of the thread that has started it. */

import type { MessagePort, Worker } from "node:worker_threads";
import type { Address } from "../base/address.ts";
import { DeguError } from "../base/errors.ts";
import { processLogger } from "../net/logger.ts";
import type { ServerOptions } from "../net/server_options.ts";
import type { ServerSslconfig } from "../net/tls/context.ts";
import { fromPostedError } from "./posted_error.ts";
import type { AppSource, Command, ServerWorkerData, WorkerReport } from "./server_worker.ts";

/**
 * Never called. The import lets `deno cache` and other tools that analyze the code find the module,
 * which is started by its URL.
 */
const _importWorker = () => import("./server_worker.ts");

const WORKER_NAME = "the worker of a TempServer";
/** After `close()`, an app may keep its worker too busy to notice. */
const TERMINATE_AFTER_MILLISECONDS = 2000;

type Pending = PromiseWithResolvers<Address | null>;

/** A worker with a server. It is used once. */
export class WorkerThread {
  readonly #worker: Worker;
  readonly #port: MessagePort;
  /** The requests that are not carried out yet. */
  readonly #pending = new Map<Command["type"], Pending>();
  readonly #portClosed = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<void>();
  /** Why the worker is not used any more; its later reports are ignored. */
  #end: Error | null = null;
  #isServing = false;
  #closing: Promise<void> | null = null;

  private constructor(worker: Worker, port: MessagePort) {
    this.#worker = worker;
    this.#port = port;
    port.on("message", (report: WorkerReport) => this.#receive(report));
    port.on("close", this.#portClosed.resolve);
    worker.on("error", (thrown) => {
      this.#fail(thrown instanceof Error ? thrown : new DeguError(String(thrown)));
    });
    worker.on("exit", async (code) => {
      // The worker's last reports come before its end of the port closes.
      await this.#portClosed.promise;
      this.#endWith(
        `has ended by itself, as with Deno.exit() or self.close(), with exit code ${code}`,
      );
    });
  }

  /** Starts a worker, which does nothing yet. */
  static async start(): Promise<WorkerThread> {
    const { MessageChannel, Worker } = await import("node:worker_threads");
    const url = new URL("./server_worker.ts", import.meta.url);
    // Workers start only from file: and data: URLs, so a published package imports the module from
    // a data: URL.
    const isFile = url.protocol === "file:";
    const from = isFile ? url : new URL(`data:text/javascript,import ${JSON.stringify(url.href)};`);
    const { port1, port2 } = new MessageChannel();
    const workerData: ServerWorkerData = { deguPort: port2 };
    const worker = new Worker(from, { workerData, transferList: [port2] });
    return new WorkerThread(worker, port1);
  }

  /** Resolves when the worker has ended, for whatever reason. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /**
   * Makes the app and serves it; resolves to the address of the server. Rejects with the error of
   * the module, the function or the server, or with a {@linkcode DeguError} if the worker ends.
   */
  async serve(
    app: AppSource,
    address: Address,
    options: ServerOptions,
    sslconfig: ServerSslconfig | null,
  ): Promise<Address> {
    await this.#request({ type: "load", app });
    this.#isServing = true;
    return (await this.#request({ type: "listen", address, options, sslconfig }))!;
  }

  /** Ends the server, and then the worker. */
  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    // A worker that was told to listen may hold a socket, which only the worker can close.
    if (this.#isServing && this.#end === null) {
      const closed = Promise.withResolvers<void>();
      this.#request({ type: "close" }).then(() => closed.resolve(), () => closed.resolve());
      const timer = setTimeout(closed.resolve, TERMINATE_AFTER_MILLISECONDS);
      await closed.promise;
      clearTimeout(timer);
    }
    this.#endWith("was closed");
    await this.#worker.terminate();
    await this.#portClosed.promise;
  }

  /**
   * Resolves when the request is carried out; rejects with the error with which the worker ends.
   */
  #request(command: Command): Promise<Address | null> {
    if (this.#end !== null) return Promise.reject(this.#end);
    const answer: Pending = Promise.withResolvers();
    this.#pending.set(command.type, answer);
    this.#port.postMessage(command);
    return answer.promise;
  }

  #receive(report: WorkerReport): void {
    if (this.#end !== null) return;
    if (report.type === "failed") return this.#fail(fromPostedError(report.error));
    this.#pending.get(report.type)?.resolve(report.address);
    this.#pending.delete(report.type);
  }

  #fail(error: Error): void {
    this.#endWith(`has failed: ${error.stack ?? error.message}`, error);
    void this.#worker.terminate();
  }

  #endWith(what: string, error: Error = new DeguError(`${WORKER_NAME} ${what}`)): void {
    if (this.#end !== null) return;
    this.#end = error;
    // Closing the port hands over the reports that have arrived, which are too late.
    this.#port.close();
    // Nobody waits for a server that has started, so nobody else would tell of its end.
    if (this.#pending.size === 0 && this.#closing === null) {
      processLogger.error(`${WORKER_NAME} ${what}`);
    }
    for (const { reject } of this.#pending.values()) reject(error);
    this.#ended.resolve();
  }
}
