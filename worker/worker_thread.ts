/** A worker with a server, from the view of the thread that has started it. */

import type { MessagePort, Worker } from "node:worker_threads";
import type { Address } from "../base/address.ts";
import { DeguError } from "../base/errors.ts";
import { HeldSocket } from "../net/held_socket.ts";
import { type Interval, startInterval } from "../net/deadline.ts";
import type { PortSharing } from "../net/listener.ts";
import type { ServerSslconfig } from "../net/tls/context.ts";
import { fromPostedError } from "./posted_error.ts";
import type {
  Bound,
  Command,
  Level,
  Report,
  Request,
  ServerWorkerData,
  Service,
} from "./server_worker.ts";

/**
 * Never called. The import lets `deno cache` and other tools that analyze the code find the module,
 * which is started by its URL.
 */
const _importWorker = () => import("./server_worker.ts");

/** After `close()`, an app may keep its worker too busy to notice. */
const TERMINATE_AFTER_MILLISECONDS = 2000;

/**
 * The rule for a hung worker: milliseconds between two pings, and the number of pings without an
 * answer. Pings are counted, since a clock would also run while this thread is busy or the machine
 * sleeps.
 */
export interface Heartbeat {
  readonly every: number;
  readonly missed: number;
}

/** The end of a worker. */
export interface Ending {
  /** A description for a log: `"has ended by itself"`. */
  readonly what: string;
  /** The error of the requests that the worker has not carried out. */
  readonly error: Error;
  /** Whether this thread has ended the worker. */
  readonly expected: boolean;
  /** Whether the worker's thread may still run, and hold its socket. */
  readonly hung: boolean;
}

export interface Serving {
  readonly address: Address;
  /** The listening socket, which outlives the worker; `null` if that is not possible. */
  readonly held: HeldSocket | null;
}

/**
 * The phase of a worker: without a server yet, perhaps with a server, or after its server's end.
 */
type Phase = "loading" | "serving" | "closed";

/** A worker with a server. It is used once. */
export class WorkerThread {
  /** Resolves when the worker has ended or is considered dead. */
  readonly ended: Promise<Ending>;
  readonly #ended = Promise.withResolvers<Ending>();
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #log: (level: Level, message: string) => void;
  /** The requests that are not carried out yet, by number. */
  readonly #pending = new Map<number, PromiseWithResolvers<Bound | null>>();
  readonly #closed = Promise.withResolvers<void>();
  readonly #portClosed = Promise.withResolvers<void>();
  readonly #name: string;
  readonly #heartbeat: Heartbeat | null;
  #beating: Interval | undefined;
  #phase: Phase = "loading";
  /** Set once the worker is not used any more: its later reports are ignored. */
  #ending: Ending | null = null;
  #unanswered = 0;
  #lastId = 0;

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
    port.on("message", (report: Report) => this.#receive(report));
    worker.on("error", (thrown) => {
      this.#fail(thrown instanceof Error ? thrown : new DeguError(String(thrown)));
    });
    worker.on("exit", async (code) => {
      // The worker's last reports come before its end of the port closes.
      await this.#portClosed.promise;
      this.#end(`has ended by itself, as with Deno.exit() or self.close(), with exit code ${code}`);
    });
    port.on("close", this.#portClosed.resolve);
    this.#heartbeat = heartbeat;
  }

  /**
   * Starts a worker, which does nothing yet.
   *
   * @param name The name of the worker in errors.
   * @param heartbeat The rule for a hung worker; `null` for none.
   * @param log Gets the lines of the worker's server.
   */
  static async start(
    name: string,
    heartbeat: Heartbeat | null,
    log: (level: Level, message: string) => void,
  ): Promise<WorkerThread> {
    const { MessageChannel, Worker } = await import("node:worker_threads");
    const url = new URL("./server_worker.ts", import.meta.url);
    // Workers start only from file: and data: URLs, so a published package imports the module from
    // a data: URL.
    const isFile = url.protocol === "file:";
    const from = isFile ? url : new URL(`data:text/javascript,import ${JSON.stringify(url.href)};`);
    const { port1, port2 } = new MessageChannel();
    const workerData: ServerWorkerData = { deguPort: port2 };
    const worker = new Worker(from, { workerData, transferList: [port2] });
    return new WorkerThread(name, worker, port1, heartbeat, log);
  }

  /**
   * Makes the app. Rejects with the error of the module or the function, or with a
   * {@linkcode DeguError} if the worker ends.
   */
  async load(service: Service, sslconfig: ServerSslconfig | null): Promise<void> {
    await this.#request({ type: "load", service, sslconfig });
  }

  /**
   * Listens and serves. Rejects with the error of the server, or with a {@linkcode DeguError} if
   * the worker ends.
   */
  async listen(address: Address, sharing: PortSharing): Promise<Serving> {
    if (this.#phase === "loading") this.#phase = "serving";
    const { address: bound, fd } = (await this.#request({ type: "listen", address, sharing }))!;
    return { address: bound, held: fd === null ? null : HeldSocket.open(fd) };
  }

  /** Replaces the checked context; resolves when the worker uses it or has ended. */
  async setSslctx(sslconfig: ServerSslconfig): Promise<void> {
    await this.#request({ type: "setSslctx", sslconfig }).catch(() => {});
  }

  /** Ends the server after the requests in progress, and then the worker. */
  async shutdown(): Promise<void> {
    this.#stop("shutdown");
    await this.#terminate();
  }

  async close(): Promise<void> {
    this.#stop("close");
    await this.#waitForEnd();
    await this.#terminate();
  }

  /** Ends the worker after the requests in progress that finish soon; the pool replaces it. */
  async retire(what: string): Promise<void> {
    this.#stop("shutdown");
    await this.#waitForEnd();
    this.#end(what);
    await this.#worker.terminate();
  }

  /**
   * Stops a worker. A worker that was told to listen may hold a socket, which only the worker can
   * close.
   */
  #stop(type: "shutdown" | "close"): void {
    if (this.#phase === "loading") return this.#closed.resolve();
    this.#request({ type }).then(() => {
      this.#phase = "closed";
      this.#closed.resolve();
    }, () => {});
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

  /**
   * Resolves when the request is carried out; rejects with the error with which the worker ends.
   */
  #request(request: Request): Promise<Bound | null> {
    const id = ++this.#lastId;
    if (this.#ending !== null) return Promise.reject(this.#ending.error);
    const pending = Promise.withResolvers<Bound | null>();
    this.#pending.set(id, pending);
    this.#port.postMessage({ ...request, id } satisfies Command);
    return pending.promise;
  }

  #receive(report: Report): void {
    if (this.#ending !== null) return;
    this.#unanswered = 0;
    // On a busy machine a thread may take long to start.
    if (this.#heartbeat !== null) this.#beat(this.#heartbeat);
    if (report.type === "done") {
      this.#pending.get(report.id)?.resolve(report.bound);
      this.#pending.delete(report.id);
    } else if (report.type === "log") this.#log(report.level, report.message);
    else if (report.type === "failed") this.#fail(fromPostedError(report.error));
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
        this.#request({ type: "ping" }).catch(() => {});
      }
    }, every);
  }

  #end(what: string, more: Partial<Ending> = {}): void {
    if (this.#ending !== null) return;
    const error = new DeguError(`${this.#name} ${what}`);
    this.#ending = { what, error, expected: false, hung: false, ...more };
    clearInterval(this.#beating);
    // Closing the port hands over the reports that have arrived, which are too late.
    this.#port.close();
    for (const { reject } of this.#pending.values()) reject(this.#ending.error);
    this.#ended.resolve(this.#ending);
  }
}
