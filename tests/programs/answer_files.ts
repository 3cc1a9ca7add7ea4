/**
 * Sends requests to a FilesApp, and prints the status and the body, in base64, of each response as
 * JSON. The first argument is the directory, and the second is a file with the requests as JSON:
 * method, URI, body, and headers. The body, which only PUT and POST send, is in base64, or a number
 * of bytes with the value 7. HEAD requests a digest.
 */

import { Body, ChunkedBody, type HeadersToSend, type Method } from "@degu/degu/base";
import { FilesApp } from "@degu/degu/files";
import { mkreq } from "@degu/degu/misc";
import { WANT_SHA256 } from "@degu/internal/files/wire/digest.ts";

const [root = "", file = ""] = Deno.args;
const requests: [Method, string, string | number, HeadersToSend][] = JSON.parse(
  await Deno.readTextFile(file),
);
const app = new FilesApp(root, { list: true, write: true });
const responses: [number, string][] = [];
for (const [method, uri, bodyText, given] of requests) {
  const content = typeof bodyText === "number"
    ? new Uint8Array(bodyText).fill(7)
    : Uint8Array.fromBase64(bodyText);
  const hasBody = method === "PUT" || method === "POST";
  const body = hasBody ? new Body(new Blob([content]).stream(), content.length) : null;
  const headers = { ...given, ...(method === "HEAD" ? { "want-repr-digest": WANT_SHA256 } : {}) };
  const [status, , , sent] = await app.handle(mkreq(method, uri, headers, body));
  let bytes = new Uint8Array(0);
  if (sent instanceof Uint8Array) bytes = sent.slice();
  else if (typeof sent === "object" && sent !== null && "writeTo" in sent) {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const sending = sent.writeTo(writable).finally(() => writable.close());
    bytes = sent.chunked
      ? await new ChunkedBody(readable).read()
      : await new Body(readable, sent.contentLength).read();
    await sending;
  }
  responses.push([status, bytes.toBase64()]);
}
console.log(JSON.stringify(responses));
