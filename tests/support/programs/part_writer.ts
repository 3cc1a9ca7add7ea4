/**
 * Opens the part at its first argument, below the root that is its second, and says so. Keeps it open, as a process does that waits for
 * more of an upload, until its standard input ends.
 *
 * @module
 */

import { Unfinished } from "@degu/internal/files/unfinished.ts";

const [path = "", root = ""] = Deno.args;
await using part = await Unfinished.openPart(path, root);
part.isKept = true;
console.log("ready");
await Deno.stdin.read(new Uint8Array(1));
