/**
 * The format of bundles: many small files in one message, and their responses.
 *
 * A bundle is a sequence of records and then the line `{"end":true}`. A record is a line of JSON.
 * In a format with contents, the bytes of the file follow a line that has a `size`. A line is
 * exactly the output of `JSON.stringify` and a line feed, so it has no white space, no duplicate
 * keys, and only one representation of each string. An unknown key is refused.
 */

import { quoteName } from "../../internal/quote.ts";
import { parseTime } from "./conditions.ts";
import { SHA256_HEX } from "./digest.ts";
import { LINE_FEED, LineBuffer, lineDecoder, MAX_LINE_BYTES } from "./lines.ts";
import { isUnset, parseMode, type UnsetProperty } from "./metadata.ts";
import { REASON_PATTERN } from "./refusal_reason.ts";

export const BUNDLE_TYPE = "application/vnd.degu.bundle";
/** Only smaller files are bundled, because the reader of a bundle buffers one file. */
export const BUNDLED_BELOW_BYTES = 65536;
/**
 * The maximum length of a line in a request for files. The line of the response has the same path
 * and more keys, and must not be longer than {@linkcode MAX_LINE_BYTES}.
 */
const MAX_PATH_LINE_BYTES = 32768;
/**
 * The maximum number of records of a request, so that one request can't occupy the server
 * indefinitely.
 */
export const MAX_RECORDS = 10_000;
/**
 * The maximum number of consecutive records with the status 102. A server sends one each second.
 * With this limit, a hostile server, or a server whose disk hangs, can't occupy a client
 * indefinitely.
 */
export const MAX_PROGRESS_RECORDS = 120;

const REFUSED_STATUSES = [403, 404, 409, 413, 503] as const;
const PUT_STATUSES = [201, 204, 400, 403, 404, 409, 412, 413, 414, 503, 507] as const;

export type PutStatus = typeof PUT_STATUSES[number];

interface BundledFile {
  /** The names from the directory of the request to the file. */
  readonly path: readonly string[];
  readonly size: number;
  readonly modified: Date;
  readonly sha256: string;
  /**
   * The permission bits, as four octal digits. A response has them only if the client requests
   * them.
   */
  readonly mode?: string;
}

export type GetRecord =
  | BundledFile & { readonly status: 200 }
  | RefusedFile & { readonly path: readonly string[] };

export interface RefusedFile {
  readonly status: typeof REFUSED_STATUSES[number];
  readonly reason?: string | undefined;
}

export interface PutFile extends BundledFile {
  readonly "if-none-match"?: "*";
  /**
   * The version of the file that may be replaced: its size, and its modification time in
   * milliseconds since 1970.
   */
  readonly seen?: readonly [size: number, modified: number];
}

export type PutRecord =
  | PutFile
  | { readonly path: readonly string[]; readonly kind: "directory" };

/** A record of the response to `bundle=put`, in the order of the request. */
export interface PutResponseRecord {
  readonly status: PutStatus;
  readonly reason?: string | undefined;
  /** The properties of a written file that the disk has refused, if any. */
  readonly unset?: readonly UnsetProperty[];
}

/** A record with its bytes, which are valid until the next record is requested. */
export interface ReceivedRecord<R> {
  readonly record: R;
  readonly content: Uint8Array;
}

export class BundleError extends Error {
  override readonly name = "BundleError";

  constructor(message: string, readonly status: 400 | 413 = 400, options?: ErrorOptions) {
    super(message, options);
  }
}

export interface BundleFormat<R> {
  readonly hasContent: boolean;
  readonly parseRecord: (value: Record<string, unknown>) => R | null;
}

export const GET_RESPONSE: BundleFormat<GetRecord> = {
  hasContent: true,
  parseRecord: parseGetRecord,
};
export const DIGEST_RESPONSE: BundleFormat<GetRecord> = {
  hasContent: false,
  parseRecord: parseGetRecord,
};
export const PUT_REQUEST: BundleFormat<PutRecord> = {
  hasContent: true,
  parseRecord: parsePutRecord,
};
export const PUT_RESPONSE: BundleFormat<PutResponseRecord> = {
  hasContent: false,
  parseRecord: (value) => {
    if (value.status === PROGRESS_STATUS && Object.keys(value).length === 1) return null;
    const keys = ["status", ...reasonKeysOf(value), ..."unset" in value ? ["unset"] : []];
    return readRecord(value, keys, PUT_STATUSES);
  },
};

