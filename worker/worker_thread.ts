/**
 * A worker with a server, as the thread sees it that has started it.
 *
 * @module
 */

import type { MessagePort, Worker } from "node:worker_threads";
import type { Address } from "../base/address_rules.ts";
import { DeguError } from "../base/errors.ts";
import { HeldSocket } from "../net/held_socket.ts";
import { type Interval, startInterval } from "../net/deadline.ts";
import type { PortSharing } from "../net/listener.ts";
import type { ServerSslconfig } from "../net/tls/context.ts";
import { fromPostedError } from "./posted_error.ts";
import type { Command, Level, Report, ServerWorkerData, Service } from "./server_worker.ts";

/**
 * Never called. It lets `deno cache` and other tools that analyze the code find the module that is started by
 * its URL.
 */
const _importWorker = () => import("./server_worker.ts");

/** After `close()`, an app may keep its worker too busy to notice. */
const TERMINATE_AFTER_MILLISECONDS = 2000;

/**
 * When a worker counts as hung: milliseconds between two pings, and how many may be due without an answer. They are counted,
 * since a clock would also run while this thread is busy or the machine sleeps.
 */
export interface Heartbeat {
  readonly every: number;
  readonly missed: number;
}

/** How a worker ended. */
export interface Ending {
  /** What happened, for a log: `"has ended by itself"`. */
  readonly what: string;
  /** What {@linkcode WorkerThread.load} and {@linkcode WorkerThread.listen} reject with. */
  readonly error: Error;
  /** Whether it was ended from here. */
  readonly expected: boolean;
  /** Whether its thread may still run, and hold its socket. */
  readonly hung: boolean;
}

/** A server that is up. */
export interface Serving {
  readonly address: Address;
  /** Its listening socket, which outlives the worker; `null` if that is not possible. */
  readonly held: HeldSocket | null;
}

/**
 * What a worker is doing: it has no server yet; it may have one; it has ended that; it is not used any more, and what it
 * still says is ignored.
 */
type Phase = "loading" | "serving" | "closed" | "over";

/** A worker with a server. It is used once. */
export class WorkerThread {
  /** Resolves when the worker has ended or is considered dead. */
  readonly ended: Promise<Ending>;
  readonly #ended = Promise.withResolvers<Ending>();
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #log: (level: Level, message: string) => void;
  readonly #loaded = Promise.withResolvers<void>();
  readonly #serving = Promise.withResolvers<Serving>();
  readonly #closed = Promise.withResolvers<void>();
  readonly #portClosed = Promise.withResolvers<void>();
  readonly #contextChanges = new Map<number, () => void>();
  readonly #name: string;
  readonly #heartbeat: Heartbeat | null;
  #beating: Interval | undefined;
  #phase: Phase = "loading";
  #unanswered = 0;
  #contextChangeCount = 0;

