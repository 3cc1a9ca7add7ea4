/**
 * Writes files of one repeated byte into a directory, its first argument, through FilesApp, repeatedly
 * until it is killed: new files, replaced files, and resumed uploads. Prints a line when the first one
 * exists.
 */

import { createHash } from "node:crypto";
import { Body, type HeaderDict } from "@degu/degu/base";
import { FilesApp } from "@degu/degu/files";
import { formatReprDigest } from "@degu/internal/files/digest.ts";
import { mkreq } from "@degu/degu/misc";

const [root = "", length = ""] = Deno.args;
const app = new FilesApp(root, { write: true });

async function put(uri: string, content: Uint8Array<ArrayBuffer>, headers: HeaderDict) {
  const body = new Body(new Blob([content]).stream(), content.length);
  const [status] = await app.handle(mkreq("PUT", uri, headers, body));
  // Another process may be at the same file.
  if (![201, 204, 409, 412].includes(status)) throw new Error(`${uri}: ${status}`);
}

for (let turn = 0;; turn++) {
  const content = new Uint8Array(Number(length)).fill(turn % 256);
  const digest = formatReprDigest(createHash("sha256").update(content).digest("hex"));
  await put("/replaced", content, {});
  if (turn === 0) console.log("ready");
  await put(`/new/${Deno.pid}-${turn}`, content, { "if-none-match": "*" });
  const upload = { "repr-digest": digest, "upload-length": length };
  const [, , told] = await app.handle(mkreq("HEAD", "/resumed", upload));
  const offset = Number(told["upload-offset"]);
  await put("/resumed", content.slice(offset), { ...upload, "upload-offset": `${offset}` });
  await app.handle(mkreq("DELETE", `/new/${Deno.pid}-${turn}`));
}
