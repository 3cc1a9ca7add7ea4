import { DeguError } from "../base.ts";
import type { UnsetProperty } from "./wire/metadata.ts";

/** The outcome of the copying of a tree. */
export interface TreeResult {
  /**
   * True if the target has the content of each file of the source that `filter` includes. False if
   * an entry has failed, a file is pending, a link or a file was skipped, or deletions were
   * skipped. A dry run is complete if a call would neither copy nor delete.
   */
  readonly complete: boolean;
  /** The number of files that were copied. */
  readonly files: number;
  /** The bytes that this call has transferred; in a dry run the bytes that it would transfer. */
  readonly bytes: number;
  /** The bytes that the target has copied from files of its own. */
  readonly reused: number;
  /** The number of files that were the same in source and target. */
  readonly unchanged: number;
  /** The number of files and directories of the target that were deleted. */
  readonly deleted: number;
  /** The number of files that were removed from the source after they were copied, with `move`. */
  readonly moved: number;
  /** The number of files that are still being written, so that only a later call copies them. */
  readonly pending: number;
  /** The number of links, special files, reserved names, and files with odd metadata. */
  readonly skipped: number;
  /** The number of entries that could not be copied, deleted or removed. */
  readonly failed: number;
  /**
   * By property, the number of copied or unchanged files of which the disk of the target has
   * refused the property, and the first path; `null` without such a file. Their content is
   * complete.
   */
  readonly unset: Readonly<
    Record<UnsetProperty, { readonly files: number; readonly first: readonly string[] | null }>
  >;
  /**
   * The reason that superfluous entries of the target were not deleted at the end, with `delete`;
   * `null` in all other cases:
   *
   * - `"incomplete"`: An entry of the source can't be read, or has a name that can't be sent.
   * - `"failed"`: An entry could not be copied.
   * - `"over half"`: The source has only directories and reserved names, as the mount points of
   *   disks that are not mounted, and entries of the target would be deleted. Or more of its files
   *   would be deleted than stay, and more than ten. The call has changed nothing. Not with
   *   `deleteAll`.
   * - `"spelling"`: The target lists an entry of the source by another name, or not at all. Each
   *   superfluous entry of the directory may be this entry, so all of them are kept with their
   *   content. In other directories superfluous entries were deleted.
   */
  readonly deletionsSkipped:
    | "incomplete"
    | "failed"
    | "over half"
    | "spelling"
    | null;
}

/**
 * The reason of a failed transfer. A problem of the target has the same code for uploads and
 * downloads.
 *
 * - `"UNEXPECTED_RESPONSE"`: The response is not from a `FilesApp`: the list, length or digest is
 *   missing or not valid.
 * - `"BAD_LIST"`: The list is not valid, or has an entry with an invalid name, kind, size or time.
 * - `"CHANGED"`: The file changed during the transfer. Another call starts over with the new
 *   version.
 * - `"DIGEST_MISMATCH"`: The received content differs from the source.
 * - `"IN_USE"`: Another transfer to the same target is in progress, or another program has the file
 *   open.
 * - `"EXISTS"`: The target has another file of this name, and `replace` is false.
 * - `"TARGET_CHANGED"`: The file of the target changed after the call had read its metadata. The
 *   target keeps the file.
 * - `"IN_THE_WAY"`: The target has an entry of another kind with this name, or a file or a link
 *   with the name of a parent directory.
 * - `"SAME_NAME"`: The disk of the target treats two names as one, for example because it ignores
 *   case.
 * - `"ONLY_ADDS"`: The server only adds files. Existing files can't be replaced or deleted.
 * - `"NO_DELETIONS"`: The server refuses deletions, because they were not tested on its operating
 *   system.
 * - `"OVER_HALF"`: The source of a tree has no files, or more files would be deleted than stay, and
 *   `deleteAll` is false.
 * - `"DISK_FULL"`: A disk has too little space, or its quota is exceeded; `at` names the device.
 * - `"OTHER_DISK"`: The target is on a file system that is mounted below the directory of the
 *   server, and the server can't store unfinished files there, for example because the file system
 *   is read-only.
 * - `"ROOT_GONE"`: The directory that the server serves is missing, for example because its disk is
 *   not mounted. The error is transient.
 * - `"UNREADABLE"`: An entry of the source tree can't be read.
 * - `"BAD_METADATA"`: The file has more than 2⁵³ − 1 bytes. Or its size is 0, although it has
 *   content.
 * - `"BAD_NAME"`: An entry of a tree has a name that can't be sent. Or the disk of the target can't
 *   hold the name, or interprets it in another way; `nameProblem` has the reason.
 * - `"INCOMPLETE"`: An entry of a tree has failed, or deletions were skipped; the other entries
 *   were copied. The error has the result. The error is transient if all failures were transient.
 */
