/**
 * Receives the first byte of a single PUT, and of a stream, below the directory in its first
 * argument, prints a line, and waits for more bytes until it is killed.
 */

import { FilesApp } from "@degu/degu/files";
import { mkreq } from "@degu/degu/misc";
import { BodyIter } from "@degu/degu/base";

const [root = ""] = Deno.args;
const app = new FilesApp(root, { write: true });
async function* makeStalledBody() {
  yield new Uint8Array(1);
  console.log("received");
  await new Promise<never>(() => setInterval(() => {}, 1000));
}
await Promise.all([
  app.handle(mkreq("PUT", "/single", {}, new BodyIter(makeStalledBody(), 2))),
  app.handle(mkreq("PUT", "/stream", { "upload-complete": "?1" }, makeStalledBody())),
]);
