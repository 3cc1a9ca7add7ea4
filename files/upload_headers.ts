/**
 * The headers that describe an uploaded file.
 *
 * @module
 */

import type { HeaderDict } from "../base/wire/headers.ts";
import { parseDecimal } from "../base/wire/range.ts";
import { parseReprDigest } from "./digest.ts";
import { parseTime } from "./entries.ts";
import { Refusal } from "./refusal.ts";

/** The headers that this app supports with PUT, and with a HEAD that requests the upload offset. */
export interface UploadHeaders {
  /** The SHA-256 of the whole file, in hexadecimal digits. */
  readonly digest: string | null;
  /** When the file was last changed on the client. */
  readonly modified: Date | null;
  /** The position of the first byte of the body in the file. */
  readonly offset: number | null;
  /** Bytes of the whole file. */
  readonly length: number | null;
  /** What the client calls this version of the file, whose digest it does not know yet. */
  readonly version: string | null;
}

/** It is compared with that of an earlier request, and means nothing else here. */
const VERSION = /^[0-9a-f]{1,64}$/;

/**
 * Reads the headers.
 *
 * @throws {Refusal} if one is not valid.
 */
export function readUploadHeaders(headers: HeaderDict): UploadHeaders {
  return {
    digest: read(headers, "repr-digest", parseReprDigest),
    modified: read(headers, "upload-modified", parseModified),
    offset: read(headers, "upload-offset", parseCount),
    length: read(headers, "upload-length", parseCount),
    version: read(headers, "upload-version", parseVersion),
  };
}

function read<T>(headers: HeaderDict, name: string, parse: (value: string) => T): T | null {
  const value = headers[name];
  if (value === undefined) return null;
  try {
    return parse(String(value));
  } catch (error) {
    throw new Refusal(400, `a bad ${name}`, {}, { cause: error });
  }
}

function parseCount(value: string): number {
  const count = parseDecimal(value);
  if (count < 0) throw new RangeError("must be an integer from 0 to 2⁵³ − 1");
  return count;
}

function parseVersion(value: string): string {
  if (!VERSION.test(value)) throw new RangeError("must be 1 to 64 lower-case hexadecimal digits");
  return value;
}

/** ISO 8601 in the form of `toISOString`; milliseconds may be omitted. */
function parseModified(value: string): Date {
  const date = parseTime(value) ?? parseTime(value.replace(/Z$/, ".000Z"));
  if (date === null) throw new RangeError("must be a time of ISO 8601 in UTC");
  return date;
}
