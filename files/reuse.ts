/**
 * The reuse of bytes that the target has already, as the beginning of another file or of an older
 * version: the words of both ends for it, and the copying there.
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

/** The least bytes that are reused: to send fewer takes less time than to compare them. */
export const MIN_REUSED_BYTES = 65536;

/** Whether a file may be the beginning of a later version of it. */
export function isGrown(
  there: { readonly size: number; readonly modified: number },
  now: { readonly size: number; readonly modified: number },
): boolean {
  return there.size >= MIN_REUSED_BYTES && there.size < now.size && there.modified < now.modified;
}

/** The beginning of a file of the target. */
export interface Basis {
  /** The URI of the file for requests. */
  readonly uri: string;
  /** The path of the file below the root of its app, escaped as in a URI. */
  readonly path: string;
  /** In bytes. */
  readonly length: number;
}

/** Asks a server to copy the beginning of a file. */
export function reuseHeader({ path, length }: Basis): HeaderDict {
  return { reuse: `"${path}";length=${length}` };
}

/** Says which path a file or directory has below the root of its app. */
export function rootPathHeader(names: readonly string[], isDirectory: boolean): HeaderDict {
  return { reuse: fileUri(...names, ...isDirectory ? [""] : []) };
}

/** The path that a server has said; `null` if the server does not take part. */
export function rootPathOf(reuse: unknown): string | null {
  return typeof reuse === "string" && /^\/[!#-~]*$/.test(reuse) ? reuse : null;
}

/** What a request wants to be copied. */
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

/** Copies the beginning of a file to an empty one, which is at that position then. */
export async function copyPrefix(
  from: FileHandle,
  to: TemporaryFile,
  { length, hash, signal, makeReadError }: {
    readonly length: number;
    /** Hashes the bytes. */
    readonly hash: Hash;
    readonly signal: AbortSignal | undefined;
    /** Makes the error for a file that can't be read so far, because of an error or its end. */
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
