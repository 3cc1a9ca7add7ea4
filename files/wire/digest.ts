/**
 * The SHA-256 digests of whole files: a cache, and the headers `repr-digest` and `want-repr-digest`
 * (RFC 9530).
 *
 * Only this module depends on the algorithm: its name in headers, its function, its length,
 * and the form of its digits. The other modules of files/ treat a `sha256` as an opaque value.
 *
 * Both headers are dictionaries of structured fields (RFC 9651 §3.2), of which only `sha-256` is
 * read.
 */

import type { HeadersToSend } from "../../base.ts";
import { notAllowedError } from "../../internal/checks.ts";
import { evictOldest } from "../../internal/collections.ts";
import { quote } from "../../internal/quote.ts";
import { createHash, type Hash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import {
  type FileStats,
  fileVersionOf,
  isOverwritten,
  isSettled,
  isUnchanged,
  type OpenFile,
  readPieces,
  statOpenFile,
} from "../disk/file_pieces.ts";

/** The key of SHA-256 in a dictionary (RFC 9530 §7.2). */
const SHA256 = "sha-256";
export const SHA256_BYTES = 32;
/** A digest of any algorithm. */
const DIGEST_MEMBER = /^ *([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/]*={0,2}): *$/;
const SHA256_BASE64 = /^[A-Za-z0-9+/]{43}=$/;
const WANTED_MEMBER = /^ *sha-256=(?:[1-9]|10) *$/;
export const SHA256_HEX = /^[0-9a-f]{64}$/;

export function makeHash(): Hash {
  return createHash("sha256");
}

export function hashContent(content: Uint8Array): string {
  return makeHash().update(content).digest("hex");
}

/** The result must stay the same in every release. */
export function hashText(text: string): string {
  return makeHash().update(text).digest("hex");
}

export async function hashPrefix(
  file: Deno.FsFile | FileHandle,
  stop: number,
  makeTooShortError: () => Error,
  signal: AbortSignal | undefined,
): Promise<Hash> {
  const prefix = { hash: makeHash(), position: 0 };
  await continueHash(prefix, file, stop, makeTooShortError, signal);
  return prefix.hash;
}

interface PrefixHash {
  readonly hash: Hash;
  position: number;
}

async function continueHash(
  prefix: PrefixHash,
  file: Deno.FsFile | FileHandle,
  stop: number,
  makeTooShortError: () => Error,
  signal: AbortSignal | undefined,
): Promise<void> {
  const pieces = readPieces(file, prefix.position, stop, makeTooShortError, { isPooled: true });
  for await (const piece of pieces) {
    signal?.throwIfAborted();
    prefix.hash.update(piece);
    prefix.position += piece.length;
  }
}

/** A request for SHA-256, with the largest preference (RFC 9530 §4). */
export const WANT_SHA256 = `${SHA256}=10`;

export function parseReprDigest(value: string): string | null {
  const members = value.split(",").map((member) => DIGEST_MEMBER.exec(member));
  const [digest, ...others] = members.filter((member) => member?.[1] === SHA256);
  const areDigests = members.every((member) => member !== null);
  if (areDigests && digest === undefined) return null;
  const base64 = digest?.[2] ?? "";
  if (areDigests && others.length === 0 && SHA256_BASE64.test(base64)) {
    const bytes = Uint8Array.fromBase64(base64);
    // Otherwise, unused bits of the last digit are set.
    if (bytes.toBase64() === base64) return bytes.toHex();
  }
  throw notAllowedError("repr-digest", `${quote(value)} does not have the form of RFC 9530`);
}

export function formatReprDigest(sha256: string): string {
  return `${SHA256}=:${Uint8Array.fromHex(sha256).toBase64()}:`;
}

export function makeDigestHeader(sha256: string | null): HeadersToSend {
  return sha256 === null ? {} : { "repr-digest": formatReprDigest(sha256) };
}

export function isDigestRequested({ "want-repr-digest": value }: HeadersToSend): boolean {
  return typeof value === "string" &&
    value.split(",").some((member) => WANTED_MEMBER.test(member));
}

/** The maximum number of cached digests, so that a large directory can't fill the memory. */
const MAX_CACHED_DIGESTS = 10_000;
const MAX_INTERRUPTED_HASHES = 100;

/** Deno rounds inodes above 2⁵³, so the version alone is not unique. */
function cacheKeyOf({ path, stats }: Pick<OpenFile, "path" | "stats">): string {
  return `${fileVersionOf(stats)} ${path}`;
}

export class DigestCache {
  readonly #digests = new Map<string, string>();
  readonly #interruptedHashes = new Map<string, PrefixHash>();

  find(file: Pick<OpenFile, "path" | "stats">): string | null {
    return this.#digests.get(cacheKeyOf(file)) ?? null;
  }

  /**
   * If the file changed just before it was opened, the digest is not cached: a later change could
   * have the same times.
   */
  add(file: Pick<OpenFile, "path" | "stats" | "checkedAt">, digest: string): void {
    if (!isSettled(file.stats, file.checkedAt)) return;
    this.#digests.set(cacheKeyOf(file), digest);
    evictOldest(this.#digests, MAX_CACHED_DIGESTS);
  }

  async findOrCompute(file: OpenFile, signal?: AbortSignal): Promise<string | null> {
    return this.find(file) ?? await this.#compute(file, file.size, false, signal);
  }

  async computePrefix(
    file: OpenFile,
    length: number,
    signal?: AbortSignal,
  ): Promise<string | null> {
    if (length > file.size) return null;
    const cachedDigest = length === file.size ? this.find(file) : null;
    return cachedDigest ?? await this.#compute(file, length, true, signal);
  }

  /**
   * After an abort, the next call for the same version of the file continues, so that a client
   * whose requests time out doesn't start a long hash each time.
   */
  async hashPrefix(
    file: Deno.FsFile | FileHandle,
    stats: FileStats,
    stop: number,
    makeTooShortError: () => Error,
    signal: AbortSignal | undefined,
  ): Promise<Hash> {
    const version = fileVersionOf(stats);
    // Deno rounds inodes above 2⁵³, so two files could have one version.
    const isVersionKnown = isSettled(stats, Date.now()) && Number.isSafeInteger(stats.ino);
    const interruptedHash = this.#interruptedHashes.get(version);
    // A simultaneous call must not continue the same hash.
    this.#interruptedHashes.delete(version);
    const prefix = interruptedHash !== undefined && interruptedHash.position <= stop
      ? interruptedHash
      : { hash: makeHash(), position: 0 };
    try {
      await continueHash(prefix, file, stop, makeTooShortError, signal);
      return prefix.hash;
    } catch (error) {
      if (signal?.aborted && isVersionKnown) {
        this.#interruptedHashes.set(version, prefix);
        evictOldest(this.#interruptedHashes, MAX_INTERRUPTED_HASHES);
      }
      throw error;
    }
  }

  async #compute(
    file: OpenFile,
    length: number,
    mayGrow: boolean,
    signal?: AbortSignal,
  ): Promise<string | null> {
    const tooShortError = new Error();
    try {
      const { handle, stats, path } = file;
      const hash = await this.hashPrefix(handle, stats, length, () => tooShortError, signal);
      const currentStats = statOpenFile(handle.fd);
      const isSame = isUnchanged(stats, currentStats);
      if (!isSame && !(mayGrow && !isOverwritten(stats, currentStats, path))) return null;
      const digest = hash.digest("hex");
      if (isSame && length === file.size) this.add(file, digest);
      return digest;
    } catch (error) {
      if (error === tooShortError) return null;
      throw error;
    }
  }
}
