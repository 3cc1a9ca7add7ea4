/**
 * How a server gets its connections: accepts one, waits for a free slot, starts to serve it.
 *
 * @module
 */

import type { Socket } from "../base/app/app.ts";
import type { Accepted, Listener } from "./listener.ts";
import type { Logger } from "./standard_logger.ts";

/** What the loop needs to know about its server. */
interface ServerStatus {
  readonly logger: Logger;
  /** True once the server is stopping. */
  readonly stopping: boolean;
}

/**
 * Accepts connections until the server is stopping.
 *
 * @param start Starts to serve a connection, for which there is a slot.
 */
export async function serveConnections(
  listener: Listener,
  slots: Slots,
  status: ServerStatus,
  start: (accepted: Accepted) => void,
): Promise<void> {
  for (;;) {
    const accepted = await accept(listener, status);
    if (accepted === null) return;
    const isFree = !status.stopping && (slots.isFree || await slots.wait());
    // Checked in the same turn as the start: the server may stop in any earlier turn.
    if (isFree && !status.stopping) {
      start(accepted);
      continue;
    }
    if (!status.stopping) {
      status.logger.info(`${accepted.name}: closed, because no slot became free`);
    }
    closeQuietly(accepted.socket);
  }
}

/** The next connection; `null` once the server is stopping. */
async function accept(listener: Listener, status: ServerStatus): Promise<Accepted | null> {
  if (status.stopping) return null;
  try {
    return await listener.accept();
  } catch (error) {
    if (status.stopping) return null;
    throw error;
  }
}

function closeQuietly(socket: Socket): void {
  try {
    socket.close();
  } catch {
    // The peer closed it first.
  }
}

const WAIT_MILLISECONDS = 2000;

/** A connection that has a slot. */
export interface SlotHolder {
  /** Closes it, now. */
  close(): void;
  /** True while nothing is lost by closing it. */
  isIdle(): boolean;
}

/** The slots, and the connections that hold them. */
export class Slots {
  readonly #most: number;
  readonly #holders = new Map<SlotHolder, Promise<void>>();
  #endWait: (() => void) | null = null;

  /**
   * Makes slots, all of them free.
   *
   * @param most How many there are, which can be `Infinity`.
   */
  constructor(most: number) {
    this.#most = most;
  }

  /**
   * Waits for a free slot, for up to 2 seconds or until {@linkcode stopWaiting}; resolves to whether there
   * is one. Only one caller may wait at a time. It accepts nothing meanwhile; the system's queue holds new
   * connections.
   */
  async wait(): Promise<boolean> {
    if (!this.isFree) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#endWait = resolve;
      const timer = setTimeout(resolve, WAIT_MILLISECONDS);
      await promise;
      clearTimeout(timer);
      this.#endWait = null;
    }
    return this.isFree;
  }

  /** True if there is one now. */
  get isFree(): boolean {
    return this.#holders.size < this.#most;
  }

  /** Gives a connection a slot until the promise, which never rejects, is fulfilled. */
  hold(holder: SlotHolder, serving: Promise<void>): void {
    const ended = serving.then(() => {
      this.#holders.delete(holder);
      this.#endWait?.();
    });
    this.#holders.set(holder, ended);
  }

  /** Ends the wait for a slot, if there is one. */
  stopWaiting(): void {
    this.#endWait?.();
  }

  /** Closes all connections. */
  close(): void {
    for (const holder of this.#holders.keys()) holder.close();
  }

  /** Closes the idle connections. */
  closeIdle(): void {
    for (const holder of this.#holders.keys()) {
      if (holder.isIdle()) holder.close();
    }
  }

  /** Resolves when all connections have ended. */
  async ended(): Promise<void> {
    await Promise.all(this.#holders.values());
  }
}
