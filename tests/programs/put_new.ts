/**
 * Writes new files into the directory in its first argument through FilesApp, each only if its name
 * is free. Prints a line when it is ready, starts after it reads a byte from the standard input,
 * and prints the statuses as JSON.
 */

import { FilesApp } from "@degu/degu/files";
import { mkreq } from "@degu/degu/misc";

const [root = "", count = "0"] = Deno.args;
const app = new FilesApp(root, { write: true });
console.log("ready");
await Deno.stdin.read(new Uint8Array(1));
const statuses: number[] = [];
for (let i = 0; i < Number(count); i++) {
  const [status] = await app.handle(mkreq("PUT", `/${i}`, { "if-none-match": "*" }, null));
  statuses.push(status);
}
console.log(JSON.stringify(statuses));
