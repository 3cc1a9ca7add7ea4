/**
 * Header lines as they are sent: what a reader would reject is refused.
 *
 * @module
 */

import { writeBytes } from "../bytes.ts";
import { quote, typeName } from "../errors.ts";
import {
  checkPresence,
  CONTENT_LENGTH,
  type Framing,
  type HeaderContext,
  type HeaderDict,
  RANGE,
  specialOf,
  TRANSFER_ENCODING,
} from "./headers.ts";
import { quoteValue } from "../inspect.ts";
import { MAX_HEADER_NAME_BYTES, MAX_LENGTH, MAX_PREAMBLE_BYTES } from "./limits.ts";
import { isContentRange, isRange, parseContentRange, parseRange } from "./range.ts";
import { allows, NAME_LOWER, VALUE } from "./tables.ts";

const CR = 0x0d, LF = 0x0a;

/** Throws a `TypeError` unless the value can be a dictionary of headers. */
export function checkHeaderDict(headers: HeaderDict): void {
  if (typeof headers !== "object" || headers === null) {
    throw new TypeError(`headers: need a plain object; got ${typeName(headers)}`);
  }
  const prototype = Object.getPrototypeOf(headers);
  if (prototype !== null && prototype !== Object.prototype) {
    throw new TypeError(`headers: need a plain object; got ${typeName(headers)}`);
  }
}

/** The headers of a client that have an option of their own. */
const OPTIONS: readonly string[] = ["host", "authorization"];

/**
 * Checks headers that are to go with every request of a client: names and values, and that none of
 * them is said elsewhere or belongs to a single message.
 *
 * @throws {TypeError} for what is no dictionary, and for a value that is not a string.
 * @throws {RangeError} for a name or a value that can't be sent, or a header that can't stand here.
 */
export function checkBaseHeaders(headers: HeaderDict): void {
  checkHeaderDict(headers);
  let size = 0;
  for (const [name, value] of Object.entries(headers)) {
    const { bytes, special } = makeLine(name, 0);
    if (OPTIONS.includes(name)) {
      throw new RangeError(`headers["${name}"]: give the option ${name} instead`);
    }
    if (special !== 0) {
      throw new RangeError(`headers["${name}"]: it belongs to one message, not to every request`);
    }
    const room = new Uint8Array(typeof value === "string" ? value.length + 2 : 0);
    size += bytes.length + writeValue(room, 0, name, value);
  }
  if (size > MAX_PREAMBLE_BYTES) {
    throw new RangeError(`headers: ${size} bytes; a preamble has at most ${MAX_PREAMBLE_BYTES}`);
  }
}

/** A line that is to be written, but for its value. */
interface Line {
  readonly name: string;
  /** The bytes of the name, with the colon and the space. */
  readonly bytes: Uint8Array;
  readonly special: number;
  /** Which of the names it is, in the order in which they came. */
  readonly index: number;
}

/** What is known of one set of names. */
interface Plan {
  readonly names: readonly string[];
  /** By name in byte order. */
  readonly lines: readonly Line[];
}

// An application sends the same few sets of names again and again: to see that the names are those
// of last time is faster than to check and to sort them.
const PLAN_SLOTS = 32;
const plans = new Array<Plan | undefined>(PLAN_SLOTS).fill(undefined);

function planFor(names: readonly string[]): readonly Line[] {
  const count = names.length;
  const slot = count & (PLAN_SLOTS - 1);
  const plan = plans[slot];
  if (plan !== undefined && plan.names.length === count) {
    let i = 0;
    while (i < count && names[i] === plan.names[i]) i++;
    if (i === count) return plan.lines;
  }
  const lines = names.map(makeLine).sort((a, b) => a.name < b.name ? -1 : 1);
  if (count < PLAN_SLOTS) plans[slot] = { names, lines };
  return lines;
}

function makeLine(name: string, index: number): Line {
  if (name.length === 0 || name.length > MAX_HEADER_NAME_BYTES || !allows(NAME_LOWER, name)) {
    throw new RangeError(
      `headers: bad name ${quote(name)}; need 1 to ${MAX_HEADER_NAME_BYTES} of a-z, 0-9 and -`,
    );
  }
  const bytes = Uint8Array.from(`${name}: `, (character) => character.charCodeAt(0));
  return { name, bytes, special: specialOf(name), index };
}

/**
 * Writes header lines, sorted by name, and returns the position after the last one. Bytes beyond
 * the end of the buffer are dropped: the caller checks the position against the limit.
 *
 * @param into Where to write.
 * @param at Where the first line starts.
 * @param headers The caller's headers, which are not changed.
 * @param base Headers that are put over the caller's.
 * @param framing What the body asks for, or `undefined` to send the headers as they are.
 */
