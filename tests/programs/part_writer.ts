/**
 * Opens the part with the name in its first argument, below the root in its second, and prints a
 * line. Keeps the part open until the standard input ends, like a process that waits for more bytes
 * of an upload.
 */

import { UnfinishedUploads } from "@degu/internal/files/serve/unfinished_uploads.ts";

const [name = "", root = ""] = Deno.args;
const files = new UnfinishedUploads(root);
using part = await files.openPart(`${files.path}/${name}`);
part.isKept = true;
console.log("ready");
await Deno.stdin.read(new Uint8Array(1));
