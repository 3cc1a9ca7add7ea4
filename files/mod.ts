/**
 * Files between devices: an app that serves a directory, and lists, downloads and uploads that are
 * resumed and verified.
 *
 * - {@linkcode FilesApp} is the app.
 * - {@linkcode download} and {@linkcode upload} move a file, {@linkcode downloadTree} and
 *   {@linkcode uploadTree} mirror a directory. `retry` of `@degu/degu` repeats them after errors
 *   that are `isTransient`.
 * - {@linkcode listDirectory} and {@linkcode listTree} list, {@linkcode makeDirectory},
 *   {@linkcode deleteEntry} and {@linkcode remoteDigest} do what their names say.
 * - {@linkcode fileUri} writes names of files in a URI, {@linkcode isReservedName} reports whether
 *   a name is reserved, and {@linkcode describeNameProblem} describes why this system can't store a
 *   name.
 * - {@linkcode restoreTree} restores a directory as it was at a time.
 * - A {@linkcode StatusError} has the status of a refusal, a {@linkcode TransferError} the reason
 *   of any other failure. A lost connection throws the errors of `@degu/degu/client`.
 *
 * Every other name is a type that these refer to.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { download, FilesApp, fileUri, upload } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * const files = await Deno.makeTempDir();
 * await using server = await Server.start(["127.0.0.1", 0], new FilesApp(dir, { write: true }));
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

export * from "./client.ts";
export { FilesApp, type FilesOptions } from "./serve/files_app.ts";
export type { FileEvent, FileLogDetails } from "./serve/file_request.ts";
export {
  type MissingReason,
  RestoreError,
  type RestoreErrorCode,
  type RestoreEvent,
  type RestoreOptions,
  type RestoreResult,
  restoreTree,
} from "./tree/restore_tree.ts";
