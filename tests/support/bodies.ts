/**
 * Bodies over each kind of source, and every operation on them.
 *
 * @module
 */

import { Body, type ChunkedBody } from "@degu/degu/base";
import { collect, cut, PieceSource, RecordingSink, streamOf, withFile } from "./streams.ts";
import { latin1 } from "./wire_grammar.ts";

/** The bytes of a body of ten. */
export const DIGITS: Uint8Array<ArrayBuffer> = latin1("1234567890");

/** Runs a test with a body over each kind of source that holds the given bytes. */
export async function withEachSource(
  t: Deno.TestContext,
  bytes: Uint8Array,
  run: (body: Body, kind: string) => Promise<void>,
): Promise<void> {
  await t.step("stream", () => run(new Body(streamOf(...cut(bytes, 3)), bytes.length), "stream"));
  await t.step("byte source", async () => {
    await run(new Body(new PieceSource(cut(bytes, 4, 1)), bytes.length), "byte source");
  });
  await t.step("file", async () => {
    await withFile(bytes, (file) => run(new Body(file, bytes.length), "file"));
  });
}

/** What can be done with a body of either kind, each as a promise. */
export const anyBodyOperations: Record<string, (body: Body | ChunkedBody) => Promise<unknown>> = {
  "bytes()": (body) => body.bytes(),
  "text()": (body) => body.text(),
  "json()": (body) => body.json(),
  "iteration": (body) => collect<unknown>(body),
  "writeTo()": (body) => body.writeTo(new RecordingSink()),
  "readable": async (body) => await new Response(body.readable).bytes(),
};

/** Everything that can be done with a body, each as a promise. */
export const operations: Record<string, (body: Body) => Promise<unknown>> = {
  "read()": (body) => body.read(),
  "read(0)": (body) => body.read(0),
  "read(1)": (body) => body.read(1),
  ...anyBodyOperations,
};

/** A body that comes in pieces of these lengths, and then fails if there is an error. */
export function bodyOf(content: Uint8Array, lengths: readonly number[], failure?: Error): Body {
  const stream = ReadableStream.from((function* () {
    let at = 0;
    for (const length of lengths) yield content.slice(at, at += length);
    if (failure !== undefined) throw failure;
    yield content.slice(at);
  })());
  return new Body(stream, content.length);
}
