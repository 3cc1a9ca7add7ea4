import { replaceBackslashes } from "../internal/paths.ts";
import { fileURLToPath } from "node:url";
import {
  checkBoolean,
  checkFunction,
  checkOptions,
  checkSignal,
  checkString,
  makeIntegerCheck,
  notAllowedError,
  type OptionChecks,
  wrongArgumentError,
  wrongTypeError,
} from "../internal/checks.ts";
import type { RequestOptions, RetryEvent } from "../client.ts";
import { isSendableTime } from "./wire/conditions.ts";
import type { Basis } from "./wire/reuse.ts";
import type { UnsetProperty } from "./wire/metadata.ts";

/** The bytes of a file that are transferred, resumed and reused so far. */
export interface TransferProgress {
  /** Bytes that the target has so far: the sum of `resumedFrom`, `reused` and `transferred`. */
  readonly done: number;
  /** Bytes of the whole file; for an uploaded stream, the bytes so far. */
  readonly total: number;
  /** Bytes that this call has transferred so far. */
  readonly transferred: number;
  /** Bytes that an earlier call has transferred. */
  readonly resumedFrom: number;
  /** Bytes that the target has copied from a file of its own. */
  readonly reused: number;
}

/** How an upload or download resumes, replaces files, and sets times and permission bits. */
export interface TransferOptions {
  /**
   * Whether to continue the transfer of an earlier call, and to keep the bytes that have arrived if
   * this call is interrupted. With `false` the file is transferred from its first byte, and a
   * download that fails keeps no bytes. A download to a stream then ends with its connection.
   *
   * @default {true}
   */
  resume?: boolean | undefined;
  /** Called at most 10 times a second during the transfer, and once at the end. */
  onProgress?: ((progress: TransferProgress) => void) | undefined;
  /**
   * Aborts the transfer, which rejects with the reason of the signal. The bytes that have arrived
   * are kept, as after any interruption.
   */
  signal?: AbortSignal | undefined;
  /**
   * Whether to replace an existing file. With `false` the call rejects with a `TransferError`
   * `"EXISTS"`, unless the existing file is identical.
   *
   * @default {true}
   */
  replace?: boolean | undefined;
  /**
   * The modification time that the file gets. The default is the time of the source, if the server
   * sends it. An identical file also gets the time, although its bytes are not transferred.
   *
   * @default {the time of the source}
   */
  modified?: Date | undefined;
  /**
   * Whether the file gets the permission bits of the source, minus the bits that the umask of the
   * target removes: a private file stays private, and a program executable. The owner can
   * always read and write the file. With `false` at the client or the server, a new file gets the
   * usual bits, and a replaced file keeps its bits.
   *
   * @default {true}
   */
  modes?: boolean | undefined;
}

/** How a download resumes, and which names and permission bits it uses. */
export interface DownloadOptions extends TransferOptions {
  /**
   * A name for the server, in place of its key or address. A part of a file from one server is
   * resumed from any server with the same name. The digest of the whole file is still verified.
   *
   * @default {the key of the server's authority, or its address}
   */
  serverName?: string | undefined;
  /**
   * The permission bits that the file can get from its source, for example `0o666` if a server that
   * you don't trust must not make it executable. The owner can always read and write the file.
   *
   * @default {0o777}
   */
  modeMask?: number | undefined;
  /**
   * Whether a symbolic link at the path of the file is followed. With `false`, the file replaces
   * the link: use it if another device has chosen the name.
   *
   * @default {true}
   */
  followLink?: boolean | undefined;
  /**
   * Called before a download to a stream continues over another connection. An error that the
   * function throws ends the download.
   */
  onRetry?: ((event: RetryEvent) => void) | undefined;
}

/** The bytes that a transfer has moved, and the digest of the file. */
export interface TransferResult {
  /** Bytes that this call has transferred. */
  readonly bytes: number;
  /** Bytes of the whole file. */
  readonly total: number;
  /** Bytes that an earlier call has transferred. */
  readonly resumedFrom: number;
  /**
   * Bytes that the target has copied from a file of its own: `bytes + resumedFrom +
   * reused` is `total`.
   */
  readonly reused: number;
  /**
   * SHA-256 of the whole file, as 64 lower-case hexadecimal digits; `null` only in an event of a
   * tree, if this call has not read the file.
   */
  readonly sha256: string | null;
  /**
   * The properties of the file that the disk of the target has refused; usually none. The content
   * of the file is complete.
   */
  readonly unset: readonly UnsetProperty[];
}

export interface TransferSettings {
  readonly resume: boolean;
  readonly replace: boolean;
  readonly modes: boolean;
  /** True if the file is written even if the target has an identical file. */
  readonly isRewritten?: boolean;
  readonly replaceableStamp?: string | undefined;
  /**
   * The file of the target that may have a prefix of the source; `null` if no file has a prefix,
   * `undefined` if only the file of the same name may have a prefix.
   */
  readonly basis?: Basis | null;
  /**
   * The time that the file gets; `null` for the time of the source. A copy, because the caller
   * could change its `Date` after the check.
   */
  readonly modified: Date | null;
  readonly onProgress: ((progress: TransferProgress) => void) | undefined;
  /**
   * Called before the first byte is sent, with the numbers of bytes that the target already has.
   */
  readonly onBegin?: (resumedFrom: number, reused: number) => void;
  readonly signal: AbortSignal | undefined;
}

