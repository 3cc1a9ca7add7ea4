const lengthGetter = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  "length",
)!.get!;

/** Reads the length of the bytes, even if a subclass reports another length. */
export function realLengthOf(bytes: Uint8Array): number {
  return lengthGetter.call(bytes);
}

/**
 * Reports whether an array has a length of 0 because its buffer was transferred, or has become too
 * small for the array.
 */
export function isOutOfBounds(bytes: Uint8Array): boolean {
  if (realLengthOf(bytes) > 0) return false;
  try {
    // Like most methods, this one throws for such an array, and not for an empty one.
    Uint8Array.prototype.keys.call(bytes);
    return false;
  } catch {
    return true;
  }
}

/**
 * Makes a view of the bytes that has no subclass and never grows. If its buffer later shrinks or is
 * transferred, the length of the view is 0.
 *
 * @throws {TypeError} if the buffer has been transferred, or has become too small.
 */
export function makePlainView(bytes: Uint8Array): Uint8Array {
  if (isOutOfBounds(bytes)) {
    throw new TypeError(
      "the buffer of an array was transferred or resized before its bytes were sent",
    );
  }
  return new Uint8Array(bytes.buffer, bytes.byteOffset, realLengthOf(bytes));
}

export const EMPTY_BYTES: Uint8Array<ArrayBuffer> = new Uint8Array(0);

/** The garbage collector frees smaller pieces. */
const MIN_FREED_BYTES = 4096;

/**
 * The garbage collector would free it much later, and allocating memory for every piece costs half
 * of the time of a large transfer.
 */
export function releaseMemory({ buffer, length }: Uint8Array<ArrayBuffer>): void {
  if (length >= MIN_FREED_BYTES && length === buffer.byteLength) buffer.transfer(0);
}

export function startsWith(bytes: Uint8Array, position: number, prefix: Uint8Array): boolean {
  let i = 0;
  while (i < prefix.length && bytes[position + i] === prefix[i]) i++;
  return i === prefix.length;
}

/**
 * Copies a few bytes, faster than `set` does, and returns the position after them. Bytes beyond the
 * end of the buffer are dropped.
 */
export function writeBytes(into: Uint8Array, position: number, bytes: Uint8Array): number {
  for (let i = 0; i < bytes.length; i++) into[position + i] = bytes[i]!;
  return position + bytes.length;
}

export function writeAscii(into: Uint8Array, position: number, text: string): number {
  for (let i = 0; i < text.length; i++) into[position + i] = text.charCodeAt(i);
  return position + text.length;
}

export function concatenate(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const result = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let position = 0;
  for (const piece of pieces) {
    result.set(piece, position);
    position += piece.length;
  }
  return result;
}

const strictDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function decodeText(bytes: Uint8Array): string {
  return strictDecoder.decode(bytes);
}

/**
 * Decodes ASCII for a check of the text with a table of allowed characters. Bytes outside ASCII
 * become characters that no table allows, and a byte order mark is kept. So a text that passes the
 * check has exactly the bytes that arrived.
 */
export function decodeAscii(bytes: Uint8Array): string {
  return asciiDecoder.decode(bytes);
}

const asciiDecoder = new TextDecoder("utf-8", { ignoreBOM: true });

const MAX_ARGUMENTS = 4096;

/**
 * Decodes each byte to the character U+0000 to U+00FF of that code. The decoders of the Encoding
 * standard have no such encoding: their `latin1` is windows-1252.
 */
export function decodeBytes(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += MAX_ARGUMENTS) {
    text += String.fromCharCode(...bytes.subarray(i, i + MAX_ARGUMENTS));
  }
  return text;
}