/** The status of a record that belongs to no file: the server is still writing files. */
const PROGRESS_STATUS = 102;

export const PROGRESS_RECORD = `{"status":${PROGRESS_STATUS}}\n`;

const encoder = new TextEncoder();

export function formatRecord(record: GetRecord | PutRecord | PutResponseRecord): string {
  return `${JSON.stringify(record)}\n`;
}

export const BUNDLE_END = '{"end":true}\n';

export function formatBundle(
  records: Iterable<PutRecord | PutResponseRecord>,
): Uint8Array<ArrayBuffer> {
  let text = "";
  for (const record of records) text += formatRecord(record);
  return encoder.encode(text + BUNDLE_END);
}

export const BUNDLE_PIECE_BYTES = 262144;

export class BundleBuffer {
  readonly #bytes = new Uint8Array(BUNDLE_PIECE_BYTES + 2 * MAX_LINE_BYTES);
  length = 0;

  get isFull(): boolean {
    return this.length >= BUNDLE_PIECE_BYTES;
  }

  add(record: GetRecord | PutRecord, content: Uint8Array = new Uint8Array(0)): void {
    this.#addLine(formatRecord(record));
    this.#bytes.set(content, this.length);
    this.length += content.length;
  }

  #addLine(line: string): void {
    this.length += encoder.encodeInto(line, this.#bytes.subarray(this.length)).written;
  }

  /** Returns the added bytes, which are valid until more bytes are added. */
  take(isLast: boolean): Uint8Array {
    if (isLast) this.#addLine(BUNDLE_END);
    const bytes = this.#bytes.subarray(0, this.length);
    this.length = 0;
    return bytes;
  }
}

export function formatPaths(paths: Iterable<readonly string[]>): Uint8Array<ArrayBuffer> {
  let text = "";
  for (const path of paths) text += `${JSON.stringify(path)}\n`;
  return encoder.encode(text);
}

export function* parsePaths(bytes: Uint8Array): Generator<readonly string[], void, void> {
  for (let start = 0, count = 0; start < bytes.length; count++) {
    const stop = bytes.indexOf(LINE_FEED, start);
    if (stop === -1) throw new BundleError("the last line has no line feed");
    if (stop - start >= MAX_PATH_LINE_BYTES) throw new BundleError("a path that is too long");
    const path = parseLine(bytes.subarray(start, stop));
    if (!isPath(path)) throw new BundleError("a line is not the path of a file");
    if (count === MAX_RECORDS) throw new BundleError(`more than ${MAX_RECORDS} lines`, 413);
    yield path;
    start = stop + 1;
  }
}

export class BundleParser<R> {
  readonly #format: BundleFormat<R>;
  readonly #buffer = new LineBuffer();
  /** The record whose content is still being received; `null` if the next bytes are a line. */
  #record: R | null = null;
  #size = 0;
  #progressCount = 0;
  #hasEnded = false;

  constructor(format: BundleFormat<R>) {
    this.#format = format;
  }

