import type { Socket } from "../base/app/app.ts";
import { EmptyPreambleError, ProtocolError } from "../base/errors.ts";
import { markSocketError } from "./connection_errors.ts";
import { IDLE_BUFFER_BYTES, type Transport } from "./transport.ts";

/** A pending read on an idle client connection, which detects a close by the server. */
export class IdleRead {
  readonly #transport: Transport;
  readonly #socket: Socket;
  /**
   * - `"inactive"`: a request is in progress, or no request was made yet.
   * - `"probing"`: a read was started just before a request.
   * - `"waiting"`: a read is pending, and doesn't keep the process alive.
   */
  #state: "inactive" | "probing" | "waiting" = "inactive";
  #error: unknown = null;

  constructor(transport: Transport, socket: Socket) {
    this.#transport = transport;
    this.#socket = socket;
    transport.idleRead = this;
  }

  /** No other code may use the transport's read buffer before {@linkcode endIdle}. */
  start(): void {
    this.#transport.isAwaitingResponse = false;
    const previousState = this.#state;
    if (
      this.#transport.isClosed || previousState === "waiting" || this.#socket.unref === undefined
    ) {
      return;
    }
    this.#state = "waiting";
    this.#socket.unref();
    if (previousState === "inactive") this.#read();
  }

  /** Bytes that have already arrived, or a close, can't belong to the response. */
  probe(): void {
    if (this.#transport.isClosed || this.#state !== "inactive") return;
    this.#state = "probing";
    this.#read();
  }

  /** Ends the idle state when a request is sent: the pending read then waits for the response. */
  endIdle(): void {
    if (this.#state === "waiting") this.#socket.ref?.();
    this.#state = "inactive";
    this.#transport.isAwaitingResponse = true;
  }

  takeError(): unknown {
    const error = this.#error;
    this.#error = null;
    return error;
  }

  #read(): void {
    const { readBuffer } = this.#transport;
    if (readBuffer.bufferedBytes > 0) return this.onRead(null);
    if (readBuffer.pendingRead !== null) return;
    readBuffer.shrinkToUse(IDLE_BUFFER_BYTES);
    readBuffer.readAhead(this.#socket, false);
  }

  onRead(error: unknown): void {
    if (this.#state === "inactive") return;
    const hasExcessBytes = this.#transport.readBuffer.bufferedBytes > 0;
    this.#error = markSocketError(error) ??
      (hasExcessBytes
        ? new ProtocolError("EXCESS_BYTES", "the peer sent bytes without a request")
        : new EmptyPreambleError());
    this.#transport.close(this.#error);
  }
}
