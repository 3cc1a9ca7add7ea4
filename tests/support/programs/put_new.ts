/**
 * Writes so many new files into a directory, its first argument, by FilesApp: each only if there is none of its name. Prints the status of
 * each as JSON. Begins when it gets a byte from its standard input, and says before that it is ready.
 *
 * @module
 */

import { FilesApp } from "@degu/degu/files";
import { mkreq } from "@degu/degu/misc";

const [root = "", count = "0"] = Deno.args;
const app = new FilesApp(root, { write: true });
console.log("ready");
await Deno.stdin.read(new Uint8Array(1));
const statuses: number[] = [];
for (let i = 0; i < Number(count); i++) {
  const [status] = await app.handle(mkreq("PUT", `/${i}`, { "if-none-match": "*" }));
  statuses.push(status);
}
console.log(JSON.stringify(statuses));
