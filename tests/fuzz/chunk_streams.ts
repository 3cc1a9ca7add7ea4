/**
 * The decoding stream for chunked bodies, split at boundaries. requests.ts and responses.ts have
 * chunked bodies on connections.
 */

import { ChunkedDecoderStream } from "@degu/internal/base/body/body_framing.ts";
import { BodyError } from "@degu/internal/base/errors.ts";
import { decodeLatin1, encodeLatin1 } from "../support/wire_grammar.ts";
import { demand, type Fuzzer, isPeerError, type Outcome } from "./fuzzer.ts";
import { makeChunks } from "./grammar.ts";
import { makeSplits } from "./memory.ts";
import { type ModelBody, readChunks } from "./oracle.ts";

/** Each split requires a new stream. */
const MAX_SPLITS = 8;

/** Bytes after the last chunk are an error. */
async function decode(pieces: readonly Uint8Array[]): Promise<ModelBody> {
  try {
    const stream = ReadableStream.from(pieces).pipeThrough(new ChunkedDecoderStream());
    const received = await Array.fromAsync(stream);
    return received.map(([extension, data]) => [extension, decodeLatin1(data)]);
  } catch (error) {
    if (isPeerError(error) || error instanceof BodyError) return null;
    throw error;
  }
}

/** `ChunkedDecoderStream`. */
export const chunkStreams: Fuzzer = {
  name: "chunk-stream",
  grammar: makeChunks,
  async check(input): Promise<Outcome> {
    const read = readChunks(input, 0);
    const expected = JSON.stringify(read?.end === input.length ? read.chunks : null);
    for (const pieces of makeSplits(encodeLatin1(input), MAX_SPLITS)) {
      const decoded = JSON.stringify(await decode(pieces));
      const pieceLabel = `(pieces ${pieces.map(({ length }) => length)})`;
      demand(decoded === expected, `${decoded} in place of ${expected} ${pieceLabel}`);
    }
    return expected === "null" ? "rejected" : "accepted";
  },
};
