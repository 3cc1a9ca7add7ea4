/**
 * Formats header lines; refuses what a reader would reject.
 *
 * @module
 */

import { writeBytes } from "../bytes.ts";
import { checkInteger, checkString, wrongType } from "../checks.ts";
import { quote } from "../errors.ts";
import {
  checkPresence,
  CONTENT_LENGTH_BIT,
  type Framing,
  type HeaderContext,
  type HeaderDict,
  RANGE_BIT,
  specialOf,
  TRANSFER_ENCODING_BIT,
} from "./headers.ts";
import { quoteValue } from "../inspect.ts";
import { MAX_HEADER_NAME_BYTES, MAX_LENGTH, MAX_PREAMBLE_BYTES } from "./limits.ts";
import { isContentRange, isRange, parseContentRange, parseRange } from "./range.ts";
import { allows, NAME_LOWER, VALUE } from "./tables.ts";

const CR = 0x0d, LF = 0x0a;

/** Throws a `TypeError` unless the value is a dictionary of headers. */
export function checkHeaderDict(headers: HeaderDict, label = "headers"): void {
  if (typeof headers === "object" && headers !== null) {
    const prototype = Object.getPrototypeOf(headers);
    if (prototype === null || prototype === Object.prototype) return;
  }
  throw wrongType(label, "a plain object", headers);
}

/** The label of one header in errors: `headers["content-type"]`. */
function itemLabel(label: string, name: string): string {
  return `${label}[${quote(name)}]`;
}

/** Headers for which a client has a separate option. */
const OPTIONS: readonly string[] = ["host", "authorization"];

/**
 * Checks headers that a client sends with every request: names and values, and that none of them has a
 * separate option or describes a single message.
 *
 * @throws {TypeError} if they are not a dictionary, or a value is not a string.
 * @throws {RangeError} if a name or a value can't be sent, or a header is not allowed here.
 */
export function checkBaseHeaders(headers: HeaderDict): void {
  checkHeaderDict(headers);
  let size = 0;
  for (const [name, value] of Object.entries(headers)) {
    const { bytes, special } = makeLine(name, 0, "headers");
    if (OPTIONS.includes(name)) {
      throw new RangeError(`headers["${name}"]: must be given as the option ${name}`);
    }
    if (special !== 0) {
      throw new RangeError(
        `headers["${name}"]: is for one message, and can't be sent with every request`,
      );
    }
    const room = new Uint8Array(typeof value === "string" ? value.length + 2 : 0);
    const end = writeValue(room, 0, value);
    if (end < 0) throw badValue("headers", name, value);
    size += bytes.length + end;
  }
  if (size > MAX_PREAMBLE_BYTES) {
    throw new RangeError(
      `headers: must fit in a preamble of ${MAX_PREAMBLE_BYTES} bytes; got ${size} bytes`,
    );
  }
}

/** A header line to be written, without its value. */
interface Line {
  readonly name: string;
  /** The bytes of the name, with the colon and the space. */
  readonly bytes: Uint8Array;
  readonly special: number;
  /** The index of its name, in the order in which the names were given. */
  readonly index: number;
}

/** What is known about one set of names. */
interface Plan {
  readonly names: readonly string[];
  /** By name in byte order. */
  readonly lines: readonly Line[];
}

// An app sends the same few sets of names again and again: comparing them with the previous set is faster
// than checking and sorting them.
const PLAN_SLOTS = 32;
const plans = new Array<Plan | undefined>(PLAN_SLOTS).fill(undefined);

function planFor(names: readonly string[], label: string): readonly Line[] {
  const count = names.length;
  const slot = count & (PLAN_SLOTS - 1);
  const plan = plans[slot];
  if (plan !== undefined && plan.names.length === count) {
    let i = 0;
    while (i < count && names[i] === plan.names[i]) i++;
    if (i === count) return plan.lines;
  }
  const lines = names.map((name, index) => makeLine(name, index, label))
    .sort((a, b) => a.name < b.name ? -1 : 1);
  if (count < PLAN_SLOTS) plans[slot] = { names, lines };
  return lines;
}

