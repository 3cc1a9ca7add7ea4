/** Formatting and parsing of bundles, as a client does. */

import { assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import type { Response } from "@degu/degu/base";
import {
  BUNDLE_END,
  BUNDLE_TYPE,
  type BundleFormat,
  BundleParser,
  formatRecord,
  PUT_RESPONSE,
  type PutRecord,
} from "@degu/internal/files/wire/bundle.ts";
import { concat } from "@degu/testing/streams.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";

/** Returns the SHA-256 of bytes, as hexadecimal digits. */
export function sha256Of(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** A record of a bundle to send: a file with its content, or a directory. */
export type SentRecord = readonly [
  path: string,
  content: string | Uint8Array | null,
  extraFields?: object,
];

/** Formats a record; `extraFields` replaces fields of its line. */
export function makeRecord([path, content, extraFields = {}]: SentRecord): Uint8Array<ArrayBuffer> {
  const names = path.split("/");
  const bytes = typeof content === "string" ? encodeLatin1(content) : content ?? new Uint8Array(0);
  const file = { path: names, size: bytes.length, modified: new Date(0), sha256: sha256Of(bytes) };
  const record = content === null ? { path: names, kind: "directory" } : file;
  return concat([encode(formatRecord({ ...record, ...extraFields } as PutRecord)), bytes]);
}

export function makeBundle(
  records: readonly SentRecord[],
  end = BUNDLE_END,
): Uint8Array<ArrayBuffer> {
  return concat([...records.map(makeRecord), encode(end)]);
}

/** Parses a whole bundle in pieces of `length` bytes, each overwritten before the next piece. */
export function parseBundle<R>(
  format: BundleFormat<R>,
  bytes: Uint8Array,
  length = 777,
): { record: R; content: Uint8Array }[] {
  const parser = new BundleParser(format);
  const parsedRecords: { record: R; content: Uint8Array }[] = [];
  for (let position = 0; position < bytes.length; position += length) {
    const piece = bytes.slice(position, position + length);
    for (const { record, content } of parser.push(piece)) {
      parsedRecords.push({ record, content: content.slice() });
    }
    piece.fill(0);
  }
  parser.checkEnd();
  return parsedRecords;
}

export async function readRecords<R>(format: BundleFormat<R>, { status, headers, body }: Response) {
  assertEquals([status, headers["content-type"]], [200, BUNDLE_TYPE]);
  return parseBundle(format, await body!.bytes());
}

/** Reads the statuses in a response to `bundle=put`, or returns a status other than 200. */
export async function readPutStatuses(response: Response): Promise<number | number[]> {
  if (response.status === 200) {
    return (await readRecords(PUT_RESPONSE, response)).map(({ record }) => record.status);
  }
  await response.body?.bytes();
  return response.status;
}

function encode(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}
