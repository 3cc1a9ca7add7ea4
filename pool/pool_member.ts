/** A place in a pool, for one worker after another. */

import { pause } from "../base/pause.ts";
import type { Address } from "../base/address.ts";
import type { HeldSocket } from "../net/held_socket.ts";
import { type Interval, startInterval } from "../net/deadline.ts";
import type { ServerSslconfig } from "../net/tls/context.ts";
import { EVERY_CLIENT_IS_ACCEPTED } from "../net/tls/listener.ts";
import type { Level, Service } from "../worker/server_worker.ts";
import { type Ending, type Heartbeat, WorkerThread } from "../worker/worker_thread.ts";

/**
 * The times of a pool. `restart` has the milliseconds before a worker is restarted: the first and
 * the longest wait.
 */
export interface PoolTimes {
  readonly heartbeat: Heartbeat;
  readonly restart: { readonly first: number; readonly most: number };
}

export interface PoolState {
  readonly service: Service;
  readonly times: PoolTimes;
  readonly reusePort: boolean;
  readonly log: (level: Level, message: string) => void;
  /** The current configuration, for workers that start later; `null` for a plain pool. */
  sslconfig: ServerSslconfig | null;
  /** The given address; once the first worker listens, its actual address. */
  address: Address;
}

/** A place in a pool. A worker that ends is replaced until the place is closed. */
export class PoolMember {
  readonly #name: string;
  readonly #state: PoolState;
  #thread: WorkerThread | null = null;
  #held: HeldSocket | null = null;
  /** Whether a thread that was considered hung may still use the held socket. */
  #hungThreadMayServe = false;
  #servingSince: number | null = null;
  /** Aborted once the place is closed. */
  readonly #stopping = new AbortController();
  #supervising: Promise<void> | null = null;

  constructor(number: number, state: PoolState) {
    this.#name = `worker ${number}`;
    this.#state = state;
  }

  async load(): Promise<void> {
    const { times, log, service } = this.#state;
    this.#servingSince = null;
    this.#thread = await WorkerThread.start(
      "a worker of the pool",
      times.heartbeat,
      // The pool logs this line once for all workers.
      (level, line) => line === EVERY_CLIENT_IS_ACCEPTED || log(level, line),
    );
    // The pool was closed meanwhile, and knew nothing of the thread.
    if (this.#isStopping) return await this.#thread.close();
    // Making an app may take long; if it never finishes, the place stays empty.
    const late = times.heartbeat.every * times.heartbeat.missed;
    const what = "the module or the function of its app has not finished";
    const line = `${this.#name} has not started for ${late / 1000} s: ${what}`;
    const warning = setTimeout(() => log("warn", line), late);
    try {
      await this.#thread.load(service, this.#state.sslconfig);
    } finally {
      clearTimeout(warning);
    }
  }

  async listen(): Promise<Address> {
    const { address, reusePort, times } = this.#state;
    const thread = this.#thread!;
    const fd = this.#held?.duplicate() ?? null;
    const serving = await thread.listen(address, { reusePort, fd });
    this.#servingSince = performance.now();
    this.#hold(serving.held);
    if (typeof address === "string") {
      // Without its file a worker can't be reached.
      const watching = watchFile(address, times.heartbeat.every, () => {
        if (!this.#isStopping) thread.retire("has lost its socket file");
      });
      thread.ended.then(() => clearInterval(watching));
    }
    return serving.address;
  }

  /** Begins to replace a worker that ends. */
  supervise(): void {
    this.#supervising = this.#supervise();
  }

  /** Replaces the context of the worker; resolves when the worker uses it or has ended. */
  async setSslctx(sslconfig: ServerSslconfig): Promise<void> {
    await this.#thread?.setSslctx(sslconfig);
  }

  /** Ends the worker for good, after the requests in progress. */
  async shutdown(): Promise<void> {
    this.#stop();
    await this.#thread?.shutdown();
    await this.#supervising;
  }

  /** Ends the worker for good. */
  async close(): Promise<void> {
    this.#stop();
    await this.#thread?.close();
    await this.#supervising;
  }

  get #isStopping(): boolean {
    return this.#stopping.signal.aborted;
  }

  #stop(): void {
    this.#stopping.abort();
    // The held socket is closed first: the kernel queues connections for any open duplicate.
    this.#hold(null);
  }

  async #supervise(): Promise<void> {
    const { first, most } = this.#state.times.restart;
    for (let delay = first;; delay = Math.min(delay * 2, most)) {
      const ending = await this.#thread!.ended;
      await this.#freeAddress(ending);
      if (ending.expected) return;
      const since = this.#servingSince;
      if (since !== null && performance.now() - since >= most) delay = first;
      const next = this.#isStopping ? "" : `; a new one starts in ${delay} ms`;
      this.#state.log("error", `${this.#name} ${ending.what}${next}`);
      if (this.#isStopping) return;
      await pause(delay, this.#stopping.signal);
      if (this.#isStopping) return;
      try {
        await this.load();
        await this.listen();
      } catch {
        // The thread has ended with the same error.
      }
    }
  }

  /** Frees the address of a worker, because a thread that hangs can't do so. */
  async #freeAddress({ hung }: Ending): Promise<void> {
    const { address } = this.#state;
    this.#hungThreadMayServe ||= hung;
    // The kernel still assigns connections to the socket, so every later worker takes the socket
    // over.
    if (!this.#hungThreadMayServe) this.#hold(null);
    if (!hung || this.#servingSince === null || typeof address !== "string") return;
    await Deno.remove(address).catch(() => {});
  }

  #hold(held: HeldSocket | null): void {
    this.#held?.close();
    this.#held = this.#isStopping ? null : held;
    if (this.#isStopping) held?.close();
  }
}

/**
 * The number of checks without the file. A worker that ends removes its file a moment before the
 * pool knows of its end.
 */
const LOST_AFTER = 2;

/**
 * Watches the file of a Unix socket in the background, and reports once that the file is gone.
 *
 * Deno removes the file at the path when it closes a socket. So if a thread that was considered
 * hung returns after all, it removes the file of its successor, which no client can reach from then
 * on.
 *
 * @param every Milliseconds between two checks; the file counts as gone if two in a row miss it.
 * @returns The timer, for `clearInterval`.
 */
export function watchFile(path: string, every: number, onLost: () => void): Interval {
  let missed = 0;
  const watching = startInterval(() => {
    missed = isMissing(path) ? missed + 1 : 0;
    if (missed < LOST_AFTER) return;
    clearInterval(watching);
    onLost();
  }, every);
  return watching;
}

/** Tells whether a file is gone; `false` if the system doesn't say. */
function isMissing(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return false;
  } catch (error) {
    return error instanceof Deno.errors.NotFound;
  }
}
