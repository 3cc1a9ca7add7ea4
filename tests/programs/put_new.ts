/**
 * Writes a number of new files into a directory, its first argument, through FilesApp: each only if its
 * name is free. Prints the status of each as JSON. Reports that it is ready, and begins when it gets a byte
 * from its standard input.
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
