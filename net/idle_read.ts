/** What a client's connection does between two requests. */

import type { Socket } from "../base/app/app.ts";
import { EmptyPreambleError, ProtocolError } from "../base/errors.ts";
import type { Transport } from "./transport.ts";

/** The size of the buffer of a connection that rests, if its messages are small. */
const IDLE_BUFFER_BYTES = 1024;

/**
 * The rest of a client's connection: a read that no request waits for. Bytes that arrive, and the
 * end of the peer, close the connection at once.
 */
export class IdleRead {
  readonly #transport: Transport;
  readonly #socket: Socket;
  /** While `asleep`, the pending read does not keep the process alive; while `looking`, it does. */
  #state: "awake" | "looking" | "asleep" = "awake";
  #error: unknown = null;

  constructor(transport: Transport, socket: Socket) {
    this.#transport = transport;
    this.#socket = socket;
    transport.idleRead = this;
  }

  /**
   * Begins the rest, if the socket can read without keeping the process alive. Nothing else may
   * touch the transport's reader before {@linkcode stop}.
   */
  start(): void {
    this.#transport.isAwaitingResponse = false;
    const previousState = this.#state;
    if (this.#transport.closed || previousState === "asleep" || this.#socket.unref === undefined) {
      return;
    }
    this.#state = "asleep";
    this.#socket.unref();
    if (previousState === "awake") this.#read();
  }

  /** Begins to read, unless that has begun, for a request that comes at once. */
  probe(): void {
    if (this.#transport.closed || this.#state !== "awake") return;
    this.#state = "looking";
    this.#read();
  }

  /** Ends the rest, as a request is sent: from now on the pending read is that of its response. */
  stop(): void {
    if (this.#state === "asleep") this.#socket.ref?.();
    this.#state = "awake";
    this.#transport.isAwaitingResponse = true;
  }

  /** What has closed the connection while it rested, told once; else `null`. */
  takeError(): unknown {
    const failure = this.#error;
    this.#error = null;
    return failure;
  }

  #read(): void {
    const { reader } = this.#transport;
    if (reader.buffered > 0) return this.onRead(null);
    if (reader.pendingRead !== null) return;
    reader.shrinkToUse(IDLE_BUFFER_BYTES);
    reader.readAhead(this.#socket, false);
  }

  /** Closes the connection, since the read of the rest has ended with bytes, an end or an error. */
  onRead(error: unknown): void {
    if (this.#state === "awake") return;
    const hasExcessBytes = this.#transport.reader.buffered > 0;
    this.#error = error ??
      (hasExcessBytes
        ? new ProtocolError("EXCESS_BYTES", "the peer sent bytes that no request has asked for")
        : new EmptyPreambleError());
    this.#transport.close(this.#error);
  }
}
