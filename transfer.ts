/**
 * Files between devices: lists, downloads and uploads that are resumed and verified.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { FilesApp } from "@degu/degu/files";
 * import { download, fileUri, upload } from "@degu/degu/transfer";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * const files = await Deno.makeTempDir();
 * await using server = new Server(["127.0.0.1", 0], new FilesApp(dir, { write: true }));
 * server.serveForever();
 * const client = new Client(server.address);
 *
 * await Deno.writeTextFile(`${files}/a`, "hello");
 * await upload(client, `${files}/a`, fileUri("a"));
 * await download(client, fileUri("a"), `${files}/b`);
 * assertEquals(await Deno.readTextFile(`${files}/b`), "hello");
 * await Deno.remove(dir, { recursive: true });
 * await Deno.remove(files, { recursive: true });
 * ```
 *
 * @module
 */

export { escapeName, fileUri, unescapeName } from "./files/file_name.ts";
export { download } from "./transfer/download.ts";
export type { DirectoryEntry } from "./transfer/entry_parser.ts";
export { listDirectory } from "./transfer/list_directory.ts";
export type { TransferOptions, TransferProgress, TransferResult } from "./transfer/options.ts";
export { deleteFile, makeDirectory } from "./transfer/remote_changes.ts";
export { remoteDigest } from "./transfer/remote_digest.ts";
export { type Retry, retry, type RetryOptions } from "./transfer/retry.ts";
export { isTransient } from "./transfer/transient.ts";
export { TransferError, type TransferErrorCode } from "./transfer/transfer_error.ts";
export { upload } from "./transfer/upload.ts";
export type * from "./base/app/message_types.ts";
export type { DeguError } from "./base/errors.ts";
export type { Client, ClientOptions, Connection, RequestOptions } from "./client.ts";
