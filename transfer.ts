/**
 * Files between devices: lists, downloads and uploads that are resumed and verified.
 *
 * @module
 */

export { escapeName, fileUri, unescapeName } from "./files/file_name.ts";
export { download } from "./transfer/download.ts";
export type { DirectoryEntry } from "./transfer/entry_parser.ts";
export { listDirectory } from "./transfer/list_directory.ts";
export type { TransferOptions, TransferProgress, TransferResult } from "./transfer/options.ts";
export { TransferError, type TransferErrorCode } from "./transfer/transfer_error.ts";
export { upload } from "./transfer/upload.ts";
export type * from "./base/app/message_types.ts";
export type { DeguError } from "./base/errors.ts";
export type { Client, ClientOptions, Connection, RequestOptions } from "./client.ts";
