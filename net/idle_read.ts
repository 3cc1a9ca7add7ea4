/** The read that is pending on an idle client connection. */

import type { Socket } from "../base/app/app.ts";
import { EmptyPreambleError, ProtocolError } from "../base/errors.ts";
import type { Transport } from "./transport.ts";

/** The size of the buffer of an idle connection whose messages are small. */
const IDLE_BUFFER_BYTES = 1024;

/**
 * A pending read on an idle client connection, which notices a close by the server. Unexpected
 * bytes also close the connection.
 */
export class IdleRead {
  readonly #transport: Transport;
  readonly #socket: Socket;
  /** `"referenced"`: the pending read keeps the process alive; `"unreferenced"`: it doesn't. */
  #state: "awake" | "looking" | "asleep" = "awake";
  #error: unknown = null;

  constructor(transport: Transport, socket: Socket) {
    this.#transport = transport;
    this.#socket = socket;
    transport.idleRead = this;
  }

  /**
   * Starts the idle read, if the socket can read without keeping the process alive. No other code
   * may use the transport's reader before {@linkcode stop}.
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

  /**
   * Starts a read just before a request is sent, unless one is pending: bytes or a close that have
   * already arrived can't belong to the response.
   */
  probe(): void {
    if (this.#transport.closed || this.#state !== "awake") return;
    this.#state = "looking";
    this.#read();
  }

  /** Ends the idle state because a request is sent: the pending read now waits for its response. */
  stop(): void {
    if (this.#state === "asleep") this.#socket.ref?.();
    this.#state = "awake";
    this.#transport.isAwaitingResponse = true;
  }

  /**
   * Returns the error that closed the idle connection, at the first call only; `null` otherwise.
   */
  takeError(): unknown {
    const failure = this.#error;
    this.#error = null;
    return failure;
  }

  #read(): void {
    const { reader } = this.#transport;
    if (reader.bufferedBytes > 0) return this.onRead(null);
    if (reader.pendingRead !== null) return;
    reader.shrinkToUse(IDLE_BUFFER_BYTES);
    reader.readAhead(this.#socket, false);
  }

  /**
   * Called when the idle read has settled, with bytes, a close or an error: closes the connection.
   */
  onRead(error: unknown): void {
    if (this.#state === "awake") return;
    const hasExcessBytes = this.#transport.reader.bufferedBytes > 0;
    this.#error = error ??
      (hasExcessBytes
        ? new ProtocolError("EXCESS_BYTES", "the peer sent bytes without a request")
        : new EmptyPreambleError());
    this.#transport.close(this.#error);
  }
}