  private constructor(
    name: string,
    worker: Worker,
    port: MessagePort,
    heartbeat: Heartbeat | null,
    log: (level: Level, message: string) => void,
  ) {
    this.#name = name;
    this.#worker = worker;
    this.#port = port;
    this.#log = log;
    this.ended = this.#ended.promise;
    for (const { promise } of [this.#loaded, this.#serving]) promise.catch(() => {});
    port.on("message", (report: Report) => this.#receive(report));
    worker.on("error", (thrown) => {
      this.#fail(thrown instanceof Error ? thrown : new DeguError(String(thrown)));
    });
    worker.on("exit", async (code) => {
      // After its last reports: when the worker ends, its end of the port is closed.
      await this.#portClosed.promise;
      this.#end(`has ended by itself, as with Deno.exit() or self.close(), with exit code ${code}`);
    });
    port.on("close", this.#portClosed.resolve);
    this.#heartbeat = heartbeat;
  }

  /**
   * Starts a worker, which does nothing yet.
   *
   * @param name What its errors call it.
   * @param heartbeat When it counts as hung; `null` for never.
   * @param log Gets the lines of its server.
   */
  static async start(
    name: string,
    heartbeat: Heartbeat | null,
    log: (level: Level, message: string) => void,
  ): Promise<WorkerThread> {
    const { MessageChannel, Worker } = await import("node:worker_threads");
    const url = new URL("./server_worker.ts", import.meta.url);
    // Workers start only from file: and data: URLs, so a data: module imports the one of a published package.
    const isFile = url.protocol === "file:";
    const from = isFile ? url : new URL(`data:text/javascript,import ${JSON.stringify(url.href)};`);
    const { port1, port2 } = new MessageChannel();
    const workerData: ServerWorkerData = { deguPort: port2 };
    const worker = new Worker(from, { workerData, transferList: [port2] });
    return new WorkerThread(name, worker, port1, heartbeat, log);
  }

  /** Makes the app. Rejects with what the module or the function throws, or a {@linkcode DeguError} if the worker ends. */
  async load(service: Service, sslconfig: ServerSslconfig | null): Promise<void> {
    this.#post({ type: "load", service, sslconfig });
    await this.#loaded.promise;
  }

  /** Listens and serves. Rejects with what a server throws, or a {@linkcode DeguError} if the worker ends. */
  async listen(address: Address, sharing: PortSharing): Promise<Serving> {
    if (this.#phase === "loading") this.#phase = "serving";
    this.#post({ type: "listen", address, sharing });
    return await this.#serving.promise;
  }

  /** Replaces the context, which was checked; resolves when that is done, or the worker has ended. */
  async setSslctx(sslconfig: ServerSslconfig): Promise<void> {
    const id = ++this.#contextChangeCount;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#contextChanges.set(id, resolve);
    this.#post({ type: "setSslctx", id, sslconfig });
    await Promise.race([promise, this.ended]);
    this.#contextChanges.delete(id);
  }

  /** Ends the server after the requests in progress, and then the worker. */
  async shutdown(): Promise<void> {
    this.#stop("shutdown");
    await this.#terminate();
  }

  /** Ends the server and the worker. */
  async close(): Promise<void> {
    this.#stop("close");
    await this.#waitForEnd();
    await this.#terminate();
  }

  /** Ends the worker after the requests in progress that finish soon; another one replaces it. */
  async retire(what: string): Promise<void> {
    this.#stop("shutdown");
    await this.#waitForEnd();
    this.#end(what);
    await this.#worker.terminate();
  }

  /** A worker that has been told to listen may hold a socket, which only it can close. */
  #stop(type: "shutdown" | "close"): void {
    if (this.#phase === "loading") this.#closed.resolve();
    else this.#post({ type });
  }

  /** Gives the server a moment to end. */
  async #waitForEnd(): Promise<void> {
    const timer = setTimeout(this.#closed.resolve, TERMINATE_AFTER_MILLISECONDS);
    await Promise.race([this.#closed.promise, this.ended]);
    clearTimeout(timer);
  }

  async #terminate(): Promise<void> {
    await Promise.race([this.#closed.promise, this.ended]);
    this.#end("was closed", { expected: true, hung: this.#phase === "serving" });
    await this.#worker.terminate();
    await this.#portClosed.promise;
  }

  #post(command: Command): void {
    if (this.#phase !== "over") this.#port.postMessage(command);
  }

  #receive(report: Report): void {
    if (this.#phase === "over") return;
    this.#unanswered = 0;
    // On a busy machine a thread may take long to start.
    if (this.#heartbeat !== null) this.#beat(this.#heartbeat);
    if (report.type === "loaded") this.#loaded.resolve();
    else if (report.type === "serving") {
      const { address, fd } = report;
      this.#serving.resolve({ address, held: fd === null ? null : HeldSocket.open(fd) });
    } else if (report.type === "sslctxSet") this.#contextChanges.get(report.id)?.();
    else if (report.type === "log") this.#log(report.level, report.message);
    else if (report.type === "closed") {
      this.#phase = "closed";
      this.#closed.resolve();
    } else if (report.type !== "pong") this.#fail(fromPostedError(report.error));
  }

  #fail(error: Error): void {
    this.#end(`has failed: ${error.stack ?? error.message}`, { error });
    this.#worker.terminate();
  }

  #beat({ every, missed }: Heartbeat): void {
    this.#beating ??= startInterval(() => {
      if (this.#unanswered >= missed) {
        this.#end("doesn't answer", { hung: true });
        this.#worker.terminate();
      } else {
        this.#unanswered++;
        this.#post({ type: "ping" });
      }
    }, every);
  }

  #end(what: string, more: Partial<Ending> = {}): void {
    if (this.#phase === "over") return;
    this.#phase = "over";
    clearInterval(this.#beating);
    this.#port.close();
    const error = new DeguError(`${this.#name} ${what}`);
    const ending = { what, error, expected: false, hung: false, ...more };
    this.#loaded.reject(ending.error);
    this.#serving.reject(ending.error);
    this.#ended.resolve(ending);
  }
}
