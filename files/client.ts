/**
 * Lists, downloads and uploads, without the app of `@degu/degu/files`: {@linkcode download},
 * {@linkcode upload}, {@linkcode downloadTree}, {@linkcode uploadTree}, {@linkcode listDirectory},
 * {@linkcode listTree}, {@linkcode makeDirectory}, {@linkcode deleteEntry},
 * {@linkcode remoteDigest}, {@linkcode fileUri}, {@linkcode isReservedName},
 * {@linkcode describeNameProblem}, and the errors {@linkcode StatusError} and
 * {@linkcode TransferError}.
 *
 * @example
 * ```ts
 * import { Server } from "@degu/degu/server";
 * import { Client } from "@degu/degu/client";
 * import { listDirectory } from "@degu/degu/files/client";
 * import { FilesApp } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.writeTextFile(`${dir}/a`, "hello");
 * await using server = await Server.start(["127.0.0.1", 0], new FilesApp(dir, { list: true }));
 * const entries = await Array.fromAsync(listDirectory(new Client(server.address), "/"));
 * assertEquals(entries.map(({ name, size }) => [name, size]), [["a", 5]]);
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @module
 */

export { fileUri } from "./wire/file_name.ts";
export { isReservedName } from "./reserved.ts";
export { download } from "./transfer/download.ts";
export { downloadTree, uploadTree } from "./tree/copy_tree.ts";
export type { DirectoryEntry, TreeEntry } from "./wire/entries.ts";
export { listDirectory, listTree } from "./tree/remote_list.ts";
export { TransferError, type TransferErrorCode, type TreeResult } from "./errors.ts";
export type { UnsetProperty } from "./wire/metadata.ts";
export type {
  DownloadOptions,
  TransferOptions,
  TransferProgress,
  TransferResult,
} from "./options.ts";
export { deleteEntry, makeDirectory } from "./transfer/remote_changes.ts";
export { remoteDigest } from "./transfer/remote_digest.ts";
export type { DownloadTreeOptions, TreeEvent, UploadTreeOptions } from "./tree/options.ts";
export type { TreeFilter } from "./tree/filter.ts";
export { describeNameProblem } from "./disk/names.ts";
export { upload } from "./transfer/upload.ts";
export { StatusError } from "../client.ts";
