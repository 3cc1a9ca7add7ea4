/** A reader and an encoder of DER (ITU-T X.690), for the types that certificates use. */

import { notAllowedError } from "../../internal/checks.ts";
import { concatenate } from "../../internal/bytes.ts";

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  objectIdentifier: 0x06,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  bmpString: 0x1e,
  sequence: 0x30,
  set: 0x31,
} as const;

export interface DerElement {
  /** The tag, with the bits of class and form. */
  readonly tag: number;
  readonly content: Uint8Array;
}

export class DerReader {
  readonly #bytes: Uint8Array;
  #position = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#position >= this.#bytes.length;
  }

  readElement(): DerElement {
    const tag = this.#readByte();
    if ((tag & 0x1f) === 0x1f) throw notAllowedError("DER", "a tag has more than one byte");
    const length = this.#readLength();
    const end = this.#position + length;
    if (end > this.#bytes.length) throw notAllowedError("DER", "an element is truncated");
    const content = this.#bytes.subarray(this.#position, end);
    this.#position = end;
    return { tag, content };
  }

  /** Reads the next element, which must have this tag. Returns its bytes with tag and length. */
  readWhole(tag: number): Uint8Array {
    const start = this.#position;
    this.readContent(tag);
    return this.#bytes.subarray(start, this.#position);
  }

  readContent(tag: number): Uint8Array {
    const element = this.readElement();
    if (element.tag !== tag) {
      throw notAllowedError("DER", `expected an element with the tag ${tag}; got ${element.tag}`);
    }
    return element.content;
  }

  readContentIf(tag: number): Uint8Array | null {
    return this.hasTag(tag) ? this.readContent(tag) : null;
  }

  readNested<T>(tag: number, read: (content: DerReader) => T): T {
    return readDer(this.readContent(tag), read);
  }

  hasTag(tag: number): boolean {
    return this.#bytes[this.#position] === tag;
  }

  /** Reads a boolean: true and false have one form each (X.690 §11.1). */
  readBoolean(): boolean {
    const { length, 0: byte } = this.readContent(TAG.boolean);
    if (length !== 1 || byte !== 0 && byte !== 0xff) {
      throw notAllowedError("DER", "a boolean that is not allowed");
    }
    return byte !== 0;
  }

  /** Reads an integer, which must have the minimum number of bytes (X.690 §8.3.2). */
  readInteger(): Uint8Array {
    const bytes = this.readContent(TAG.integer);
    const { length, 0: firstByte, 1: secondByte = 0 } = bytes;
    const isPadded = length > 1 &&
      (firstByte === 0 && secondByte < 0x80 || firstByte === 0xff && secondByte > 0x7f);
    if (length === 0 || isPadded) {
      throw notAllowedError("DER", "an integer that is padded, or empty");
    }
    return bytes;
  }

  readNatural(): number {
    const bytes = this.readInteger();
    if (bytes[0]! > 0x7f) throw notAllowedError("DER", "a number that is negative");
    return bytes.reduce((value, byte) => value * 256 + byte, 0);
  }

  /** The unused bits of the last byte must be 0 (X.690 §11.2.1). */
  readBitString(maxUnusedBits = 7): Uint8Array {
    const content = this.readContent(TAG.bitString);
    // The first byte is the number of unused bits, which must be 0 if no other byte follows.
    const [unusedBits = 8] = content;
    const maxUnused = content.length === 1 ? 0 : maxUnusedBits;
    if (unusedBits > maxUnused || content.at(-1)! % 2 ** unusedBits !== 0) {
      throw notAllowedError("DER", "a bit string that is not allowed");
    }
    return content.subarray(1);
  }

  #readByte(): number {
    const byte = this.#bytes[this.#position++];
    if (byte === undefined) throw notAllowedError("DER", "an element is truncated");
    return byte;
  }

  #readLength(): number {
    const firstByte = this.#readByte();
    if (firstByte < 0x80) return firstByte;
    const byteCount = firstByte & 0x7f;
    if (byteCount === 0 || byteCount > 4) {
      throw notAllowedError("DER", "a length that is not allowed");
    }
    let length = 0;
    for (let i = 0; i < byteCount; i++) length = length * 256 + this.#readByte();
    // Allow one form of each length, so that a certificate has a single encoding.
    if (length < 0x80 || length < 256 ** (byteCount - 1)) {
      throw notAllowedError("DER", "a length that takes fewer bytes");
    }
    return length;
  }
}

