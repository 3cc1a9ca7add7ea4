/** A place in a pool, held by one worker after another. */

import { pause } from "../base/pause.ts";
import type { Address } from "../base/address.ts";
import type { HeldSocket } from "../net/held_socket.ts";
import { type Interval, startInterval } from "../net/deadline.ts";
import type { ServerSslconfig } from "../net/tls/context.ts";
import { EVERY_CLIENT_IS_ACCEPTED } from "../net/tls/listener.ts";
import type { Level, Service } from "../worker/server_worker.ts";
import { type Ending, type Heartbeat, WorkerThread } from "../worker/worker_thread.ts";

/** The times of a pool; `restart`: milliseconds until a worker that has ended is started again, at first and at most. */
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
  /** Where to listen: the given address, and once the first worker listens, its actual address. */
  address: Address;
}

/** A place in a pool. A worker that ends is replaced until the place is closed. */
export class PoolMember {
  readonly #name: string;
  readonly #state: PoolState;
  #thread: WorkerThread | null = null;
  #held: HeldSocket | null = null;
  /** Whether a thread that was considered hung may still have the held socket. */
  #hungThreadMayServe = false;
  #servingSince: number | null = null;
  /** Aborted once the worker is to end for good. */
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
      // The pool logs it once for all workers.
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

  /** From now on, a worker that ends is replaced. */
  supervise(): void {
    this.#supervising = this.#supervise();
  }

  /** Replaces the context of the worker; resolves when that is done, or the worker has ended. */
  async setSslctx(sslconfig: ServerSslconfig): Promise<void> {
    await this.#thread?.setSslctx(sslconfig);
  }

  /** Ends the worker after the requests in progress; it is not replaced. */
  async shutdown(): Promise<void> {
    this.#stop();
    await this.#thread?.shutdown();
    await this.#supervising;
  }

  /** Ends the worker; it is not replaced. */
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
    // First: as long as any duplicate is open, the kernel queues connections for it.
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

  /** Frees the address; a thread that hangs can't do that itself. */
  async #freeAddress({ hung }: Ending): Promise<void> {
    const { address } = this.#state;
    this.#hungThreadMayServe ||= hung;
    // The kernel still assigns connections to the socket, so every later worker takes
    // it over.
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

/** A worker that ends removes its file a moment before its end is known. */
const LOST_AFTER = 2;

/**
 * Looks for the file of a Unix socket in the background, and reports once that it is gone.
 *
 * Deno removes whatever is at the path when it closes a socket. So if a thread that was considered
 * hung returns after all, it removes the file of its successor, which no client can reach from then on.
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

/** `false` if it can't be determined. */
function isMissing(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return false;
  } catch (error) {
    return error instanceof Deno.errors.NotFound;
  }
}
