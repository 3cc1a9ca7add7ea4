/**
 * Opens the part at its first argument, below the root in its second, and reports that. Keeps it open until
 * its standard input ends, like a process that waits for more of an upload.
 */

import { Unfinished } from "@degu/internal/files/unfinished.ts";

const [path = "", root = ""] = Deno.args;
await using part = await Unfinished.openPart(path, root);
part.isKept = true;
console.log("ready");
await Deno.stdin.read(new Uint8Array(1));
