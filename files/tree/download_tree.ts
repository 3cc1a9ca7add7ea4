/** Downloads trees from another device. */

import type { Connector, Requester } from "../../client.ts";
import type { TreeResult } from "../options.ts";
import { copyTree } from "./copy_tree.ts";
import type { TreeOptions } from "./options.ts";

/**
 * Makes a directory of this device like one that a `FilesApp` with `list: true` serves. After any
 * error or interruption, make the same call to continue: complete files are unchanged then. With
 * `retries` the call continues after a transient error.
 *
 * Both ends are listed and compared; files that differ are copied over several connections, small
 * ones many in a request. Each file is verified and synced to the disk before it gets its name, as
 * with {@linkcode download}, and gets the time and the permission bits of the source. With
 * `delete`, entries that the source does not have are deleted at the end, if the source's list is
 * complete and every file was copied.
 *
 * A file fails alone, as an event, if it can't be read, changes all the time, is larger than the
 * free space, or has something in its way. The call copies all others, and rejects then, unless
 * `partial` is true. Symbolic links and special files are skipped, which is no failure, and nothing
 * is written or deleted through a link; `dir` itself may be one.
 *
 * Needs `--allow-read` and `--allow-write` of the directory, and what the client needs; to look at
 * the free space `--allow-sys=statfs`, without which it works, too.
 *
 * @param from A client or a connection.
 * @param uri The names of the directories on the way to it, and its own, `[]` for the root; or its
 * URI, which ends with `/`.
 * @param dir The path, or a `file:` URL, of the directory of this device, which gets
 * the content of the remote directory. If it is missing, it is created.
 * @param options The entries to copy and delete, and the callbacks.
 * @returns The numbers of files and bytes.
 * @throws {TypeError} if an argument or option has the wrong type, or an option is unknown.
 * @throws {RangeError} if a value is not allowed, or the URI does not end with `/`.
 * @throws {Deno.errors.NotCapable} if the program may not write the directory: files don't fail one
 * by one then.
 * @throws {StatusError} if there is no such directory.
 * @throws {TransferError} if the list is not valid or was cut, or the disk is full; `"INCOMPLETE"`,
 * with the result, if something could not be copied or deleted.
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
