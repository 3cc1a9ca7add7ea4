/**
 * Options of transfers.
 *
 * @module
 */

import { checkBoolean, checkFunction, wrongType } from "../base/checks.ts";
import { copyOptions } from "../base/options.ts";
import { checkUri } from "../base/wire/uri.ts";
import { checkSignal } from "../net/request_signal.ts";

/** How far a transfer is. */
export interface TransferProgress {
  /** Bytes that have been moved by this call. */
  readonly bytes: number;
  /** Bytes of the whole file. */
  readonly total: number;
  /** Bytes that were there before this call: `resumedFrom + bytes` of `total` are there now. */
  readonly resumedFrom: number;
}

/** How to move a file. */
export interface TransferOptions {
  /**
   * Whether to continue what an earlier call has begun, and to keep what has arrived if this one is
   * cut. With `false` the file is moved from its beginning, and a download that fails leaves nothing.
   *
   * @default {true}
   */
  resume?: boolean | undefined;
  /** Called at most 10 times a second while bytes are moved, and once at the end. */
  onProgress?: ((progress: TransferProgress) => void) | undefined;
  /** Ends the transfer, which rejects with its reason. What has arrived is kept as after any cut. */
  signal?: AbortSignal | undefined;
  /**
   * Whether to compare the SHA-256 of the whole file with that of the other end, before the file gets
   * its name. An upload with `false` can't be resumed.
   *
   * @default {true}
   */
  verify?: boolean | undefined;
  /**
   * Whether a file that is there already is replaced by another one. With `false` a download rejects with
   * `Deno.errors.AlreadyExists`, and an upload with the status 412 unless that is the very same file.
   *
   * @default {true}
   */
  replace?: boolean | undefined;
  /** When the file was last changed, as it is to be recorded where it is moved to; by default now. */
  modified?: Date | undefined;
}

/** What a transfer has done. */
export interface TransferResult {
  /** Bytes that this call has moved. */
  readonly bytes: number;
  /** Bytes of the whole file. */
  readonly total: number;
  /** Bytes that were there before: `bytes + resumedFrom` is `total`. */
  readonly resumedFrom: number;
  /** SHA-256 of the whole file, as 64 lower-case hexadecimal digits; `null` with `verify: false`. */
  readonly sha256: string | null;
}

/** The options of a transfer, checked and with their defaults. */
export interface TransferSettings {
  readonly resume: boolean;
  readonly verify: boolean;
  readonly replace: boolean;
  /** A copy, which does not change after the check. */
  readonly modified: Date | null;
  readonly onProgress: ((progress: TransferProgress) => void) | undefined;
  readonly signal: AbortSignal | undefined;
}

const OPTIONS = ["resume", "onProgress", "signal", "verify", "replace", "modified"];

/**
 * Checks the arguments of a transfer.
 *
 * @throws {TypeError} if an option has the wrong type or is unknown.
 * @throws {RangeError} if a value is not allowed.
 */
export function checkTransfer(
  uri: string,
  file: string,
  options: TransferOptions,
): TransferSettings {
  checkUri(uri);
  checkFile(file);
  const copy = copyOptions(options, OPTIONS);
  const { resume = true, verify = true, replace = true, onProgress, signal, modified } = copy;
  for (const [name, value] of Object.entries({ resume, verify, replace })) {
    checkBoolean(name, value);
  }
  if (onProgress !== undefined) checkFunction("onProgress", onProgress);
  checkSignal(signal);
  return { resume, verify, replace, modified: copyDate(modified), onProgress, signal };
}

function copyDate(modified: Date | undefined): Date | null {
  if (modified === undefined) return null;
  if (!(modified instanceof Date)) throw wrongType("modified", "a Date", modified);
  const copy = new Date(modified);
  if (Number.isNaN(copy.getTime())) throw new RangeError("modified: must be a valid date");
  return copy;
}

function checkFile(file: string): void {
  if (typeof file !== "string") throw wrongType("file", "the path of a file", file);
  if (file === "" || file.includes("\0")) {
    throw new RangeError("file: must be the path of a file, without NUL bytes");
  }
}
