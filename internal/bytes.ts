/** Byte arrays, which can change at any time. */

import { notAllowedError } from "./checks.ts";

const lengthOf = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  "length",
)!.get!;

/**
 * The real length of an array. An array over a resizable buffer changes with each resize, a
 * transferred array has no bytes, and a subclass may report anything.
 */
export function realLength(bytes: Uint8Array): number {
  return lengthOf.call(bytes);
}

/**
 * A plain view of the current bytes of an array. The view never grows. If its buffer shrinks or is
 * transferred, its length is 0.
 */
export function viewOf(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, realLength(bytes));
}

/** An array of no bytes. */
export const EMPTY: Uint8Array<ArrayBuffer> = new Uint8Array(0);

/** Whether `bytes` has the bytes of `prefix` at a position. */
export function startsWith(bytes: Uint8Array, at: number, prefix: Uint8Array): boolean {
  let i = 0;
  while (i < prefix.length && bytes[at + i] === prefix[i]) i++;
  return i === prefix.length;
}

/**
 * Copies a few bytes, faster than `set` does, and returns the position after them. Bytes beyond the
 * end of the buffer are dropped.
 */
export function writeBytes(into: Uint8Array, at: number, bytes: Uint8Array): number {
  for (let i = 0; i < bytes.length; i++) into[at + i] = bytes[i]!;
  return at + bytes.length;
}

/** Copies arrays, one after the other, into a new one. */
export function concatenate(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

const encoder = new TextEncoder();

/**
 * Encodes text as UTF-8.
 *
 * @param label The name of the text in the error.
 * @throws {RangeError} if the text has a lone surrogate, which has no UTF-8.
 */
export function encodeText(label: string, text: string): Uint8Array<ArrayBuffer> {
  if (text.isWellFormed()) return encoder.encode(text);
  throw notAllowedError(label, `must have no lone surrogate`);
}

const strictDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Decodes UTF-8 and keeps a byte order mark; anything else is a `TypeError`. */
export function decodeText(bytes: Uint8Array): string {
  return strictDecoder.decode(bytes);
}

/**
 * Decodes bytes that a table allows, or that are about to be checked with one. Every byte outside
 * ASCII becomes characters that no table allows, and a byte order mark is kept, so text that passes
 * a later check has exactly the bytes that arrived.
 */
export function decodeAscii(bytes: Uint8Array): string {
  return asciiDecoder.decode(bytes);
}

const asciiDecoder = new TextDecoder("utf-8", { ignoreBOM: true });
