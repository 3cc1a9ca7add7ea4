/** Uploads trees to another device. */

import type { Connector, Requester } from "../../client.ts";
import type { TreeResult } from "../options.ts";
import { copyTree } from "./copy_tree.ts";
import type { UploadTreeOptions } from "./options.ts";

/**
 * Makes a directory that a `FilesApp` with `write: true` and `list: true` serves like one of this
 * device. After any error or interruption, make the same call to continue: complete files are
 * unchanged then. With `retries` it goes on by itself after a temporary error.
 *
 * Both ends are listed and compared; files that differ are copied over several connections, small
 * ones many in a request. Each file is verified and synced to the disk there before it gets its
 * name, as with {@linkcode upload}, and gets the time of the source. With `delete`, entries that
 * the source does not have are deleted at the end, if everything here could be read and every file
 * was copied.
 *
 * A file fails alone, as an event, if it can't be read, changes all the time, is larger than the
 * free space there, or has something in its way. The call copies all others, and rejects then,
 * unless `partial` is true. Symbolic links, special files and parts of interrupted transfers are
 * skipped, which is no failure; `dir` itself may be a link.
 *
 * With `move`, each file is removed here once it is there. Whatever interrupts the call, a file is
 * here, there or at both ends.
 *
 * Needs `--allow-read` of the directory, with `move` also `--allow-write`, and what the client
 * needs.
 *
 * @param to Where the files go.
 * @param dir The path, or a `file:` URL, of the directory of this device.
 * @param uri The names of the directories on the way to it, and its own, `[]` for the root; or its
 * URI, which ends with `/`. Its content is then that of the directory here; a missing one is made.
 * @param options What to copy and delete, and what to call.
 * @returns What was done.
 * @throws {TypeError} if an argument or option has the wrong type, or an option is unknown.
 * @throws {RangeError} if a value is not allowed, or the URI does not end with `/`.
 * @throws {StatusError} if the server accepts no files there, or its disk is full.
 * @throws {TransferError} if its list is not valid or was cut; `"INCOMPLETE"`, with the result, if
 * something could not be copied, deleted or removed.
 * @throws {Deno.errors.NotFound} if there is no such directory here; `Deno.errors.NotADirectory` if
 * it is something else.
 * @throws the errors of `filter`, `onEvent`, `connect` and `request`; the reason of the signal.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { FilesApp, uploadTree } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const there = await Deno.makeTempDir();
 * const here = await Deno.makeTempDir();
 * await Deno.mkdir(`${here}/sub`);
 * await Deno.writeTextFile(`${here}/sub/a b.txt`, "hello");
 * const app = new FilesApp(there, { list: true, write: true });
 * await using server = new Server(["127.0.0.1", 0], app);
 * server.serveForever();
 * const client = new Client(server.address);
 *
 * const { files, bytes } = await uploadTree(client, here, "/copy/");
 * assertEquals([files, bytes], [1, 5]);
 * assertEquals(await Deno.readTextFile(`${there}/copy/sub/a b.txt`), "hello");
 * assertEquals((await uploadTree(client, here, "/copy/")).unchanged, 1);
 * await Deno.remove(there, { recursive: true });
 * await Deno.remove(here, { recursive: true });
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
