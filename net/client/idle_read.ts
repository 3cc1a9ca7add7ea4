import type { Socket } from "../../base/app/app.ts";
import type { ClientProtocol } from "../protocol/client_protocol.ts";
import { toConnectionError } from "../transport/connection_errors.ts";
import type { Transport } from "../transport/transport.ts";

/** The time for the end of a connection behind a response that came before the first request. */
const MAX_END_MILLISECONDS = 100;

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
  readonly #protocol: ClientProtocol;
  #error: unknown = null;

  constructor(transport: Transport, protocol: ClientProtocol, socket: Socket) {
    this.#transport = transport;
    this.#protocol = protocol;
    this.#socket = socket;
  }

  /** No other code may use the transport's read buffer before {@linkcode endIdle}. */
  start(): void {
    const previousState = this.#state;
    if (this.#transport.isClosed || previousState === "waiting") return;
    if (this.#socket.unref === undefined) return;
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
  }

  /**
   * Waits a short time for the end of the connection behind bytes that arrived before the first
   * request; resolves to whether it has ended. An abort ends the wait.
   */
  async waitForEnd(signal: AbortSignal | undefined): Promise<boolean> {
    const { readBuffer } = this.#transport;
    const expired = Promise.withResolvers<undefined>();
    const expire = () => expired.resolve(undefined);
    const timer = setTimeout(expire, MAX_END_MILLISECONDS);
    signal?.addEventListener("abort", expire);
    try {
      for (;;) {
        // No read is possible when the buffer is full.
        const read = readBuffer.pendingRead ?? readBuffer.readAhead(this.#socket, false);
        const count = await Promise.race([read ?? undefined, expired.promise]);
        if (count === undefined || count === null) return count === null;
      }
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", expire);
    }
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
    readBuffer.shrinkToUse();
    readBuffer.readAhead(this.#socket, false);
  }

  onRead(error: unknown): void {
    if (this.#state === "inactive") return;
    const idleError = toConnectionError(error) ?? this.#protocol.findIdleError();
    if (idleError !== null) this.#close(idleError);
  }

  /** Closes the connection because of its buffered bytes, before a request was sent. */
  refuseBytes(): void {
    this.#close(this.#protocol.unexpectedBytesError());
  }

  #close(error: unknown): void {
    this.#error = error;
    this.#transport.close(error);
  }
}
