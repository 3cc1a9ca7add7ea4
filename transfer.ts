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
export { deleteFile, makeDirectory } from "./transfer/remote_changes.ts";
export { remoteDigest } from "./transfer/remote_digest.ts";
export { type Retry, retry, type RetryOptions } from "./transfer/retry.ts";
export { isTransient } from "./transfer/transient.ts";
export { TransferError, type TransferErrorCode } from "./transfer/transfer_error.ts";
export { upload } from "./transfer/upload.ts";
