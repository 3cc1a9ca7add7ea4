/**
 * Controls the worker of a temporary server.
 *
 * @module
 */

import type { MessagePort } from "node:worker_threads";
import type { Address } from "../base/address_rules.ts";
import { fromPlainError } from "../worker/plain_error.ts";
import type { Beginning, Report, StartCommand } from "./temp_server_protocol.ts";

const TERMINATE_AFTER_MILLISECONDS = 2000;

/** How long after the end of a worker its error may arrive. */
const ERROR_DELAY_MILLISECONDS = 100;

/**
 * Never called. It lets `deno cache` and other tools that analyze the code find the module that is started by
 * its URL.
 */
const _importWorker = () => import("./temp_server_worker.ts");

/**
 * A worker with a server.
 *
 * A `Worker` has no event for when it ends itself. But its end of a message channel is closed then, and
 * in `node:worker_threads` the other end has an event for that.
 */
export class ServerWorker {
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #signal: AbortSignal | undefined;
  /** Reports failures of a server that has started. */
  readonly #report: (what: string) => void;
  readonly #ready = Promise.withResolvers<Address>();
  /** Resolves when the server is closed, or the worker has ended. */
  readonly #closed = Promise.withResolvers<void>();
  #state: "starting" | "serving" | "failed" | "ended" = "starting";
  #stopping: Promise<void> | null = null;
  #errorTimer: ReturnType<typeof setTimeout> | undefined;

  private constructor(
    port: MessagePort,
    signal: AbortSignal | undefined,
    report: (what: string) => void,
  ) {
    this.#port = port;
    this.#signal = signal;
    this.#report = report;
    this.#worker = new Worker(new URL("./temp_server_worker.ts", import.meta.url), {
      type: "module",
      name: "TempServer",
    });
    this.#worker.onerror = (event) => {
      event.preventDefault(); // else it would end this thread, too
      this.#fail(new Error(event.message), `has failed: ${event.message}`);
    };
    port.on("message", (report: Report) => this.#receive(report));
    port.on("close", () => this.#workerEnded());
    signal?.addEventListener("abort", this.#abort);
  }

  /**
   * Starts a server in its own worker.
   *
   * @param command What to start.
   * @param signal Aborts starting, which rejects with its reason; later it stops the server.
   * @param report Called if the worker fails or ends later, without being asked to.
   * @returns The worker and the address, when the server can be reached.
   */
  static async start(
    command: StartCommand,
    signal: AbortSignal | undefined,
    report: (what: string) => void,
  ): Promise<[ServerWorker, Address]> {
    const { MessageChannel } = await import("node:worker_threads");
    signal?.throwIfAborted();
    const { port1, port2 } = new MessageChannel();
    const worker = new ServerWorker(port1, signal, report);
    try {
      // The types of a worker's messages don't know the ports of node:worker_threads.
      const transfer = [port2 as unknown as Transferable];
      worker.#worker.postMessage({ command, port: port2 } satisfies Beginning, transfer);
      return [worker, await worker.#ready.promise];
    } catch (error) {
      worker.#terminate();
      port2.close();
      throw error;
    }
  }

  /** Lets the server free its address, and then ends the worker, which may be too busy to listen. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#port.postMessage("close");
    const timer = setTimeout(this.#closed.resolve, TERMINATE_AFTER_MILLISECONDS);
    await this.#closed.promise;
    clearTimeout(timer);
    this.#terminate();
  }

  #terminate(): void {
    this.#state = "ended";
    clearTimeout(this.#errorTimer);
    this.#signal?.removeEventListener("abort", this.#abort);
    this.#worker.terminate();
    this.#port.close();
  }

  #receive(report: Report): void {
    if (this.#state === "ended") return;
    if (report.type === "ready") {
      this.#state = "serving";
      this.#ready.resolve(report.address);
    } else if (report.type === "failed") {
      this.#ready.reject(fromPlainError(report.error));
    } else {
      this.#closed.resolve();
    }
  }

  readonly #abort = () => {
    if (this.#state === "starting") this.#ready.reject(this.#signal?.reason);
    else this.stop();
  };

  #workerEnded(): void {
    this.#signal?.removeEventListener("abort", this.#abort);
    this.#closed.resolve();
    if (this.#state === "ended" || this.#state === "failed") return;
    const what = "has ended by itself, as with Deno.exit() or self.close()";
    const fail = () => this.#fail(new Error(`the worker of a TempServer ${what}`), what);
    this.#errorTimer = setTimeout(fail, ERROR_DELAY_MILLISECONDS);
  }

  #fail(error: Error, what: string): void {
    if (this.#state === "ended") return;
    if (this.#state === "starting") this.#ready.reject(error);
    else if (this.#state === "serving") this.#report(what);
    this.#state = "failed";
  }
}
