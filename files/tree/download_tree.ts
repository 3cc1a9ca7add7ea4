import type { Connector, Requester } from "../../client.ts";
import type { TreeResult } from "../options.ts";
import { copyTree } from "./copy_tree.ts";
import type { TreeOptions } from "./options.ts";

/**
 * Copies a directory of a `FilesApp` with `list: true` to a local directory. After any error or
 * interruption, make the same call to continue: complete files are not copied again. With `retries`
 * the call itself continues after a transient error.
 *
 * Source and target are listed and compared. Files that differ are copied over several connections,
 * many small files in one request. As with {@linkcode download}, each file is verified and synced
 * to the disk before it is renamed to its target, and gets the time and the permission bits of the
 * source. With `delete`, entries that the source does not have are deleted at the end, if the
 * source's list is complete and every file was copied.
 *
 * A single file fails, with an event, if it can't be read, changes in every attempt, is larger than
 * the free space, or an entry of another kind has its name. The call copies all other files, and
 * then rejects, unless `partial` is true. Symbolic links and special files are skipped and don't
 * count as failed. The call doesn't write or delete through links; `dir` itself may be a link.
 *
 * Needs `--allow-read` and `--allow-write` of the directory, and the permissions of the client.
 * With `--allow-sys=statfs`, the free space is checked before a file is received.
 *
 * @param from A client or a connection.
 * @param uri The path segments of the directory, `[]` for the root; or the URI of the directory,
 * which ends with `/`.
 * @param dir The path, or a `file:` URL, of the local directory. A missing directory is created.
 * @param options The options of the copy.
 * @returns The numbers of files and bytes.
 * @throws {TypeError} if an argument or option has the wrong type, or an option is unknown.
 * @throws {RangeError} if a value is not allowed, or the URI does not end with `/`.
 * @throws {Deno.errors.NotCapable} if the program may not write the directory.
 * @throws {StatusError} if the directory does not exist on the server.
 * @throws {TransferError} if the list is not valid or was cut, or the disk is full; `"INCOMPLETE"`,
 * with the result, if an entry could not be copied or deleted.
 * @throws the errors of `filter`, `onEvent`, `connect` and `request`; the reason of the signal.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { downloadTree, FilesApp } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const remote = await Deno.makeTempDir();
 * const local = await Deno.makeTempDir();
 * await Deno.mkdir(`${remote}/sub`);
 * await Deno.writeTextFile(`${remote}/sub/a b.txt`, "hello");
 * await using server = new Server(["127.0.0.1", 0], new FilesApp(remote, { list: true }));
 * server.serveForever();
 * const client = new Client(server.address);
 *
 * const { files, bytes } = await downloadTree(client, [], `${local}/copy`);
 * assertEquals([files, bytes], [1, 5]);
 * assertEquals(await Deno.readTextFile(`${local}/copy/sub/a b.txt`), "hello");
 * assertEquals((await downloadTree(client, "/", `${local}/copy`)).unchanged, 1);
 * await Deno.remove(remote, { recursive: true });
 * await Deno.remove(local, { recursive: true });
 * ```
 */
export async function downloadTree(
  from: Requester | Connector,
  uri: string | readonly string[],
  dir: string | URL,
  options: TreeOptions = {},
): Promise<TreeResult> {
  return await copyTree("from", from, dir, uri, options);
}