const TRANSFER_CHECKS: OptionChecks<TransferOptions> = {
  resume: checkBoolean,
  onProgress: checkFunction,
  signal: checkSignal,
  replace: checkBoolean,
  modified: checkDate,
  modes: checkBoolean,
};

export const DOWNLOAD_RULE_CHECKS = {
  serverName: checkString,
  modeMask: makeIntegerCheck(0, 0o777),
};

const DOWNLOAD_CHECKS: OptionChecks<DownloadOptions> = {
  ...TRANSFER_CHECKS,
  ...DOWNLOAD_RULE_CHECKS,
  followLink: checkBoolean,
  onRetry: checkFunction,
};

export function checkTransferOptions(options: TransferOptions): TransferSettings {
  return makeTransferSettings(checkOptions(options, TRANSFER_CHECKS));
}

function makeTransferSettings(
  { resume = true, replace = true, modes = true, modified, onProgress, signal }: TransferOptions,
): TransferSettings {
  const modifiedCopy = modified === undefined ? null : new Date(modified);
  return { resume, replace, modes, modified: modifiedCopy, onProgress, signal };
}

export interface DownloadSettings extends TransferSettings, DownloadRules {
  readonly followLink: boolean;
  readonly onRetry: ((event: RetryEvent) => void) | undefined;
}

export function checkDownloadOptions(options: DownloadOptions): DownloadSettings {
  const copy = checkOptions(options, DOWNLOAD_CHECKS);
  const { serverName = null, modeMask = 0o777, followLink = true, onRetry } = copy;
  return { ...makeTransferSettings(copy), serverName, modeMask, followLink, onRetry };
}

export interface DownloadRules {
  readonly serverName: string | null;
  readonly modeMask: number;
}

export function checkRequestOptions(
  options: Pick<RequestOptions, "signal"> = {},
): Pick<RequestOptions, "signal"> {
  return checkOptions(options, { signal: checkSignal });
}

export function checkUnlocked<T extends ReadableStream | WritableStream>(stream: T): T {
  if (!stream.locked) return stream;
  throw wrongArgumentError("file", "must be an unlocked stream; got a locked one");
}

export function pathOf(name: "file" | "dir" | "target", location: string | URL): string {
  const description = `the path of a ${name === "file" ? "file" : "directory"}`;
  const isFileUrl = location instanceof URL && location.protocol === "file:";
  const path = isFileUrl ? fileURLToPath(location) : location;
  if (typeof path !== "string") {
    const otherTypes = name === "file" ? "a file: URL, or a stream" : "or a file: URL";
    throw wrongTypeError(name, `${description}, ${otherTypes}`, path);
  }
  if (path === "" || path.includes("\0")) {
    throw notAllowedError(name, `must be ${description}, without NUL bytes`);
  }
  return replaceBackslashes(path);
}

function checkDate(label: string, date: Date): void {
  if (!(date instanceof Date)) throw wrongTypeError(label, "a Date", date);
  if (isSendableTime(new Date(date).getTime())) return;
  throw notAllowedError(label, "must be a valid date in the years 0 to 9999");
}

export class Throttle {
  readonly #minMilliseconds: number;
  #reportedAt = performance.now();

  constructor(minMilliseconds = 100) {
    this.#minMilliseconds = minMilliseconds;
  }

  claimReport(): boolean {
    const time = performance.now();
    if (time - this.#reportedAt < this.#minMilliseconds) return false;
    this.#reportedAt = time;
    return true;
  }
}

export class ProgressMeter {
  readonly #onProgress: TransferSettings["onProgress"];
  readonly #throttle = new Throttle();
  #bytes = 0;

  constructor(
    { onProgress, onBegin }: Pick<TransferSettings, "onProgress" | "onBegin">,
    readonly total: number,
    readonly resumedFrom: number,
    readonly reused = 0,
  ) {
    onBegin?.(resumedFrom, reused);
    this.#onProgress = onProgress;
    if (this.start > 0) this.#reportProgress();
  }

  get start(): number {
    return this.resumedFrom + this.reused;
  }

  add(count: number): void {
    this.#bytes += count;
    if (this.#onProgress === undefined || this.start + this.#bytes >= this.total) return;
    if (this.#throttle.claimReport()) this.#reportProgress();
  }

  finish(sha256: string, unset: readonly UnsetProperty[] = []): TransferResult {
    const { total, resumedFrom, reused } = this;
    const bytes = this.#bytes = total - this.start;
    this.#reportProgress();
    return { bytes, total, resumedFrom, reused, sha256, unset };
  }

  #reportProgress(): void {
    const { total, resumedFrom, reused } = this;
    const done = this.start + this.#bytes;
    this.#onProgress?.({ done, total, transferred: this.#bytes, resumedFrom, reused });
  }
}
