/** Streams that encode and decode bodies. */
import {
  BodyError,
  type Chunk,
  ChunkedDecoderStream,
  ChunkedEncoderStream,
  DeguError,
  LengthDecoderStream,
  LengthEncoderStream,
} from "@degu/degu/base";
import { formatChunk } from "../messages.ts";
import { chunks as chunksArbitrary, pieceLengths } from "../arbitraries.ts";
import {
  assertBodyError,
  assertCutShort,
  assertProtocolRejection,
  catchRejection,
  flattenChunk,
  formatLabel,
} from "@degu/testing/expectations.ts";
import { waitForTick } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { concat, cutBytes, streamOf, TrackedStream } from "@degu/testing/streams.ts";
import { decodeLatin1, encodeLatin1, limits } from "@degu/testing/wire_grammar.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { toArrayBuffer, toText } from "@std/streams";
import fc from "fast-check";
import { Buffer } from "node:buffer";
import { refusedCodings } from "../wire/chunk.rows.ts";

const DIGITS = encodeLatin1("1234567890");
const lengthStreams = { LengthEncoderStream, LengthDecoderStream };

function decode(pieces: readonly Uint8Array[]): Promise<Chunk[]> {
  return Array.fromAsync(streamOf(...pieces).pipeThrough(new ChunkedDecoderStream()));
}

async function encode(items: readonly (Uint8Array | Chunk)[]): Promise<string> {
  const encoded = streamOf(...items).pipeThrough(new ChunkedEncoderStream());
  return decodeLatin1(new Uint8Array(await toArrayBuffer(encoded)));
}

Deno.test("LengthEncoderStream and LengthDecoderStream pass on exactly their length", async (t) => {
  await testEachRow(t, Object.entries(lengthStreams), async (_name, Stream) => {
    for (const lengths of [[10], [1], [3, 4], [0, 2]]) {
      const passedStream = streamOf(...cutBytes(DIGITS, ...lengths)).pipeThrough(new Stream(10));
      assertEquals(await toText(passedStream), decodeLatin1(DIGITS));
    }
    assertEquals(await Array.fromAsync(streamOf<Uint8Array>().pipeThrough(new Stream(0))), []);
    assertThrows(() => new Stream(-1), RangeError, "contentLength");
    assertThrows(() => new Stream("5" as never), TypeError, "contentLength");
  });
});

Deno.test("LengthEncoderStream and LengthDecoderStream fail for too many and too few bytes", async (t) => {
  await testEachRow(t, Object.entries(lengthStreams), async (_name, Stream) => {
    for (const pieces of [cutBytes(DIGITS, 10), cutBytes(DIGITS, 9, 1), cutBytes(DIGITS, 8, 2)]) {
      const source = new TrackedStream(pieces);
      const passed: Uint8Array[] = [];
      const pass = async () => {
        for await (const piece of source.stream.pipeThrough(new Stream(9))) passed.push(piece);
      };
      const error = await catchRejection(pass(), "excess");
      assertInstanceOf(error, BodyError);
      assertStringIncludes(error.message, "more than the content-length of 9 bytes");
      assert(concat(passed).length <= 9);
      assert(source.isSettled);
      // An encoder never completes a message whose source misbehaves.
      assert(Stream === LengthDecoderStream || concat(passed).length < 9);
      await assertCutShort(
        Array.fromAsync(streamOf(...pieces).pipeThrough(new Stream(11))),
        "shortage",
      );
    }
    const emptyStream = Array.fromAsync(streamOf(DIGITS).pipeThrough(new Stream(0)));
    assertInstanceOf(await catchRejection(emptyStream, "an empty excess"), DeguError);
    await assertCutShort(
      Array.fromAsync(streamOf<Uint8Array>().pipeThrough(new Stream(1))),
      "nothing",
    );
  });
});

Deno.test("LengthDecoderStream passes on the last piece at once, LengthEncoderStream at the end", async () => {
  for (const [Stream, awaited] of [[LengthDecoderStream, 10], [LengthEncoderStream, 6]] as const) {
    const { readable, writable } = new Stream(10);
    const writer = writable.getWriter();
    let count = 0;
    const reading = (async () => {
      for await (const piece of readable) count += piece.length;
    })();
    for (const piece of cutBytes(DIGITS, 6)) await writer.write(piece);
    await waitForTick();
    assertEquals(count, awaited);
    await writer.close();
    await reading;
    assertEquals(count, 10);
  }
});

Deno.test("the streams error if a chunk is not bytes", async () => {
  const streams = [
    ...[() => new LengthEncoderStream(5), () => new LengthDecoderStream(5)],
    ...[() => new ChunkedEncoderStream(), () => new ChunkedDecoderStream()],
  ];
  for (const make of streams) {
    for (const item of ["12345", 5, null, new ArrayBuffer(5), new Uint16Array(5), {}, [1, 2], []]) {
      const invalidStream = streamOf<unknown>(item) as ReadableStream<Uint8Array>;
      const piped = Array.fromAsync<unknown>(invalidStream.pipeThrough<unknown>(make()));
      const error = await catchRejection(piped, Deno.inspect(item));
      assert(error instanceof TypeError || error instanceof BodyError, Deno.inspect(error));
    }
  }
});

