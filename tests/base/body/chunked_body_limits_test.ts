/** The limits of a `ChunkedBody`, and what it leaves in its source. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { ChunkedBody } from "@degu/degu/base";
import { formatChunk } from "@degu/degu/misc";
import { chunks as chunksArbitrary, pieceLengths } from "@degu/testing/arbitraries.ts";
import {
  CHUNKS,
  DATA,
  ENCODED,
  flat,
  operations,
  readChunks,
  withEachSource,
} from "@degu/testing/chunked_bodies.ts";
import {
  assertBodyError,
  assertCutShort,
  callWith,
  rejectionOf,
  shown,
} from "@degu/testing/expectations.ts";
import {
  concat,
  cut,
  PieceSource,
  StallingSource,
  streamOf,
  withFile,
} from "@degu/testing/streams.ts";
import { fromLatin1, latin1, limits } from "@degu/testing/wire_grammar.ts";

Deno.test("ChunkedBody accepts chunk lines of 4096 bytes with their CR LF", async () => {
  const value = "v".repeat(4096 - "5;k=\r\n".length);
  const bytes = latin1(`5;k=${value}\r\nhello\r\n0\r\n\r\n`);
  for (
    const source of [streamOf(bytes), streamOf(...cut(bytes, 4095)), new PieceSource(cut(bytes, 1))]
  ) {
    assertEquals(flat(await new ChunkedBody(source).readChunk()), [`k=${value}`, "hello"]);
  }
});

Deno.test("ChunkedBody rejects if its source ends anywhere before the last chunk", async () => {
  for (let length = 0; length < ENCODED.length; length++) {
    const part = ENCODED.slice(0, length);
    const pieces = part.length > 0 ? [part] : [];
    for (const take of [readChunks, operations["read()"], operations["writeTo()"]]) {
      for (const source of [streamOf(...pieces), new PieceSource(pieces)]) {
        const body = new ChunkedBody(source);
        await assertCutShort(take?.(body) ?? Promise.resolve(), shown(fromLatin1(part)));
        await assertBodyError(body.read(), "read() after it");
      }
    }
  }
});

Deno.test("ChunkedBody.readChunk accepts chunks of 16 MiB", async () => {
  const data = new Uint8Array(limits.chunkData);
  data[data.length - 1] = 7;
  const pieces = [latin1("1000000\r\n"), data, latin1("\r\n0\r\n\r\n")];
  for (const source of [streamOf(...pieces), new PieceSource(pieces)]) {
    const [, read] = await new ChunkedBody(source).readChunk();
    assertEquals([read.length, read.at(-1)], [data.length, 7]);
  }
});

Deno.test("ChunkedBody.read returns up to 16 MiB and rejects if there is more", async () => {
  const half = new Uint8Array(limits.collected / 2);
  const chunk = concat([latin1("800000\r\n"), half, latin1("\r\n")]);
  const end = latin1("0\r\n\r\n");
  const most = new ChunkedBody(new PieceSource([chunk, chunk, end]));
  assertEquals((await most.read()).length, limits.collected);
  const more = new ChunkedBody(new PieceSource([chunk, chunk, latin1("1\r\nx\r\n"), end]));
  assert(await rejectionOf(more.read(), "a byte more than 16 MiB") instanceof Error);
  await assertBodyError(more.read(), "read() after it");
});

Deno.test("ChunkedBody allocates little for a chunk size that is only announced", async () => {
  const before = Deno.memoryUsage().external;
  const sources = Array.from({ length: 40 }, () => new StallingSource(latin1("1000000\r\nabc")));
  const reads = sources.map((source) => new ChunkedBody(source).readChunk());
  await Promise.all(sources.map((source) => source.stalled));
  const grown = Deno.memoryUsage().external - before;
  for (const source of sources) source.release();
  const results = await Promise.allSettled(reads);
  assert(results.every(({ status }) => status === "rejected"));
  assert(grown < 40 * 512 * 1024, `${grown} bytes for 40 stalled chunks`);
});

Deno.test("ChunkedBody rejects a second operation while one is pending", async () => {
  const source = new StallingSource(latin1("5\r\nhel"));
  const body = new ChunkedBody(source);
  const first = body.readChunk();
  await source.stalled;
  for (const [operation, run] of Object.entries(operations)) {
    await assertBodyError(run(body), `${operation} while reading`);
  }
  source.release();
  await assertCutShort(first, "the first");
});

Deno.test("ChunkedBody returns new chunks, which later reads don't change", async (t) => {
  await withEachSource(t, ENCODED, async (body) => {
    const chunks = await readChunks(body);
    const texts = chunks.map(flat);
    chunks[1]?.[1].fill(0);
    assertEquals<unknown>(texts, CHUNKS);
    assertEquals(chunks[0] && flat(chunks[0]), [null, "123"]);
    assertEquals(chunks[2] && flat(chunks[2]), [null, "890"]);
  });
});

Deno.test("ChunkedBody.text decodes UTF-8 strictly across chunks and keeps the byte order mark", async () => {
  const encode = (bytes: Uint8Array) =>
    concat([...cut(bytes, 1).map((data) => formatChunk([null, data])), latin1("0\r\n\r\n")]);
  const text = "\ufeffé€😀";
  const bytes = encode(new TextEncoder().encode(text));
  assertEquals(await new ChunkedBody(streamOf(bytes)).text(), text);
  const bad = new ChunkedBody(streamOf(encode(Uint8Array.of(0xc3, 0x28))));
  assert(await rejectionOf(bad.text(), "bad UTF-8") instanceof Error);
});

Deno.test("ChunkedBody.writeTo refuses what is not a sink", async () => {
  for (const sink of [null, undefined, "a", 5, {}, { write: 5 }]) {
    const body = new ChunkedBody(streamOf(ENCODED));
    const promise = callWith(body.writeTo.bind(body), sink);
    assert(promise instanceof Promise, "writeTo throws instead of rejecting");
    assert(await rejectionOf(promise, Deno.inspect(sink)) instanceof TypeError);
  }
});

Deno.test("ChunkedBody returns a chunk, and its end, without waiting for more", async () => {
  const body = new ChunkedBody(new StallingSource(ENCODED));
  assertEquals<unknown>((await readChunks(body)).map(flat), CHUNKS);
  assertEquals(fromLatin1(await new ChunkedBody(new StallingSource(ENCODED)).read()), DATA);
  const part = new ChunkedBody(new StallingSource(ENCODED.slice(0, 8)));
  assertEquals(flat(await part.readChunk()), [null, "123"]);
});

Deno.test("ChunkedBody leaves the bytes after it in a byte source", async () => {
  const names = ["read()", "iteration", "writeTo()", "readable"];
  const takers = [readChunks, ...names.map((name) => operations[name])];
  await fc.assert(
    fc.asyncProperty(chunksArbitrary, pieceLengths, async (chunks, lengths) => {
      const bytes = concat(chunks.map(formatChunk));
      const followed = concat([bytes, latin1("what follows it")]);
      for (const take of takers) {
        for (const pieces of [[followed], cut(followed, ...lengths)]) {
          const source = new PieceSource(pieces);
          await take?.(new ChunkedBody(source));
          assertEquals(source.taken, bytes.length);
        }
      }
    }),
    { numRuns: 60 },
  );
});

Deno.test("ChunkedBody leaves the bytes after it in a file", async () => {
  await withFile(concat([ENCODED, ENCODED]), async (file) => {
    assertEquals(await new ChunkedBody(file).text(), DATA);
    assertEquals(await file.seek(0, Deno.SeekMode.Current), ENCODED.length);
    assertEquals(await new ChunkedBody(file).text(), DATA);
  });
});
