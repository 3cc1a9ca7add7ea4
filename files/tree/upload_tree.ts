import type { Connector, Requester } from "../../client.ts";
import type { TreeResult } from "../options.ts";
import { copyTree } from "./copy_tree.ts";
import type { UploadTreeOptions } from "./options.ts";

/**
 * Copies a local directory to a directory of a `FilesApp` with `write: true` and `list: true`.
 * After any error or interruption, make the same call to continue: complete files are not copied
 * again. With `retries` the call itself continues after a transient error.
 *
 * Source and target are listed and compared. Files that differ are copied over several connections,
 * many small files in one request. As with {@linkcode upload}, each file is verified and synced to
 * the remote disk before it is renamed to its target, and gets the time of the source. With
 * `delete`, entries that the source does not have are deleted at the end, if all local entries
 * could be read and every file was copied.
 *
 * A single file fails, with an event, if it can't be read, changes in every attempt, is larger than
 * the remote free space, or an entry of another kind has its name. The call copies all other files,
 * and then rejects, unless `partial` is true. Symbolic links, special files and parts of
 * interrupted transfers are skipped and don't count as failed; `dir` itself may be a link.
 *
 * With `move`, each local file is removed after the target has it. If the call is interrupted, each
 * file is still at the source, at the target, or at both.
 *
 * Needs `--allow-read` of the directory, with `move` also `--allow-write`, and the permissions of
 * the client.
 *
 * @param to A client or a connection.
 * @param dir The path, or a `file:` URL, of the local directory.
 * @param uri The path segments of the remote directory, `[]` for the root; or its URI, which ends
 * with `/`. A missing directory is created.
 * @param options The options of the copy.
 * @returns The numbers of files and bytes.
 * @throws {TypeError} if an argument or option has the wrong type, or an option is unknown.
 * @throws {RangeError} if a value is not allowed, or the URI does not end with `/`.
 * @throws {StatusError} if the server doesn't accept files in this directory.
 * @throws {TransferError} if the list of the server is not valid or was cut, or its disk is full;
 * `"INCOMPLETE"`, with the result, if an entry could not be copied, deleted or removed.
 * @throws {Deno.errors.NotFound} if the local directory is missing; `Deno.errors.NotADirectory` if
 * it is not a directory.
 * @throws the errors of `filter`, `onEvent`, `connect` and `request`; the reason of the signal.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { FilesApp, uploadTree } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const remote = await Deno.makeTempDir();
 * const local = await Deno.makeTempDir();
 * await Deno.mkdir(`${local}/sub`);
 * await Deno.writeTextFile(`${local}/sub/a b.txt`, "hello");
 * const app = new FilesApp(remote, { list: true, write: true });
 * await using server = new Server(["127.0.0.1", 0], app);
 * server.serveForever();
 * const client = new Client(server.address);
 *
 * const { files, bytes } = await uploadTree(client, local, "/copy/");
 * assertEquals([files, bytes], [1, 5]);
 * assertEquals(await Deno.readTextFile(`${remote}/copy/sub/a b.txt`), "hello");
 * assertEquals((await uploadTree(client, local, "/copy/")).unchanged, 1);
 * await Deno.remove(remote, { recursive: true });
 * await Deno.remove(local, { recursive: true });
 * ```
 */
export async function uploadTree(
  to: Requester | Connector,
  dir: string | URL,
  uri: string | readonly string[],
  options: UploadTreeOptions = {},
): Promise<TreeResult> {
  return await copyTree("to", to, dir, uri, options);
}
