/**
 * Chunked bodies over each kind of source, and every operation on them.
 *
 * @module
 */

import { type Chunk, ChunkedBody } from "@degu/degu/base";
import { anyBodyOperations } from "./bodies.ts";
import { cut, PieceSource, streamOf, withFile } from "./streams.ts";
import { fromLatin1, latin1 } from "./wire_grammar.ts";

/** A chunked body as it is sent. */
export const ENCODED: Uint8Array<ArrayBuffer> = latin1(
  "3\r\n123\r\n4;k=v\r\n4567\r\n3\r\n890\r\n0\r\n\r\n",
);
/** Its data. */
export const DATA = "1234567890";
/** Its chunks as {@linkcode flat} gives them. */
export const CHUNKS: (string | null)[][] = [[null, "123"], ["k=v", "4567"], [null, "890"], [
  null,
  "",
]];

/** A chunk as text: `["k=v", "data"]`. */
export function flat([extension, data]: Chunk): [string | null, string] {
  return [extension && extension.join("="), fromLatin1(data)];
}

/** All chunks that readChunk gives, the last one included. */
export async function readChunks(body: ChunkedBody): Promise<Chunk[]> {
  const chunks: Chunk[] = [];
  for (;;) {
    const chunk = await body.readChunk();
    chunks.push(chunk);
    if (chunk[1].length === 0) return chunks;
  }
}

/** Everything that can be done with a chunked body, each as a promise. */
export const operations: Record<string, (body: ChunkedBody) => Promise<unknown>> = {
  "read()": (body) => body.read(),
  "readChunk()": (body) => body.readChunk(),
  ...anyBodyOperations,
};

/** Runs a test with the encoded bytes in each kind of source. */
export async function withEachSource(
  t: Deno.TestContext,
  bytes: Uint8Array,
  run: (body: ChunkedBody) => Promise<void>,
): Promise<void> {
  await t.step("stream", () => run(new ChunkedBody(streamOf(...cut(bytes, 5)))));
  await t.step("byte source", () => run(new ChunkedBody(new PieceSource(cut(bytes, 1)))));
  await t.step("file", () => withFile(bytes, (file) => run(new ChunkedBody(file))));
}
