/** Reads chunks with their boundaries and extensions. `body.ts` has an overview. */

import type { Chunk } from "../wire/chunk.ts";
import type { ChunkDecoder } from "./body_decoder.ts";
import type { BodyReader } from "./body_reader.ts";
import { Collector } from "./byte_io.ts";

type ReceivedChunk = Chunk<Uint8Array<ArrayBuffer>>;

/** Reads the next chunk of a body, whose reader has this decoder. */
export async function readChunk(reader: BodyReader, decoder: ChunkDecoder): Promise<ReceivedChunk> {
  reader.begin("read a chunk of", "chunk");
  const chunk = await reader.readFromSource(() => readNextChunk(reader, decoder));
  reader.endOperation(reader.isDone);
  return chunk;
}

export function iterateChunks(
  reader: BodyReader,
  decoder: ChunkDecoder,
): AsyncGenerator<ReceivedChunk, void, void> {
  return reader.iterate(() => readNextChunk(reader, decoder));
}

async function readNextChunk(reader: BodyReader, decoder: ChunkDecoder): Promise<ReceivedChunk> {
  const { buffer } = reader;
  while (!decoder.skipFraming(buffer)) await reader.fillBuffer();
  const { size, extension } = decoder.header;
  let data;
  if (size <= buffer.bufferedBytes) {
    data = buffer.takeView(size).slice();
    decoder.skipData(size);
  } else {
    const collector = new Collector(size);
    while (collector.missingBytes > 0) {
      collector.countWritten(await reader.read(collector.makeRoom()));
    }
    data = collector.toBytes();
  }
  while (!decoder.skipFraming(buffer)) await reader.fillBuffer();
  return reader.checkEnd([extension, data]);
}