function makeLine(name: string, index: number, label: string): Line {
  if (name.length === 0 || name.length > MAX_HEADER_NAME_BYTES || !allows(NAME_LOWER, name)) {
    throw new RangeError(
      `${itemLabel(label, name)}: the name must be 1 to ${MAX_HEADER_NAME_BYTES} of the ` +
        "characters a-z, 0-9 and -",
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
 * @param base Headers that override the caller's.
 * @param framing The framing that the body requires, or `undefined` to send the headers as they are.
 * @param label The name of the headers in errors.
 */
export function formatHeaderLines(
  into: Uint8Array,
  at: number,
  headers: HeaderDict,
  base: HeaderDict | null,
  framing: Framing | undefined,
  context: HeaderContext,
  label = "headers",
): number {
  const names: string[] = [];
  const values: unknown[] = [];
  for (const name in headers) {
    if (!Object.hasOwn(headers, name)) continue;
    names.push(name);
    values.push(headers[name]);
  }
  if (base !== null) putOver(base, names, values);
  addFraming(framing, names, values);
  const lines = planFor(names, label);
  let present = 0;
  for (let n = 0; n < lines.length; n++) {
    const { name, bytes, special, index } = lines[n]!;
    let value = values[index];
    if (special !== 0) {
      present |= special;
      checkFraming(name, special, value, framing, label);
      value = formatSpecial(name, special, value, label);
    }
    at = writeValue(into, writeBytes(into, at, bytes), value);
    if (at < 0) throw badValue(label, name, value);
  }
  if (present !== 0) {
    const error = checkPresence(present, context);
    if (error !== null) throw new RangeError(`${label}: ${error.message}`);
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

/** Adds the header that the body requires, unless the caller gave it. */
function addFraming(framing: Framing | undefined, names: string[], values: unknown[]): void {
  if (framing === null || framing === undefined) return;
  const name = framing === "chunked" ? "transfer-encoding" : "content-length";
  if (names.includes(name)) return;
  names.push(name);
  values.push(framing);
}

/**
 * Writes the value of a header and CR LF; returns the position after them, or -1 if the value can't be sent. Making the
 * error here would make the loop slower by an eighth.
 */
function writeValue(into: Uint8Array, at: number, value: unknown): number {
  if (typeof value !== "string" || value === "") return -1;
  const length = value.length;
  for (let i = 0; i < length; i++) {
    const code = value.charCodeAt(i);
    if (VALUE[code] !== 1) return -1;
    into[at + i] = code;
  }
  into[at + length] = CR;
  into[at + length + 1] = LF;
  return at + length + 2;
}

/** The error for a value that can't be sent. */
function badValue(label: string, name: string, value: unknown): Error {
  const item = itemLabel(label, name);
  if (typeof value !== "string") return wrongType(item, "a string", value);
  if (value === "") return new RangeError(`${item}: must have at least one character; got ""`);
  const bad = value.split("").find((character) => !allows(VALUE, character))!;
  return new RangeError(
    `${item}: bad character ${quote(bad)} in ${
      quoteValue(name, value)
    }; must be letters and digits ` +
      "of ASCII, spaces and - + . : _ ~ % & = / ? \" ' ( ) * , ; < > [ ]: encodeURIComponent() " +
      "turns any text into these",
  );
}

/** A framing header from the caller must match the body. */
function checkFraming(
  name: string,
  special: number,
  value: unknown,
  framing: Framing | undefined,
  label: string,
): void {
  if (framing === undefined || value === framing) return;
  if (!(special & (CONTENT_LENGTH_BIT | TRANSFER_ENCODING_BIT))) return;
  const item = itemLabel(label, name);
  if (framing === null) throw new RangeError(`${item}: must be left out, as there is no body`);
  if (special === CONTENT_LENGTH_BIT) checkInteger(item, value, 0, MAX_LENGTH);
  else checkString(item, value);
  const body = framing === "chunked" ? "is chunked" : `has ${framing} bytes`;
  throw new RangeError(
    `${item}: must match the body, which ${body}, or be left out; got ${quote(String(value))}`,
  );
}

function formatSpecial(name: string, special: number, value: unknown, label: string): unknown {
  if (special === TRANSFER_ENCODING_BIT) {
    if (typeof value !== "string" || value === "chunked") return value;
    throw new RangeError(`${itemLabel(label, name)}: must be "chunked"; got ${quote(value)}`);
  }
  if (special === CONTENT_LENGTH_BIT) return formatLength(name, value, label);
  const fits = special === RANGE_BIT ? isRange(value) : isContentRange(value);
  if (!fits) {
    const wanted = special === RANGE_BIT ? "a Range" : "a ContentRange";
    throw wrongType(itemLabel(label, name), wanted, value);
  }
  // Formatted from a parse of itself: an object that only claims to be a range can't send more.
  const text = String(value);
  try {
    return String(special === RANGE_BIT ? parseRange(text) : parseContentRange(text));
  } catch (error) {
    throw new RangeError(`${itemLabel(label, name)}: ${(error as Error).message}`);
  }
}

function formatLength(name: string, value: unknown, label: string): string {
  if (Number.isSafeInteger(value) && value as number >= 0 && !Object.is(value, -0)) {
    return String(value);
  }
  const item = itemLabel(label, name);
  checkInteger(item, value, 0, MAX_LENGTH);
  throw new RangeError(`${item}: must be an integer from 0 to ${MAX_LENGTH}; got -0`);
}
