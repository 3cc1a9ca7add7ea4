/**
 * Bodies that arrive over a connection.
 *
 * @module
 */

import { Body } from "../base/body/body.ts";
import { BodySource } from "../base/body/body_source.ts";
import type { Bodies, BodyIn } from "../base/body/bodies.ts";
import { type ByteReader, MAX_PIECE_BYTES } from "../base/body/byte_io.ts";
import { ChunkedBody } from "../base/body/chunked_body.ts";
import { BodyError, ProtocolError } from "../base/errors.ts";
import { sourceFor } from "../base/body/foreign_bodies.ts";
import type { Framing } from "../base/wire/headers.ts";
import type { Interruption } from "../base/body/interruption.ts";
import type { Transport } from "./transport.ts";

/** Who has to know what becomes of a body. It is kept alive by the body. */
export interface BodyOwner {
  /** The last byte has been taken. */
  bodyConsumed(): void;
  /** The peer broke the grammar or went away, or the time was over. */
  bodyFailed(error: unknown): void;
  /** Somebody does not want the rest. */
  bodyCancelled(reason: unknown): void;
}

/**
 * Makes the body of a message that has arrived as far as its preamble.
 *
 * @param bodies The classes to make it from; they need not be ours.
 * @param interruption What tells the body that it is aborted, if anything can.
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
  if (framing === "chunked") {
    const { ChunkedBody: Class } = bodies;
    return new Class(sourceFor(Class, ChunkedBody, source, framing));
  }
  const { Body: Class } = bodies;
  const body = new Class(sourceFor(Class, Body, source, framing), framing);
  if (framing === 0) source.consumed();
  return body;
}

/** A connection as our own bodies see it: they share its buffer. */
class ConnectionSource extends BodySource {
  readonly reader: ByteReader;
  readonly exact = false;
  readonly isPrivate = true;
  // Larger reads are slower: what the kernel has copied is gone from the cache before it is used.
  readonly pieceBytes = 65536;
  // From connection to connection the fewest turns win over the cache.
  readonly mostBytes = MAX_PIECE_BYTES;
  override readonly interruption: Interruption | null;
  readonly #transport: Transport;
  #owner: BodyOwner | null;

  constructor(transport: Transport, owner: BodyOwner, interruption: Interruption | null) {
    super();
    this.interruption = interruption;
    this.reader = transport.reader;
    this.#transport = transport;
    this.#owner = owner;
  }

  read(into: Uint8Array): Promise<number | null> {
    // Whoever reads on in the background, for a body that was cancelled, would take what follows it.
    if (this.#owner !== null) return this.#transport.read(into);
    const aborted = this.interruption?.aborted;
    return Promise.reject(aborted ? aborted.reason : new BodyError("the body is over"));
  }

  // An empty body is consumed from the start, and whoever still holds it may read, fail or give it
  // up while the connection is at another message. Nor does a body that is over keep the
  // connection alive.
  #takeOwner(): BodyOwner | null {
    const owner = this.#owner;
    this.#owner = null;
    return owner;
  }

  override consumed(): void {
    const owner = this.#takeOwner();
    if (owner === null) return;
    this.reader.shrink();
    owner.bodyConsumed();
  }

  override failed(error: unknown): void {
    this.#takeOwner()?.bodyFailed(error);
  }

  override cancel(reason: unknown): Promise<void> {
    this.#takeOwner()?.bodyCancelled(reason);
    return Promise.resolve();
  }

  override incomplete(missing: number): Error {
    return new ProtocolError(
      "BODY_INCOMPLETE",
      `the peer closed ${missing} bytes before the end of the body`,
    );
  }
}
