/** The bodies of messages that arrive, and the connection as their source. */

import type { Bodies, BodyIn } from "../base/body/bodies.ts";
import type { BodyOutcome, BodySource } from "../base/body/body_source.ts";
import type { ReadBuffer } from "../base/body/byte_io.ts";
import type { Framing } from "../base/wire/headers.ts";
import type { Transport } from "./transport.ts";

/**
 * Tells the end of a connection that a body belongs to how the body is over, and with which error;
 * what could not be read to its end closes the connection, unless this end can still answer. The
 * body keeps this function alive, and with it the connection.
 */
export type OnBodyEnd = (outcome: BodyOutcome, error?: unknown) => void;

/**
 * Makes the body of a message whose preamble has arrived. The classes of bodies may be a caller's.
 */
export function makeIncomingBody(
  bodies: Bodies,
  transport: Transport,
  onBodyEnd: OnBodyEnd,
  kind: "request" | "response",
  framing: Framing,
): BodyIn {
  if (framing === null) return null;
  const source = new ConnectionSource(transport, onBodyEnd, kind);
  if (framing === "chunked") return new bodies.ChunkedBody(source);
  return new bodies.Body(source, framing);
}

/** The errors with which peers and networks have broken bodies. */
const brokenBodyErrors = new WeakSet<Error>();

/** Tells whether a connection broke with this error while a body was read from it. */
export function hasBrokenBody(error: unknown): boolean {
  return error instanceof Error && brokenBodyErrors.has(error);
}

/** A connection as the source of our own bodies, which share its buffer. */
class ConnectionSource implements BodySource {
  readonly kind: "request" | "response";
  readonly buffer: ReadBuffer;
  readonly #transport: Transport;
  /**
   * What learns of the end; `null` once the body is over, so that the body doesn't keep its
   * connection alive.
   */
  #onBodyEnd: OnBodyEnd | null;

  constructor(transport: Transport, onBodyEnd: OnBodyEnd, kind: "request" | "response") {
    this.kind = kind;
    this.buffer = transport.reader;
    this.#transport = transport;
    this.#onBodyEnd = onBodyEnd;
  }

  read(into: Uint8Array): Promise<number | null> {
    return this.#transport.read(into);
  }

  onEnd(outcome: BodyOutcome, error?: unknown): void {
    const onBodyEnd = this.#onBodyEnd;
    this.#onBodyEnd = null;
    if (outcome === "consumed") this.buffer.shrink();
    if (outcome === "broken" && error instanceof Error) brokenBodyErrors.add(error);
    onBodyEnd?.(outcome, error);
  }
}