export type TransferErrorCode =
  | "UNEXPECTED_RESPONSE"
  | "BAD_LIST"
  | "CHANGED"
  | "DIGEST_MISMATCH"
  | "IN_USE"
  | "EXISTS"
  | "TARGET_CHANGED"
  | "IN_THE_WAY"
  | "SAME_NAME"
  | "ONLY_ADDS"
  | "NO_DELETIONS"
  | "OVER_HALF"
  | "DISK_FULL"
  | "OTHER_DISK"
  | "ROOT_GONE"
  | "UNREADABLE"
  | "BAD_METADATA"
  | "BAD_NAME"
  | "INCOMPLETE";

/**
 * The error of a failed transfer whose reason is neither the connection nor an argument. If the
 * reason is the status of a response, the `cause` is a {@linkcode StatusError}. If no code
 * describes the status, the call throws the {@linkcode StatusError} itself.
 *
 * @example
 * ```ts
 * import { Client, Response, Server } from "@degu/degu";
 * import { download, TransferError } from "@degu/degu/files";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * const app = () => new Response(200, "OK", {}, null);
 * await using server = await Server.start(["127.0.0.1", 0], app);
 * const client = new Client(server.address);
 * const downloading = () => download(client, "/none", `${dir}/copy`);
 * const error = await assertRejects(downloading, TransferError);
 * assertEquals(error.code, "UNEXPECTED_RESPONSE");
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export class TransferError extends DeguError {
  /** The name of the class. */
  override readonly name: string = "TransferError";
  /** The reason in capitals, for example `"CHANGED"`; stable, unlike the message. */
  override readonly code: TransferErrorCode;
  /**
   * The device whose disk is full: `"local"` is this device, `"remote"` the server; `null` for
   * other codes than `"DISK_FULL"`.
   */
  readonly at: "local" | "remote" | null;
  /**
   * The bytes that the file still needs on the disk, if the disk has too little space for the file
   * and the call sent no byte; 0 if the bytes would fit, and no more files do; otherwise `null`.
   * Smaller files may still fit.
   */
  readonly needed: number | null;
  /** The free bytes of the disk that has too little space; `null` if the number is unknown. */
  readonly free: number | null;
  /**
   * The part of a download on a full disk, from which the next call resumes; otherwise `null`. The
   * `path` of the part is next to the target; `bytes` is the number of received bytes.
   */
  readonly kept: { readonly path: string; readonly bytes: number } | null;
  /**
   * Why the disk of the target can't hold the name, for example `"is reserved by Windows"`; `null`
   * for other errors.
   */
  readonly nameProblem: string | null;
  /** The result of an `"INCOMPLETE"` call; otherwise `null`. */
  readonly result: TreeResult | null;

  /** @internal */
  constructor(
    code: TransferErrorCode,
    message: string,
    options?: ErrorOptions & {
      problem?: string | undefined;
      isTransient?: boolean;
      at?: "local" | "remote";
      needed?: number | null;
      free?: number | null;
      kept?: TransferError["kept"];
      nameProblem?: string | null;
      result?: TreeResult;
    },
  ) {
    super(message, options);
    this.code = code;
    this.at = options?.at ?? null;
    this.needed = options?.needed ?? null;
    this.free = options?.free ?? null;
    this.kept = options?.kept ?? null;
    this.nameProblem = options?.nameProblem ?? null;
    this.result = options?.result ?? null;
  }
}
