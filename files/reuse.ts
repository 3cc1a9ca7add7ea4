/**
 * The reuse of bytes that the target has already, as the prefix of another file or of an older
 * version, its basis: the headers of both sides, and the copying at the target.
 *
 * A server that takes part says in the answers to a list and to HEAD which path the directory or
 * file has below its root, by the header `reuse`. A client compares the digest of a beginning
 * (`digest-length`), and then sends only the rest, with the path and the length of what is copied.
 */

import type { FileHandle } from "node:fs/promises";
import type { Hash } from "node:crypto";
import type { HeaderDict } from "../base.ts";
import { parseDecimal } from "../base/wire/character_tables.ts";
import type { TemporaryFile } from "../internal/disk/temporary.ts";
import { readPieces } from "./file_pieces.ts";
import { fileUri, namesOf } from "./file_name.ts";

/** The minimum number of reused bytes: to send fewer takes less time than to compare them. */
export const MIN_REUSED_BYTES = 65536;

/** Whether a file may be an earlier version of another one, which has only grown. */
export function isGrown(
  basis: { readonly size: number; readonly modified: number },
  file: { readonly size: number; readonly modified: number },
): boolean {
  return basis.size >= MIN_REUSED_BYTES && basis.size < file.size &&
    basis.modified < file.modified;
}

/** A file of the target, of which a prefix may be copied. */
export interface Basis {
  /** The URI of the file for requests. */
  readonly uri: string;
  /** The path of the file below the root of its app, escaped as in a URI. */
  readonly path: string;
  /** In bytes. */
  readonly length: number;
}

/** The header that asks a server to copy a prefix. */
export function reuseHeader({ path, length }: Basis): HeaderDict {
  return { reuse: `"${path}";length=${length}` };
}

/** The header with the path of a file or directory below the root of its app. */
export function rootPathHeader(names: readonly string[], isDirectory: boolean): HeaderDict {
  return { reuse: fileUri(...names, ...isDirectory ? [""] : []) };
}

/** The path below the root that a server has sent; `null` if the server reuses no bytes. */
export function rootPathOf(reuse: unknown): string | null {
  return typeof reuse === "string" && /^\/[!#-~]*$/.test(reuse) ? reuse : null;
}

/** The prefix that a request asks the server to copy. */
export interface Reused {
  /** The names of a file; `null` if no file can have them. */
  readonly names: string[] | null;
  /** How many bytes of it. */
  readonly length: number;
}

/** Reads what is to be copied; `null` if the value is not valid. */
export function parseReuse(value: string): Reused | null {
  const [, path = "", digits = ""] = /^"\/([!#-~]*)";length=(\d+)$/.exec(value) ?? [];
  const length = parseDecimal(digits);
  return length <= 0 ? null : { names: namesOf(path.split("/")), length };
}

/** Copies a prefix of a file to another file, which is at that position then. */
export async function copyPrefix(
  from: FileHandle,
  to: TemporaryFile,
  { length, hash, signal, makeReadError }: {
    readonly length: number;
    /** Hashes the bytes. */
    readonly hash: Hash;
    readonly signal: AbortSignal | undefined;
    /** Makes the error for a file that ends, or can't be read, before the end of the prefix. */
    readonly makeReadError: (error?: unknown) => Error;
  },
): Promise<void> {
  await to.continueFrom(0);
  try {
    for await (const piece of readPrefix(from, length, makeReadError)) {
      signal?.throwIfAborted();
      hash.update(piece);
      await to.write(piece);
    }
  } finally {
    await to.idle();
  }
}

async function* readPrefix(
  file: FileHandle,
  length: number,
  makeReadError: (error?: unknown) => Error,
): AsyncGenerator<Uint8Array, void, void> {
  try {
    yield* readPieces(file, 0, length, makeReadError);
  } catch (error) {
    throw makeReadError(error);
  }
}
