/** The bodies of messages that arrive, and the connection as their source. */

import type { Bodies, BodyIn } from "../base/body/bodies.ts";
import { BodySource } from "../base/body/body_source.ts";
import type { Interruption } from "../base/body/body_state.ts";
import { type ByteReader, MAX_PIECE_BYTES } from "../base/body/byte_io.ts";
import { BodyError, ProtocolError } from "../base/errors.ts";
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
  /** Whether a body that is too long for its reader is canceled. */
  readonly cancelsTooLong?: boolean;
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
  framing: Framing,
  interruption: Interruption | null = null,
): BodyIn {
  if (framing === null) return null;
  const source = new ConnectionSource(transport, owner, interruption);
  if (framing === "chunked") return new bodies.ChunkedBody(source);
  const body = new bodies.Body(source, framing);
  if (framing === 0) source.consumed();
  return body;
}

/** The errors with which peers and networks have broken bodies. */
const broken = new WeakSet<Error>();

/** Tells whether a connection broke with this error while a body was read from it. */
export function hasBrokenBody(error: unknown): boolean {
  return error instanceof Error && broken.has(error);
}

/** A connection as the source of our own bodies, which share its buffer. */
class ConnectionSource extends BodySource {
  readonly reader: ByteReader;
  readonly isShared = false;
  // Larger reads are slower: bytes that the kernel has copied leave the cache before they are used.
  override readonly pieceBytes = 65536;
  // If a body is sent on over another connection, fewer turns of the event loop outweigh the cache.
  override readonly mostBytes = MAX_PIECE_BYTES;
  override readonly interruption: Interruption | null;
  override readonly cancelsTooLong: boolean;
  readonly #transport: Transport;
  #owner: BodyOwner | null;

  constructor(transport: Transport, owner: BodyOwner, interruption: Interruption | null) {
    super();
    this.interruption = interruption;
    this.cancelsTooLong = owner.cancelsTooLong === true;
    this.reader = transport.reader;
    this.#transport = transport;
    this.#owner = owner;
  }

  read(into: Uint8Array): Promise<number | null> {
    // A canceled body may still read in the background, and would get bytes that follow the body.
    if (this.#owner !== null) return this.#transport.read(into);
    const failure = this.interruption?.failure;
    return Promise.reject(failure ? failure.error : new BodyError("the body is over"));
  }

  // An empty body is consumed from the start, and may still be read, fail or be canceled while the
  // connection is at another message. A body that has ended must not keep the connection alive.
  #releaseOwner(): BodyOwner | null {
    const owner = this.#owner;
    this.#owner = null;
    return owner;
  }

  override consumed(): void {
    const owner = this.#releaseOwner();
    if (owner === null) return;
    this.reader.shrink();
    owner.bodyConsumed();
  }

  override failed(error: unknown): void {
    if (error instanceof Error) broken.add(error);
    const owner = this.#releaseOwner();
    if (owner !== null && !owner.bodyBroken?.(error)) this.#transport.close(error);
  }

  override cancel(): Promise<void> {
    this.#releaseOwner()?.bodyCanceled();
    return Promise.resolve();
  }

  override incomplete(missing: number): Error {
    return new ProtocolError(
      "BODY_INCOMPLETE",
      `the peer closed ${missing} bytes before the end of the body`,
    );
  }
}