Deno.test("ChunkedEncoderStream encodes each item as a chunk and adds the last chunk", async (t) => {
  const empty = new Uint8Array(0);
  const rows: [items: (Uint8Array | Chunk)[], text: string][] = [
    [[], "0\r\n\r\n"],
    [[DIGITS], "a\r\n1234567890\r\n0\r\n\r\n"],
    [[encodeLatin1("12"), encodeLatin1("3")], "2\r\n12\r\n1\r\n3\r\n0\r\n\r\n"],
    [[empty, encodeLatin1("12"), empty], "2\r\n12\r\n0\r\n\r\n"],
    [[[null, encodeLatin1("12")]], "2\r\n12\r\n0\r\n\r\n"],
    [[[["k", "v"], encodeLatin1("12")], encodeLatin1("3")], "2;k=v\r\n12\r\n1\r\n3\r\n0\r\n\r\n"],
    [[encodeLatin1("12"), [null, empty]], "2\r\n12\r\n0\r\n\r\n"],
    [[encodeLatin1("12"), [["k", "v"], empty]], "2\r\n12\r\n0;k=v\r\n\r\n"],
    [[[null, empty]], "0\r\n\r\n"],
  ];
  for (const [items, text] of rows) {
    await t.step(formatLabel(text), async () => assertEquals(await encode(items), text));
  }
});

Deno.test("ChunkedEncoderStream errors if anything follows the last chunk", async () => {
  const last: Chunk = [null, new Uint8Array(0)];
  for (const item of [DIGITS, [null, DIGITS] as const, [["k", "v"], DIGITS] as const, last]) {
    await assertBodyError(encode([last, item]), Deno.inspect(item));
  }
});

Deno.test("ChunkedDecoderStream reverses ChunkedEncoderStream for any split of the bytes", async () => {
  await fc.assert(
    fc.asyncProperty(chunksArbitrary, pieceLengths, async (chunks, lengths) => {
      const bytes = concat(chunks.map(formatChunk));
      assertEquals(await encode(chunks), decodeLatin1(bytes));
      assertEquals(
        (await decode(cutBytes(bytes, ...lengths))).map(flattenChunk),
        chunks.map(flattenChunk),
      );
    }),
    { numRuns: 60 },
  );
});

Deno.test("ChunkedDecoderStream makes two chunks of one above 16 MiB, of which the first has the extension", async () => {
  const data = new Uint8Array(limits.chunkData + 3);
  data.set([1], limits.chunkData);
  data.set([2], data.length - 1);
  const header = encodeLatin1(`${data.length.toString(16)};k=v\r\n`);
  const decoded = await decode([header, ...cutBytes(data, 5e6), encodeLatin1("\r\n0\r\n\r\n")]);
  assertEquals(
    decoded.map(([extension, { length }]) => [extension?.join("="), length]),
    [["k=v", limits.chunkData], [undefined, 3], [undefined, 0]],
  );
  assert(Buffer.from(data.buffer).equals(concat(decoded.map(([, bytes]) => bytes))));
});

Deno.test("ChunkedDecoderStream refuses invalid chunks however the bytes are split", async (t) => {
  for (const { rule, rfc, text, codes } of refusedCodings) {
    await t.step(`${rule} (${rfc}): ${formatLabel(text)}`, async () => {
      const bytes = encodeLatin1(text);
      for (const start of ["", "3\r\nabc\r\n"]) {
        const encoded = concat([encodeLatin1(start), bytes]);
        const cuts = encoded.length < 1000 ? [[1], [7, 2]] : [[999], [500, 37]];
        for (const pieces of [[encoded], ...cuts.map((cut) => cutBytes(encoded, ...cut))]) {
          await assertProtocolRejection(decode(pieces), codes, formatLabel(text));
        }
      }
    });
  }
});

Deno.test("ChunkedDecoderStream errors if the bytes end anywhere before the last chunk", async () => {
  const bytes = encodeLatin1("5;k=v\r\nhello\r\n0\r\n\r\n");
  for (let length = 0; length < bytes.length; length++) {
    const part = bytes.slice(0, length);
    await assertCutShort(decode(part.length > 0 ? [part] : []), formatLabel(decodeLatin1(part)));
  }
});

Deno.test("ChunkedDecoderStream errors if bytes follow the last chunk", async () => {
  const bytes = encodeLatin1("2\r\nhi\r\n0\r\n\r\n");
  for (const extraBytes of ["X", "0\r\n\r\n", "\r\n", "\0"]) {
    const encoded = concat([bytes, encodeLatin1(extraBytes)]);
    for (const pieces of [[encoded], [bytes, encodeLatin1(extraBytes)], cutBytes(encoded, 1)]) {
      const source = new TrackedStream(pieces);
      const decoded = source.stream.pipeThrough(new ChunkedDecoderStream());
      await assertBodyError(Array.fromAsync(decoded), formatLabel(extraBytes));
      assert(source.isSettled);
    }
  }
});

Deno.test("ChunkedDecoderStream accepts a writer that reuses its memory for each piece", async () => {
  const bytes = encodeLatin1("5;k=v\r\nhello\r\n3\r\nabc\r\n0\r\n\r\n");
  for (const length of [1, 2, 3, 7]) {
    const { readable, writable } = new ChunkedDecoderStream();
    const decoded = Array.fromAsync(readable);
    const writer = writable.getWriter();
    const buffer = new Uint8Array(length);
    for (const piece of cutBytes(bytes, length)) {
      buffer.set(piece);
      await writer.write(buffer.subarray(0, piece.length));
      buffer.fill(0);
    }
    await writer.close();
    assertEquals<unknown>((await decoded).map(flattenChunk), [["k=v", "hello"], [null, "abc"], [
      null,
      "",
    ]]);
  }
});

Deno.test("ChunkedDecoderStream yields chunks that later ones don't change", async () => {
  const bytes = encodeLatin1("3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n");
  const expected = await decode([bytes]);
  bytes.fill(0);
  const texts = expected.map(flattenChunk);
  expected[1]?.[1].fill(0);
  assertEquals(flattenChunk(expected[0] ?? [null, bytes]), texts[0]);
});
