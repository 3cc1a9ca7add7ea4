/**
 * Prints the status of a request to an app whose directory was a removed mount point, and whether
 * the directory was created again.
 */
import { FilesApp } from "@degu/degu/files";
import { mkreq } from "@degu/degu/misc";
import { runOrThrow } from "@degu/testing/commands.ts";

const [path = ""] = Deno.args;
const app = new FilesApp(path, { create: true, write: true });
await runOrThrow(["umount", "--lazy", path]);
await Deno.remove(path);
const [status] = await app.handle(mkreq("PUT", "/x", {}, new Uint8Array(1)));
const exists = await Deno.lstat(path).then(() => true, () => false);
console.log(JSON.stringify([status, exists]));
