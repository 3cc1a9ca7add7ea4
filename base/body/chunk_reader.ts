/** The reader of the chunks of a chunked body. `body.ts` has an overview. */

import type { Chunk } from "../wire/chunk.ts";
import type { ChunkDecoder } from "./body_decoder.ts";
import type { BodyReader } from "./body_reader.ts";
import { Collector } from "./byte_io.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Reads the chunks of a body, with their boundaries and extensions. */
export class ChunkReader {
  readonly #reader: BodyReader;
  readonly #decoder: ChunkDecoder;

  /** @param decoder The decoder of the reader. */
  constructor(reader: BodyReader, decoder: ChunkDecoder) {
    this.#reader = reader;
    this.#decoder = decoder;
  }

  /** Reads the next chunk. */
  async read(): Promise<Chunk<Bytes>> {
    const reader = this.#reader;
    reader.begin("read a chunk of", "chunk");
    const chunk = await reader.readFromSource(() => this.#readNext());
    reader.endOperation(reader.isDone);
    return chunk;
  }

  /** Iterates over the chunks, including the empty last chunk. */
  iterate(): AsyncGenerator<Chunk<Bytes>, void, void> {
    return this.#reader.iterate(() => this.#readNext());
  }

  async #readNext(): Promise<Chunk<Bytes>> {
    const reader = this.#reader, decoder = this.#decoder;
    const { buffer } = reader;
    while (!decoder.skipFraming(buffer)) await reader.fillBuffer();
    const { size, extension } = decoder.header;
    let data: Bytes;
    if (size <= buffer.bufferedBytes) {
      data = buffer.takeView(size).slice();
      decoder.count(size);
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
}
