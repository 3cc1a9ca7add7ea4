/**
 * The bytes of large bodies: a repeated block of 1 MiB without structure, so that a receiver can tell
 * lost, doubled and shifted bytes by looking at a few of each piece and counting all of them.
 *
 * @module
 */

const blockLength = 1 << 20;

/** One period of the bytes of every large body. Not to be modified. */
export const block: Uint8Array<ArrayBuffer> = makeBlock();

function makeBlock(): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(blockLength);
  // Marsaglia's xorshift32: any generator without short cycles in the low byte does.
  let state = 2463534242;
  for (let index = 0; index < blockLength; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[index] = state & 0xff;
  }
  return bytes;
}

/** Bytes of the buffer that a BYOB reader passes around. */
const readerLength = 64 * 1024;

/** Delivers the bytes of a large body, either into buffers it is given or as pieces. */
export class PatternSource {
  readonly total: number;
  #position = 0;

  constructor(total: number) {
    this.total = total;
  }

  /** Fills `into`, or less of it at the end; `null` after the end. */
  fill(into: Uint8Array): number | null {
    const wanted = Math.min(into.length, this.total - this.#position);
    if (wanted === 0) return null;
    let filled = 0;
    while (filled < wanted) {
      const offset = (this.#position + filled) % blockLength;
      const part = block.subarray(offset, Math.min(blockLength, offset + wanted - filled));
      into.set(part, filled);
      filled += part.length;
    }
    this.#position += wanted;
    return wanted;
  }

  /** As {@linkcode PatternSource.fill}, in the shape of a `ByteSource`. */
  read(into: Uint8Array): Promise<number | null> {
    return Promise.resolve(this.fill(into));
  }

  /** Pieces of `length` bytes, the last one perhaps shorter, all of them views of {@linkcode block}. */
  *pieces(length: number): Generator<Uint8Array<ArrayBuffer>, void, undefined> {
    while (this.#position < this.total) {
      const offset = this.#position % blockLength;
      const size = Math.min(length, this.total - this.#position, blockLength - offset);
      this.#position += size;
      yield block.subarray(offset, offset + size);
    }
  }
}

/** Checks the bytes of a large body as they arrive, in pieces of any size. */
export class PatternChecker {
  readonly #total: number;
  readonly #period: Uint8Array;
  readonly #tail: Uint8Array;
  #position = 0;

  constructor(
    total: number,
    period: Uint8Array = block,
    tail: Uint8Array = new Uint8Array(),
  ) {
    this.#total = total;
    this.#period = period;
    this.#tail = tail;
  }

  /** Counts a piece and compares its first, middle and last byte. */
  check(piece: Uint8Array): void {
    if (piece.length === 0) return;
    this.#compare(piece, 0);
    this.#compare(piece, piece.length >> 1);
    this.#compare(piece, piece.length - 1);
    this.#position += piece.length;
  }

  /** As {@linkcode PatternChecker.check}, in the shape of a `ByteSink`. */
  write(piece: Uint8Array): Promise<void> {
    this.check(piece);
    return Promise.resolve();
  }

  /** Throws unless exactly all bytes have come. */
  finish(): void {
    if (this.#position !== this.#total) {
      throw new Error(`expected a body of ${this.#total} bytes, not ${this.#position}`);
    }
  }

  #compare(piece: Uint8Array, index: number): void {
    const position = this.#position + index;
    const tailStart = this.#total - this.#tail.length;
    const expected = position < tailStart
      ? this.#period[position % this.#period.length]
      : this.#tail[position - tailStart];
    if (piece[index] !== expected) {
      throw new Error(`the body differs from what was sent at byte ${position}`);
    }
  }
}

/** A checker for the chunked encoding of the same body, as it is on the wire. */
export function makeEncodedChecker(
  total: number,
  pieceLength: number,
): PatternChecker {
  if (total % blockLength !== 0) throw new RangeError("a chunked body is a multiple of 1 MiB here");
  const head = new TextEncoder().encode(`${pieceLength.toString(16)}\r\n`);
  const lineEnd = new TextEncoder().encode("\r\n");
  const chunks: Uint8Array[] = [];
  for (let offset = 0; offset < blockLength; offset += pieceLength) {
    chunks.push(head, block.subarray(offset, offset + pieceLength), lineEnd);
  }
  const period = concatenate(chunks);
  const tail = new TextEncoder().encode("0\r\n\r\n");
  const length = total / blockLength * period.length + tail.length;
  return new PatternChecker(length, period, tail);
}

/** Gives a byte stream to a checker, through a BYOB reader with one buffer. */
export async function checkByReader(
  stream: ReadableStream<Uint8Array>,
  checker: PatternChecker,
): Promise<void> {
  const reader = stream.getReader({ mode: "byob" });
  let buffer = new Uint8Array(readerLength);
  while (true) {
    const { value, done } = await reader.read(buffer);
    if (done || value === undefined) return;
    checker.check(value);
    buffer = new Uint8Array(value.buffer);
  }
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}
