/**
 * The reuse of bytes that the target already has, as the prefix of a basis file: another file, or
 * an older version of the same file. This module has the headers of both sides, and copies the
 * prefix at the target.
 *
 * If a server reuses bytes, its responses to a list and to HEAD have the header `reuse` with the
 * path of the directory or file below its root. A client compares the digest of a prefix
 * (`digest-length`), and then sends only the remaining bytes, with the path of the basis file and
 * the length of the prefix.
 */

import type { FileHandle } from "node:fs/promises";
import type { Hash } from "node:crypto";
import type { HeadersToSend } from "../../base.ts";
import { parseDecimal } from "../../internal/decimal.ts";
import type { TemporaryFile } from "../disk/temporary.ts";
import { readPieces } from "../disk/file_pieces.ts";
import { fileUri, parseFilePath } from "./file_name.ts";

/** The minimum length of a reused prefix: sending fewer bytes is faster than comparing them. */
export const MIN_REUSED_BYTES = 65536;

export function isGrown(
  basis: { readonly size: number; readonly modified: number },
  file: { readonly size: number; readonly modified: number },
): boolean {
  return basis.size >= MIN_REUSED_BYTES && basis.size < file.size &&
    basis.modified < file.modified;
}

export interface Basis {
  readonly uri: string;
  /** The path of the file below the root of its app, percent-encoded as in a URI. */
  readonly path: string;
  readonly length: number;
}

export function makeReuseHeader({ path, length }: Basis): HeadersToSend {
  return { reuse: `"${path}";length=${length}` };
}

export function makeRootPathHeader(names: readonly string[], isDirectory: boolean): HeadersToSend {
  return { reuse: fileUri(...names, ...isDirectory ? [""] : []) };
}

export function parseRootPathHeader(reuse: unknown): string | null {
  return typeof reuse === "string" && /^\/[!#-~]*$/.test(reuse) ? reuse : null;
}

export interface ReusedPrefix {
  /** The names from the root to the file; `null` if one of them can't be the name of a file. */
  readonly names: string[] | null;
  readonly length: number;
}

export function parseReuse(value: string): ReusedPrefix | null {
  const [, path = "", digits = ""] = /^"(\/[!#-~]*)";length=(\d+)$/.exec(value) ?? [];
  const length = parseDecimal(digits);
  return length <= 0 ? null : { names: parseFilePath(path), length };
}

/** Copies the first bytes of a file to `target`, whose position is then the end of these bytes. */
export async function copyPrefix(
  source: FileHandle,
  target: TemporaryFile,
  { length, hash, signal, readError }: {
    readonly length: number;
    readonly hash: Hash;
    readonly signal: AbortSignal | undefined;
    readonly readError: (error?: unknown) => Error;
  },
): Promise<void> {
  await target.continueFrom(0);
  try {
    for await (const piece of readPrefix(source, length, readError)) {
      signal?.throwIfAborted();
      hash.update(piece);
      await target.write(piece);
    }
  } finally {
    await target.waitUntilIdle();
  }
}

async function* readPrefix(
  file: FileHandle,
  length: number,
  readError: (error?: unknown) => Error,
): AsyncGenerator<Uint8Array, void, void> {
  try {
    yield* readPieces(file, 0, length, readError, { isPooled: true });
  } catch (error) {
    throw readError(error);
  }
}
