/**
 * Receiving preambles.
 *
 * @module
 */

import { ProtocolError } from "../base/errors.ts";
import { MAX_PREAMBLE_BYTES } from "../base/wire/limits.ts";
import { findPreambleEnd } from "../base/wire/preamble.ts";
import type { Transport } from "./transport.ts";

/**
 * Receives the preambles of a connection, one after the other:
 * `while ((end = preambles.find()) < 0) if (!preambles.endReceive(await preambles.beginReceive())) …`
 */
export class PreambleReader {
  readonly #transport: Transport;
  readonly #checkStart: (first: number) => void;
  /** How many bytes of the next preamble were searched for its end. */
  #searched = 0;
  /** What it waits for: a read of the socket, or one that was issued ahead. */
  #receiving: "nothing" | "read" | "read ahead" = "nothing";

  /**
   * Makes a reader of the preambles that arrive over a transport.
   *
   * @param checkStart Throws if no preamble begins with this byte.
   */
  constructor(transport: Transport, checkStart: (first: number) => void = () => {}) {
    this.#transport = transport;
    this.#checkStart = checkStart;
  }

  /**
   * Searches what has arrived for the end of a preamble.
   *
   * @returns The position of its end, or -1 if more must be received.
   * @throws {ProtocolError} if it is too large.
   * @throws the error of `checkStart`.
   */
  find(): number {
    const { reader, deadline } = this.#transport;
    const from = reader.start + Math.max(0, this.#searched - 3);
    const end = findPreambleEnd(reader.bytes, from, reader.end);
    // mutant `<` → `<=`: the end of a preamble is never at position 0
    const size = end < 0 ? reader.buffered + 1 : end - reader.start;
    // The parser has better messages, and gets every whole preamble.
    // mutant `<` → `<=`: the end of a preamble is never at position 0
    if (this.#searched === 0 && reader.buffered > 0 && (end < 0 || size > MAX_PREAMBLE_BYTES)) {
      this.#checkStart(reader.bytes[reader.start]!);
    }
    checkSize(size);
    if (end < 0) {
      this.#searched = reader.buffered;
    } else {
      this.#searched = 0;
      deadline.stop();
      this.#transport.noteArrival();
    }
    return end;
  }

  /**
   * Begins to read more of a preamble; {@linkcode endReceive} takes what the promise resolves to, and
   * {@linkcode failureOf} what it rejects with.
   *
   * The wait for the first byte is bounded, and from that byte on the whole preamble: a peer gains
   * nothing by sending a byte a second.
   */
  beginReceive(): Promise<number | null> {
    const { reader, deadline } = this.#transport;
    const { ahead } = reader;
    this.#receiving = ahead === null ? "read" : "read ahead";
    reader.checkFailure();
    if (!deadline.isReading) deadline.start();
    if (ahead !== null) return ahead;
    if (reader.buffered === 0) reader.fit();
    return this.#transport.beginRead(reader.room());
  }

  /**
   * Ends a read that {@linkcode beginReceive} began.
   *
   * @returns False if the peer closed before a preamble. Most connections end like this.
   * @throws {ProtocolError} if the peer closed within one.
   */
  endReceive(count: number | null): boolean {
    this.#transport.endRead();
    // What was read ahead is in the reader already.
    const arrived = this.#receiving === "read" ? this.#transport.reader.filled(count) : count ?? 0;
    if (arrived === 0) {
      if (this.#searched === 0) return false;
      throw new ProtocolError("PREAMBLE_INCOMPLETE", "the peer closed inside a preamble");
    }
    if (this.#searched === 0) this.#transport.deadline.start();
    this.#receiving = "nothing";
    return true;
  }

  /** The error to report for one that was thrown while a preamble was received, or later. */
  failureOf(error: unknown): unknown {
    return this.#transport.failureOf(error, this.#receiving !== "nothing");
  }

  /**
   * Issues the read for the next preamble before it is needed. Nothing else may touch the
   * reader, which must be empty, until {@linkcode beginReceive}.
   */
  readAhead(): void {
    this.#transport.reader.fit();
    this.#transport.readAhead(false);
  }

  /** True if the read that was issued ahead has settled. */
  get aheadSettled(): boolean {
    return this.#transport.reader.ahead === null;
  }

  /** Waits for the read issued ahead; if it found the end, the reader is empty. */
  async settleAhead(): Promise<void> {
    try {
      await this.#transport.reader.settleAhead();
    } catch (error) {
      throw this.#transport.failureOf(error, true);
    }
  }
}

function checkSize(least: number): void {
  if (least <= MAX_PREAMBLE_BYTES) return;
  const message = `a preamble of more than ${MAX_PREAMBLE_BYTES} bytes`;
  throw new ProtocolError("PREAMBLE_TOO_LARGE", message);
}