  *push(piece: Uint8Array): Generator<ReceivedRecord<R>, void, void> {
    for (let position = 0; position < piece.length;) {
      if (this.#hasEnded) throw new BundleError("bytes follow the end");
      if (this.#record === null) {
        const parsedLine = this.#buffer.takeLine(piece, position, lineTooLongError);
        if (parsedLine === null) return;
        position = parsedLine.nextPosition;
        this.#readLine(parsedLine.line);
      }
      if (this.#record === null) continue;
      const bytes = piece.subarray(position, position + this.#size - this.#buffer.length);
      position += bytes.length;
      if (this.#buffer.length + bytes.length < this.#size) return this.#buffer.add(bytes);
      const record: R = this.#record;
      this.#record = null;
      yield { record, content: this.#buffer.take(bytes) };
    }
  }

  checkEnd(): void {
    if (!this.#hasEnded) throw new BundleError("it ends early");
  }

  #readLine(line: Uint8Array): void {
    const value = parseLine(line);
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new BundleError(`${quoteName(line)} is not an object`);
    }
    const { hasContent, parseRecord } = this.#format;
    if ("end" in value) {
      checkKeys(value, ["end"]);
      if (value.end !== true) throw new BundleError("a bad end");
      this.#hasEnded = true;
      return;
    }
    this.#record = parseRecord(value as Record<string, unknown>);
    this.#progressCount = this.#record === null ? this.#progressCount + 1 : 0;
    if (this.#progressCount > MAX_PROGRESS_RECORDS) {
      throw new BundleError(`more than ${MAX_PROGRESS_RECORDS} records of the status 102`);
    }
    this.#size = hasContent && "size" in value ? value.size as number : 0;
  }
}

function lineTooLongError(): BundleError {
  return new BundleError(`a line has more than ${MAX_LINE_BYTES} bytes`);
}

function parseLine(line: Uint8Array): unknown {
  let text, value;
  try {
    text = lineDecoder.decode(line);
    value = JSON.parse(text);
  } catch (cause) {
    throw new BundleError(`${quoteName(line)} is not JSON`, 400, { cause });
  }
  if (JSON.stringify(value) !== text) {
    throw new BundleError(`${quoteName(line)} is not the shortest form of its JSON`);
  }
  return value;
}

const FILE_KEYS = ["path", "size", "modified", "sha256"];

const FIELD_PARSERS: Readonly<Record<string, (value: unknown) => unknown>> = {
  path: (value) => isPath(value) ? value : null,
  size: (value) => {
    const isSmall = Number.isInteger(value) && value as number >= 0 &&
      value as number < BUNDLED_BELOW_BYTES;
    return isSmall ? value : null;
  },
  modified: parseTime,
  sha256: (value) => typeof value === "string" && SHA256_HEX.test(value) ? value : null,
  mode: (value) => parseMode(value) === null ? null : value,
  kind: (value) => value === "directory" ? value : null,
  reason: (value) => typeof value === "string" && REASON_PATTERN.test(value) ? value : null,
  unset: (value) => isUnset(value) ? value : null,
  "if-none-match": (value) => value === "*" ? value : null,
  seen: (value) => isSizeAndTime(value) ? value : null,
};

function readRecord<R>(
  object: Record<string, unknown>,
  keys: readonly string[],
  statuses: readonly unknown[] = [],
): R {
  checkKeys(object, keys);
  const record: Record<string, unknown> = {};
  for (const key of keys) {
    const fieldValue = object[key];
    const field = key === "status" && statuses.includes(fieldValue)
      ? fieldValue
      : FIELD_PARSERS[key]?.(fieldValue) ?? null;
    if (field === null) throw new BundleError(`a bad ${key}`);
    record[key] = field;
  }
  return record as R;
}

function parseGetRecord(object: Record<string, unknown>): GetRecord {
  const keys = object.status === 200
    ? ["status", ...fileKeysOf(object)]
    : ["status", "path", ...reasonKeysOf(object)];
  return readRecord(object, keys, [200, ...REFUSED_STATUSES]);
}

function parsePutRecord(object: Record<string, unknown>): PutRecord {
  if (object.kind !== undefined) return readRecord(object, ["path", "kind"]);
  const condition = ["if-none-match", "seen"].find((key) => object[key] !== undefined);
  const keys = fileKeysOf(object);
  return readRecord(object, condition === undefined ? keys : [...keys, condition]);
}

function fileKeysOf(value: object): readonly string[] {
  return Object.hasOwn(value, "mode") ? [...FILE_KEYS, "mode"] : FILE_KEYS;
}

function reasonKeysOf(value: object): readonly string[] {
  return Object.hasOwn(value, "reason") ? ["reason"] : [];
}

function checkKeys(value: object, keys: readonly string[]): void {
  const actualKeys = Object.keys(value);
  if (actualKeys.length === keys.length && keys.every((key) => Object.hasOwn(value, key))) return;
  throw new BundleError(
    `a record has the keys ${quoteName(actualKeys.join(" "))}, not ${keys.join(" ")}`,
  );
}

function isSizeAndTime(value: unknown): boolean {
  if (!Array.isArray(value) || value.length !== 2) return false;
  const [size, modified] = value;
  return Number.isSafeInteger(size) && size >= 0 && Number.isInteger(modified) &&
    !Number.isNaN(new Date(modified).getTime());
}

/** Checks only the types: the texts may be invalid as names of files. */
function isPath(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.length > 0 &&
    value.every((name) => typeof name === "string");
}