export function formatHeaderLines(
  into: Uint8Array,
  at: number,
  headers: HeaderDict,
  base: HeaderDict | null,
  framing: Framing | undefined,
  context: HeaderContext,
): number {
  const names = Object.keys(headers);
  const values: unknown[] = Object.values(headers);
  if (base !== null) putOver(base, names, values);
  addFraming(framing, names, values);
  const lines = planFor(names);
  let present = 0;
  for (let n = 0; n < lines.length; n++) {
    const { name, bytes, special, index } = lines[n]!;
    let value = values[index];
    if (special !== 0) {
      present |= special;
      checkFraming(name, special, value, framing);
      value = formatSpecial(name, special, value);
    }
    at = writeValue(into, writeBytes(into, at, bytes), name, value);
  }
  if (present !== 0) {
    const error = checkPresence(present, context);
    if (error !== null) throw new RangeError(`headers: ${error.message}`);
  }
  return at;
}

function putOver(base: HeaderDict, names: string[], values: unknown[]): void {
  for (const name of Object.keys(base)) {
    const index = names.indexOf(name);
    if (index >= 0) {
      values[index] = base[name];
    } else {
      names.push(name);
      values.push(base[name]);
    }
  }
}

/** Adds the header that the body asks for, unless the caller gave it. */
function addFraming(framing: Framing | undefined, names: string[], values: unknown[]): void {
  if (framing === null || framing === undefined) return;
  const name = framing === "chunked" ? "transfer-encoding" : "content-length";
  if (names.includes(name)) return;
  names.push(name);
  values.push(framing);
}

function writeValue(into: Uint8Array, at: number, name: string, value: unknown): number {
  if (typeof value !== "string") {
    throw new TypeError(`headers["${name}"]: need a string; got ${typeName(value)}`);
  }
  const length = value.length;
  if (length === 0) throw new RangeError(`headers["${name}"]: need at least one character`);
  for (let i = 0; i < length; i++) {
    const code = value.charCodeAt(i);
    if (VALUE[code] !== 1) {
      throw new RangeError(
        `headers["${name}"]: bad character in ${quoteValue(name, value)}: ${
          quote(value.charAt(i))
        } is not one of the letters and digits of ASCII, the space and ` +
          "- + . : _ ~ % & = / ? \" ' ( ) * , ; < > [ ]; encodeURIComponent() makes text of these",
      );
    }
    into[at + i] = code;
  }
  into[at + length] = CR;
  into[at + length + 1] = LF;
  return at + length + 2;
}

/** A framing header that the caller gives must say what the body says. */
function checkFraming(name: string, special: number, value: unknown, framing?: Framing): void {
  if (framing === undefined || !(special & (CONTENT_LENGTH | TRANSFER_ENCODING))) return;
  if (framing === null) {
    throw new RangeError(`headers["${name}"]: there is no body that it could describe`);
  }
  const fits = special === CONTENT_LENGTH ? typeof value === "number" : typeof value === "string";
  if (!fits) {
    const wanted = special === CONTENT_LENGTH ? "number" : "string";
    throw new TypeError(`headers["${name}"]: need a ${wanted}; got ${typeName(value)}`);
  }
  if (value !== framing) {
    const body = framing === "chunked" ? "is chunked" : `has ${framing} bytes`;
    throw new RangeError(`headers["${name}"]: ${quote(String(value))}, but the body ${body}`);
  }
}

function formatSpecial(name: string, special: number, value: unknown): unknown {
  if (special === TRANSFER_ENCODING) {
    if (typeof value !== "string" || value === "chunked") return value;
    throw new RangeError(`headers["${name}"]: need "chunked"; got ${quote(value)}`);
  }
  if (special === CONTENT_LENGTH) {
    if (typeof value !== "number") {
      throw new TypeError(`headers["${name}"]: need a number; got ${typeName(value)}`);
    }
    if (Number.isSafeInteger(value) && value >= 0 && !Object.is(value, -0)) return String(value);
    throw new RangeError(
      `headers["${name}"]: need an integer from 0 to ${MAX_LENGTH}; got ${value}`,
    );
  }
  const fits = special === RANGE ? isRange(value) : isContentRange(value);
  if (!fits) {
    const wanted = special === RANGE ? "Range" : "ContentRange";
    throw new TypeError(`headers["${name}"]: need a ${wanted}; got ${typeName(value)}`);
  }
  // Formatted from a parse of itself: an object that only claims to be a range can't send more.
  const text = String(value);
  try {
    return String(special === RANGE ? parseRange(text) : parseContentRange(text));
  } catch (error) {
    throw new RangeError(`headers["${name}"]: ${(error as Error).message}`);
  }
}