export function readDer<T>(bytes: Uint8Array, read: (reader: DerReader) => T): T {
  const reader = new DerReader(bytes);
  const value = read(reader);
  if (reader.isAtEnd) return value;
  throw notAllowedError("DER", "unexpected bytes follow an element");
}

/** Encodes an element of at most 65,535 bytes, from the pieces of its contents. */
export function encodeDer(tag: number, ...pieces: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const content = concatenate(pieces);
  const { length } = content;
  const lengthBytes = length < 0x80
    ? [length]
    : length < 0x100
    ? [0x81, length]
    : [0x82, length >> 8, length & 0xff];
  return concatenate([Uint8Array.of(tag, ...lengthBytes), content]);
}

export function encodeObjectIdentifier(text: string): Uint8Array<ArrayBuffer> {
  const [firstArc = 0, secondArc = 0, ...furtherArcs] = text.split(".").map(Number);
  const bytes = [firstArc * 40 + secondArc, ...furtherArcs].flatMap((arc) => {
    const digits = [arc % 128];
    for (let remainder = arc; remainder >= 128;) {
      remainder = Math.floor(remainder / 128);
      digits.unshift(remainder % 128 + 128);
    }
    return digits;
  });
  return encodeDer(TAG.objectIdentifier, Uint8Array.from(bytes));
}

export function formatObjectIdentifier(content: Uint8Array): string {
  const arcs: number[] = [];
  let arc = 0;
  let isFirstByte = true;
  if (content.length === 0 || content.at(-1)! >= 0x80) {
    throw notAllowedError("DER", "an object identifier is truncated");
  }
  for (const byte of content) {
    // Refuse leading zeros, so that a number has a single encoding.
    if (isFirstByte && byte === 0x80) {
      throw notAllowedError("DER", "an object identifier is padded");
    }
    isFirstByte = byte < 0x80;
    arc = arc * 128 + (byte & 0x7f);
    if (byte & 0x80) continue;
    if (arcs.length === 0) {
      const firstArc = Math.min(Math.floor(arc / 40), 2);
      arcs.push(firstArc, arc - firstArc * 40);
    } else {
      arcs.push(arc);
    }
    arc = 0;
  }
  return arcs.join(".");
}

/**
 * Decodes a string of a name; invalid bytes become U+FFFD. A UniversalString, which isn't used in
 * practice, is not decoded: each byte becomes a character.
 */
export function decodeString({ tag, content }: DerElement): string {
  switch (tag) {
    case TAG.utf8String:
      return new TextDecoder("utf-8", { ignoreBOM: true }).decode(content);
    case TAG.bmpString:
      return new TextDecoder("utf-16be", { ignoreBOM: true }).decode(content);
    default:
      // PrintableString, IA5String and TeletexString, which is Latin-1 in practice.
      return Array.from(content, (byte) => String.fromCharCode(byte)).join("");
  }
}

/**
 * Decodes a UTCTime or a GeneralizedTime in the forms that certificates have (RFC 5280 §4.1.2.5).
 */
export function decodeTime({ tag, content }: DerElement): Date {
  const text = String.fromCharCode(...content);
  const isUtc = tag === TAG.utcTime && text.length === 13;
  const isGeneralized = tag === TAG.generalizedTime && text.length === 15;
  const century = isUtc ? text < "50" ? "20" : "19" : "";
  const parts = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(century + text);
  if (isUtc || isGeneralized) {
    const [, year, month, day, hour, minute, second] = parts ?? [];
    const time = `${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`;
    const date = new Date(time);
    // `Date` converts some dates that don't exist, such as February 31, to later ones.
    if (!Number.isNaN(date.getTime()) && date.toISOString() === time) return date;
  }
  throw notAllowedError("DER", "a time that is not allowed");
}
