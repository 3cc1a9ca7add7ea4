/** The bodies of messages that arrive, and the connection as their source. */

import type { Bodies, BodyIn } from "../base/body/bodies.ts";
import type { BodyEnd, BodySource } from "../base/body/body_source.ts";
import type { ReadBuffer } from "../base/body/byte_io.ts";
import { BodyError } from "../base/errors.ts";
import type { Framing } from "../base/wire/headers.ts";
import type { Transport } from "./transport.ts";

/**
 * The end of a connection that a body belongs to, and that learns how the body ends. The body keeps
 * its owner alive.
 */
export interface BodyOwner {
  /** The last byte of the body has been read. */
  bodyConsumed(): void;
  /** The rest of the body is not wanted. */
  bodyCanceled(): void;
  /**
   * The peer or the network has broken the body. Returns true to keep the transport open, which is
   * closed otherwise.
   */
  bodyBroken?(error: unknown): boolean;
}

/**
 * Makes the body of a message whose preamble has arrived. The classes of bodies may be a caller's.
 */
export function makeIncomingBody(
  bodies: Bodies,
  transport: Transport,
  owner: BodyOwner,
  kind: "request" | "response",
  framing: Framing,
): BodyIn {
  if (framing === null) return null;
  const source = new ConnectionSource(transport, owner, kind);
  if (framing === "chunked") return new bodies.ChunkedBody(source);
  const body = new bodies.Body(source, framing);
  if (framing === 0) source.over("consumed");
  return body;
}

/** The errors with which peers and networks have broken bodies. */
const broken = new WeakSet<Error>();

/** Tells whether a connection broke with this error while a body was read from it. */
export function hasBrokenBody(error: unknown): boolean {
  return error instanceof Error && broken.has(error);
}

/** A connection as the source of our own bodies, which share its buffer. */
class ConnectionSource implements BodySource {
  readonly kind: "request" | "response";
  readonly buffer: ReadBuffer;
  readonly #transport: Transport;
  /**
   * The end of the connection; `null` once the body is over, so that the body doesn't keep its
   * connection alive. An empty body is over from the start, and may be read while the connection is
   * at another message.
   */
  #owner: BodyOwner | null;

  constructor(transport: Transport, owner: BodyOwner, kind: "request" | "response") {
    this.kind = kind;
    this.buffer = transport.reader;
    this.#transport = transport;
    this.#owner = owner;
  }

  read(into: Uint8Array): Promise<number | null> {
    // A canceled body may still read in the background, and would get bytes that follow the body.
    if (this.#owner === null) return Promise.reject(new BodyError("the body is over"));
    return this.#transport.read(into);
  }

  over(end: BodyEnd, error?: unknown): void {
    const owner = this.#owner;
    if (owner === null) return;
    this.#owner = null;
    if (end === "consumed") {
      this.buffer.shrink();
      owner.bodyConsumed();
    } else if (end === "canceled") {
      owner.bodyCanceled();
    } else {
      if (error instanceof Error) broken.add(error);
      if (!owner.bodyBroken?.(error)) this.#transport.close(error);
    }
  }
}
