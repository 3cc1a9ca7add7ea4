/**
 * The TLS handshakes of a server. A handshake has a slot of its own kind, so that a client without
 * a certificate never has a slot for sessions. Because `node:net` accepts every connection, the
 * connections that wait here replace the kernel's queue.
 */

import { ConnectionError, DeguError, TlsError } from "../../base/errors.ts";
import { Deadline } from "../transport/deadline.ts";
import type { AcceptedConnection, ListenerOptions } from "../transport/listener.ts";
import type { SafeLogger } from "../../base/app/logger.ts";
import { type RefusalCause, SlotHolder, Slots } from "../transport/slots.ts";
import type { RawStream } from "./raw_stream.ts";

/** Limits the memory of clients without a slot for sessions. */
const MAX_HANDSHAKES = 64;

export interface PendingConnection extends Pick<AcceptedConnection, "name" | "peerKey"> {
  readonly rawStream: Pick<RawStream, "close">;
}

class Handshake extends SlotHolder {
  readonly isClosing = false;
  readonly peerKey: string;
  readonly failurePromise: PromiseWithResolvers<never> = Promise.withResolvers();
  readonly #startTime = performance.now();
  isEvicted = false;

  constructor(peerKey: string) {
    super();
    this.peerKey = peerKey;
  }

  measureStall(now: number): number {
    return now - this.#startTime;
  }

  end(): void {
    this.evict(`it was closed for a newer handshake, with ${MAX_HANDSHAKES} in progress`);
  }

  evict(reason: string): void {
    this.isEvicted = true;
    this.failurePromise.reject(new DeguError(reason));
  }
}

export class HandshakeQueue<T extends PendingConnection> {
  readonly #timeout: number | null;
  readonly #logger: SafeLogger;
  readonly #handshake: (connection: T) => Promise<AcceptedConnection>;
  readonly #onConnection: (connection: AcceptedConnection) => void;
  readonly #slots: Slots<T, Handshake>;
  readonly #handshakePromises = new Set<Promise<void>>();
  #isClosed = false;

  constructor(
    { timeout, logger }: Pick<ListenerOptions, "timeout" | "logger">,
    handshake: (connection: T) => Promise<AcceptedConnection>,
    onConnection: (connection: AcceptedConnection) => void,
  ) {
    this.#timeout = timeout;
    this.#logger = logger;
    this.#handshake = handshake;
    this.#onConnection = onConnection;
    this.#slots = new Slots<T, Handshake>({
      max: 0,
      timeout,
      onSlot: (connection) => {
        const handshakePromise = this.#runHandshake(connection)
          .finally(() => this.#handshakePromises.delete(handshakePromise));
        this.#handshakePromises.add(handshakePromise);
      },
      onRefuse: (connection, cause) => this.#refuse(connection, cause),
    });
  }

  push(connection: T): void {
    if (this.#isClosed) connection.rawStream.close();
    else this.#slots.admit(connection);
  }

  /** Removes a connection that was closed by its peer before its handshake. */
  delete(connection: T): void {
    this.#slots.leave(connection);
  }

  start(): void {
    this.#slots.resize(MAX_HANDSHAKES);
  }

  close(): void {
    this.#isClosed = true;
    this.#slots.close();
    for (const handshake of this.#slots) handshake.evict("the server closed the connection");
  }

  async waitUntilEnded(): Promise<void> {
    await Promise.all(this.#handshakePromises);
  }

  #refuse({ name, rawStream }: T, cause: RefusalCause): void {
    rawStream.close();
    if (cause === "close") return;
    this.#logger.debug(`${name}: closed: too many connections wait for a handshake`);
  }

  /** Never rejects. */
  async #runHandshake(connection: T): Promise<void> {
    const { name: who, peerKey, rawStream } = connection;
    const handshake = new Handshake(peerKey);
    this.#slots.add(handshake);
    using deadline = new Deadline(this.#timeout, () => {
      const problem = `the TLS handshake took over ${this.#timeout} s`;
      handshake.failurePromise.reject(new ConnectionError(problem, { fault: "timed out" }));
    });
    deadline.startWait();
    const connectionPromise = this.#handshake(connection);
    try {
      this.#onConnection(await Promise.race([handshake.failurePromise.promise, connectionPromise]));
    } catch (error) {
      // The aborted handshake may still succeed: close its connection.
      connectionPromise.then(({ socket }) => socket.close()).catch(() => {});
      rawStream.close();
      const prefix = error instanceof TlsError ? `${error.code}: ` : "";
      const reason = error instanceof Error ? prefix + error.message : String(error);
      // Hundreds of handshakes per second may be evicted: too many for the level `info`.
      const level = handshake.isEvicted ? "debug" : "info";
      this.#logger[level](`${who}: the handshake failed: ${reason}`, {
        kind: "handshake",
        who,
        error,
      });
    } finally {
      this.#slots.delete(handshake);
    }
  }
}
