/** The conversion of messages between the Fetch standard and this package. */

import { BodyIter } from "../base/body/body.ts";
import { concatenate } from "../internal/bytes.ts";
import { MAX_READ_BYTES } from "../base/wire/limits.ts";
import { notAllowedError } from "../internal/checks.ts";
import { quote } from "../internal/quote.ts";
import { copyRepeatedLines, type HeadersToSend } from "../base/wire/headers.ts";
import {
  findContentRange,
  parseContentRange,
  parseLength,
  parseRange,
} from "../base/wire/range.ts";

/** Statuses whose responses have no body in the Fetch standard. */
export const NULL_BODY_STATUSES: ReadonlySet<number> = new Set([204, 205, 304]);

/**
 * Characters and names that can't be sent are refused later, when the message is formatted.
 *
 * @param status The status of a response; `null` for a request.
 */
export function fromFetchHeaders(headers: Headers, status: number | null): HeadersToSend {
  const dict: HeadersToSend = Object.create(null);
  // Unlike an iteration, `forEach` takes linear time.
  headers.forEach((value, name) => dict[name] = parseHeaderValue(name, value, status));
  // `Headers` joins the values of all names but this one.
  const cookies = headers.getSetCookie();
  if (cookies.length > 0) dict["set-cookie"] = cookies;
  return copyRepeatedLines(headers, dict);
}

function parseHeaderValue(
  name: string,
  value: string,
  status: number | null,
): HeadersToSend[string] {
  if (name === "range") {
    return parseRangeValue(name, value, parseRange, "bytes=0-499, bytes=500- or bytes=-500");
  }
  if (name === "content-range") {
    // Another server's answer that isn't a part keeps what it says.
    if (status !== null && status !== 206) return findContentRange(value) ?? value;
    return parseRangeValue(name, value, parseContentRange, "bytes 0-499/1234");
  }
  if (name !== "content-length") return value;
  const length = parseLength(value);
  if (length < 0) {
    throw notAllowedError(
      'headers["content-length"]',
      `must be a plain number; got ${quote(value)}`,
    );
  }
  return length;
}

function parseRangeValue(
  name: string,
  value: string,
  parse: (value: string) => HeadersToSend[string] | null,
  validForm: string,
): HeadersToSend[string] {
  let range: HeadersToSend[string] | null = null;
  try {
    range = parse(value);
  } catch {
    // The error below names the form.
  }
  if (range !== null) return range;
  throw notAllowedError(
    `headers["${name}"]`,
    `must have the form ${validForm}; got ${quote(value)}`,
  );
}

/**
 * Returns the headers in a form that a `Request` or a `Response` copies in linear time, unlike a
 * `Headers`.
 */
export function toFetchHeaders(dict: HeadersToSend): [name: string, value: string][] {
  const pairs: [name: string, value: string][] = [];
  for (const [name, value] of Object.entries(dict)) {
    for (const item of Array.isArray(value) ? value : [value]) {
      if (item !== undefined) pairs.push([name, String(item)]);
    }
  }
  return pairs;
}

// ───────────────────────── bodies

/**
 * The maximum number of microtasks that an immediate read may take. Text and bytes take two, or
 * four through a `TransformStream`. A read from a file, a socket or a timer takes a tick of the
 * event loop, which follows all microtasks.
 */
const MAX_MICROTASKS = 8;
const MAX_PIECES_AHEAD = 16;

type Stream = ReadableStream<Uint8Array>;

/**
 * Reads a stream ahead if all of its bytes are already available, such as the body of a response
 * with a text.
 */
export async function readAhead(stream: Stream): Promise<readonly Uint8Array[] | Stream> {
  const reader = stream.getReader();
  const pendingReads: Promise<ReadableStreamReadResult<Uint8Array>>[] = [];
  const pieces: Uint8Array[] = [];
  while (pendingReads.length < MAX_PIECES_AHEAD) {
    const pendingRead = reader.read();
    pendingReads.push(pendingRead);
    const result = await settleWithinMicrotasks(pendingRead);
    if (result?.done) return pieces;
    // The consumer of the returned stream rejects an invalid piece.
    if (!(result?.value instanceof Uint8Array)) break;
    pieces.push(result.value);
  }
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await (pendingReads.shift() ?? reader.read());
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  }, { highWaterMark: 0 });
}

async function settleWithinMicrotasks<T>(promise: Promise<T>): Promise<T | null> {
  let result: T | null = null;
  promise.then((value) => result = value, () => {});
  for (let count = 0; count < MAX_MICROTASKS && result === null; count++) await null;
  return result;
}

export function makeBody(pieces: readonly Uint8Array[]): Uint8Array | BodyIter {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  if (length > MAX_READ_BYTES) return new BodyIter(pieces, length);
  return pieces.length === 1 ? pieces[0]! : concatenate(pieces);
}
