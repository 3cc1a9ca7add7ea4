/** Bodies that come in pieces. */

import { Body } from "@degu/degu/base";

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
