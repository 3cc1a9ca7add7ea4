/** Chunked bodies from any source, split at every boundary, read in every way, and the decoder as a stream. */

import { ChunkedBody } from "@degu/internal/base/body/chunked_body.ts";
import { ChunkedDecoderStream } from "@degu/internal/base/body/encoder_streams.ts";
import { BodyError, ProtocolError } from "@degu/internal/base/errors.ts";
import { fromLatin1, latin1 } from "../support/wire_grammar.ts";
import { demand, type Fuzzer, type Outcome } from "./fuzzer.ts";
import { chunks } from "./grammar.ts";
import { MemorySocket, splits } from "./memory.ts";
import { type ModelBody, readChunks } from "./oracle.ts";
import { receive, seenAs, WAYS } from "./received.ts";

const MOST_SPLITS = 200;

/** What was received, or the code of the error. */
type Result = { readonly body: ModelBody } | { readonly code: string };

async function resultOf(reading: Promise<ModelBody>): Promise<Result> {
  try {
    return { body: await reading };
  } catch (error) {
    if (error instanceof ProtocolError) return { code: error.code };
    throw error;
  }
}

/** Through the decoder as a TransformStream, where bytes after the last chunk are an error. */
async function decode(pieces: readonly Uint8Array[]): Promise<ModelBody | null> {
  try {
    const stream = ReadableStream.from(pieces).pipeThrough(new ChunkedDecoderStream());
    const received = await Array.fromAsync(stream);
    return received.map(([extension, data]) => [extension, fromLatin1(data)]);
  } catch (error) {
    if (error instanceof ProtocolError || error instanceof BodyError) return null;
    throw error;
  }
}

/** Chunked bodies. */
export function chunkStreams(): Fuzzer {
  return {
    name: "chunk-stream",
    grammar: chunks,
    async check(input): Promise<Outcome> {
      const bytes = latin1(input);
      const expected = readChunks(input, 0);
      const codes = new Set<string>();
      let index = 0;
      for (const pieces of splits(bytes, MOST_SPLITS)) {
        const way = WAYS[(input.length + index++) % WAYS.length]!;
        const where = `(${way}, pieces ${pieces.map(({ length }) => length)})`;
        // A source of bytes, not a stream: what follows the body is left alone.
        const result = await resultOf(receive(new ChunkedBody(new MemorySocket(pieces)), way));
        if ("code" in result) {
          demand(expected === null, `refused what the oracle accepts: ${result.code} ${where}`);
          codes.add(result.code);
        } else {
          demand(expected !== null, `accepted what the oracle refuses ${where}`);
          demand(
            JSON.stringify(result.body) === JSON.stringify(seenAs(expected.chunks, way)),
            `${JSON.stringify(result.body)} ${where}`,
          );
        }
        if (index % 16 !== 1) continue;
        const decoded = await decode(pieces);
        const complete = expected !== null && expected.end === input.length;
        demand(
          (decoded !== null) === complete,
          `the stream ${complete ? "refused" : "accepted"} it`,
        );
        if (complete) {
          demand(
            JSON.stringify(decoded) === JSON.stringify(expected.chunks),
            `${decoded} ${where}`,
          );
        }
      }
      demand(codes.size < 2, `the codes depend on the pieces: ${[...codes]}`);
      return expected === null ? "rejected" : "accepted";
    },
  };
}
