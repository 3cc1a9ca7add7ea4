import type { Bodies, BodyIn } from "../../base/body/body.ts";
import type { BodyOutcome, BodySource } from "../../base/body/body_reader.ts";
import { ReadBuffer } from "../../base/body/byte_io.ts";
import { ConnectionError } from "../../base/errors.ts";
import { EMPTY_BYTES } from "../../internal/bytes.ts";
import { HiddenProperty } from "../../internal/error_details.ts";
import { encodeChunk, prepareChunk } from "../../base/wire/chunk.ts";
import type { Framing } from "../../base/wire/headers.ts";
import { isResetError } from "./connection_errors.ts";
import type { Transport } from "./transport.ts";

/**
 * A body that was not read to its end closes the connection, unless a server can still send an
 * error response. The body references this function, and so keeps its connection alive.
 */
export type BodyEndListener = (outcome: BodyOutcome, error?: unknown) => void;

interface ReceivingExchange {
  readonly receives: "request" | "response";
  /** The probable reason if the peer ends the connection within the body. */
  readonly incompleteReason: string | null;
}

export function makeIncomingBody(
  bodies: Bodies,
  transport: Transport,
  onBodyEnd: BodyEndListener,
  exchange: ReceivingExchange,
  framing: Framing | "unframed",
): BodyIn {
  if (framing === null) return null;
  const source = new ConnectionSource(transport, onBodyEnd, exchange);
  if (framing === "unframed") return new bodies.ChunkedBody(new UnframedSource(source));
  if (framing === "chunked") return new bodies.ChunkedBody(source);
  return new bodies.Body(source, framing);
}

const brokenBodyMark: HiddenProperty<true> = new HiddenProperty();

export function isBrokenBodyError(error: unknown): boolean {
  return brokenBodyMark.get(error) === true;
}

class ConnectionSource implements BodySource {
  readonly buffer: ReadBuffer;
  readonly readPiece: BodySource["readPiece"];
  readonly #transport: Transport;
  readonly #exchange: ReceivingExchange;
  /** `null` once the body has ended, so that the body doesn't keep its connection alive. */
  #onBodyEnd: BodyEndListener | null;

  constructor(transport: Transport, onBodyEnd: BodyEndListener, exchange: ReceivingExchange) {
    this.#exchange = exchange;
    this.buffer = transport.readBuffer;
    this.readPiece = transport.readPiece;
    this.#transport = transport;
    this.#onBodyEnd = onBodyEnd;
  }

  get kind(): "request" | "response" {
    return this.#exchange.receives;
  }

  get hasBeenReset(): boolean {
    return this.#transport.hasBeenReset;
  }

  get incompleteReason(): string | null {
    return this.#exchange.incompleteReason;
  }

  read(into: Uint8Array): Promise<number | null> {
    return this.#transport.read(into);
  }

  waitForReadAhead(): Promise<void> {
    return this.#transport.waitForReadAhead();
  }

  onEnd(outcome: BodyOutcome, error?: unknown): void {
    const onBodyEnd = this.#onBodyEnd;
    this.#onBodyEnd = null;
    if (outcome === "consumed") this.buffer.shrink();
    if (outcome === "broken" && error instanceof Error) brokenBodyMark.set(error, true);
    onBodyEnd?.(outcome, error);
  }
}

function incompleteBodyError(options?: ErrorOptions): ConnectionError {
  const problem = "the connection was reset, but the body ends with its close";
  return new ConnectionError(problem, { ...options, fault: "reset", code: "BODY_INCOMPLETE" });
}

/** Encodes all bytes up to the end of the connection as chunks. */
class UnframedSource implements BodySource {
  readonly kind = "response";
  readonly endsWithConnection = true;
  readonly buffer: ReadBuffer = new ReadBuffer();
  readonly #connection: ConnectionSource;
  #encoded: Uint8Array = EMPTY_BYTES;
  #isComplete = false;

  constructor(connection: ConnectionSource) {
    this.#connection = connection;
  }

  async read(into: Uint8Array): Promise<number | null> {
    if (this.#encoded.length === 0) {
      if (this.#isComplete) return null;
      const { buffer } = this.#connection;
      if (buffer.bufferedBytes === 0) await this.#fill(buffer);
      const data = buffer.takeView(Infinity);
      this.#isComplete = data.length === 0;
      this.#encoded = encodeChunk(prepareChunk([null, data]));
    }
    const part = this.#encoded.subarray(0, into.length);
    into.set(part);
    this.#encoded = this.#encoded.subarray(part.length);
    return part.length;
  }

  async #fill(buffer: ReadBuffer): Promise<void> {
    let count;
    try {
      count = await buffer.fill(this.#connection);
    } catch (error) {
      if (!isResetError(error)) throw error;
      throw incompleteBodyError({ cause: error });
    }
    if (count === 0 && this.#connection.hasBeenReset) throw incompleteBodyError();
  }

  onEnd(outcome: BodyOutcome, error?: unknown): void {
    this.#connection.onEnd(outcome, error);
  }
}
