/**
 * Makes requests to a FilesApp, and prints the status of each as JSON. The first argument is the directory,
 * the second the requests as JSON: method, URI, bytes of the body, and for a resumable upload its offset.
 */

import { createHash } from "node:crypto";
import { Body, type HeaderDict } from "@degu/degu/base";
import { FilesApp } from "@degu/degu/files";
import { formatReprDigest } from "@degu/internal/files/digest.ts";
import { mkreq } from "@degu/degu/misc";

const [root = "", json = "[]"] = Deno.args;
const requests: ["PUT" | "DELETE" | "GET", string, number, number | null][] = JSON.parse(json);
const app = new FilesApp(root, { write: true });
const statuses: number[] = [];
for (const [method, uri, bytes, offset] of requests) {
  const content = new Uint8Array(bytes).fill(7);
  const digest = formatReprDigest(createHash("sha256").update(content).digest("hex"));
  const headers: HeaderDict = offset === null ? {} : {
    "repr-digest": digest,
    "upload-length": `${bytes}`,
    "upload-offset": `${offset}`,
  };
  const body = method === "PUT" ? new Body(new Blob([content]).stream(), bytes) : null;
  const [status, , , sent] = await app.handle(mkreq(method, uri, headers, body));
  if (sent !== null && !(sent instanceof Uint8Array)) await sent.cancel();
  statuses.push(status);
}
console.log(JSON.stringify(statuses));
