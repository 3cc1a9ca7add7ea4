import { toText } from "@std/streams";
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { ChunkedBody, DeguError } from "@degu/degu/base";
import { formatChunk } from "@degu/degu/misc";
import { chunks as chunksArbitrary, damaged, pieceLengths } from "@degu/testing/arbitraries.ts";
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
  assertProtocolRejection,
  assertTypeError,
  constructWith,
  shown,
} from "@degu/testing/expectations.ts";
import { collect, concat, cut, everySplit, PieceSource, streamOf } from "@degu/testing/streams.ts";
import { fromLatin1, latin1 } from "@degu/testing/wire_grammar.ts";
import { acceptedChunkLines, refusedChunkLines } from "@degu/testing/wire_vectors.ts";

/** The operations that take a body to its end. */
const finishers = { ...operations, "readChunk()": readChunks };

Deno.test("ChunkedBody reports that it is chunked", () => {
  assertStrictEquals(new ChunkedBody(new PieceSource([])).chunked, true);
});

Deno.test("ChunkedBody refuses an invalid source", () => {
  const sources = [null, undefined, "0\r\n\r\n", 5, {}, [], ENCODED, new Blob(["a"]), { read: 5 }];
  for (const source of sources) {
    assertTypeError(() => constructWith(ChunkedBody, source), Deno.inspect(source));
  }
});

Deno.test("ChunkedBody.readChunk returns each chunk as it was sent, the empty one last", async (t) => {
  await withEachSource(t, ENCODED, async (body) => {
    assertEquals<unknown>((await readChunks(body)).map(flat), CHUNKS);
    await assertBodyError(body.readChunk(), "readChunk() after the last one");
  });
});

Deno.test("ChunkedBody iterates over the chunks, the empty one last", async (t) => {
  await withEachSource(t, ENCODED, async (body) => {
    assertEquals<unknown>((await collect(body)).map(flat), CHUNKS);
    await assertBodyError(body.readChunk(), "readChunk() after it");
  });
});

Deno.test("ChunkedBody.read, bytes, text and json return all the data", async (t) => {
  await withEachSource(
    t,
    ENCODED,
    async (body) => assertEquals(fromLatin1(await body.read()), DATA),
  );
  await withEachSource(
    t,
    ENCODED,
    async (body) => assertEquals(fromLatin1(await body.bytes()), DATA),
  );
  await withEachSource(t, ENCODED, async (body) => assertEquals(await body.text(), DATA));
  await withEachSource(t, ENCODED, async (body) => assertEquals(await body.json(), Number(DATA)));
});

Deno.test("ChunkedBody.read returns the rest after some chunks", async () => {
  const body = new ChunkedBody(streamOf(ENCODED));
  assertEquals(flat(await body.readChunk()), [null, "123"]);
  assertEquals(fromLatin1(await body.read()), "4567890");
  assertEquals(await body.read(), new Uint8Array(0));
  await assertBodyError(body.read(), "the second read after the end");
});

Deno.test("ChunkedBody reads the same chunks however they are split", async () => {
  for (const pieces of everySplit(ENCODED)) {
    assertEquals<unknown>((await collect(new ChunkedBody(streamOf(...pieces)))).map(flat), CHUNKS);
    const body = new ChunkedBody(new PieceSource(pieces));
    assertEquals<unknown>((await readChunks(body)).map(flat), CHUNKS);
  }
  await fc.assert(
    fc.asyncProperty(chunksArbitrary, pieceLengths, async (chunks, lengths) => {
      const bytes = concat(chunks.map(formatChunk));
      const body = new ChunkedBody(streamOf(...cut(bytes, ...lengths)));
      assertEquals((await readChunks(body)).map(flat), chunks.map(flat));
    }),
    { numRuns: 50 },
  );
});

Deno.test("ChunkedBody has the same result or error however its bytes are split", async () => {
  const outcome = async (source: ReadableStream<Uint8Array> | PieceSource): Promise<unknown> => {
    try {
      return (await readChunks(new ChunkedBody(source))).map(flat);
    } catch (error) {
      assert(error instanceof DeguError, Deno.inspect(error));
      return [error.name, "code" in error ? error.code : null];
    }
  };
  const text = chunksArbitrary.map((chunks) => fromLatin1(concat(chunks.map(formatChunk))));
  await fc.assert(
    fc.asyncProperty(damaged(text), pieceLengths, async (bytes, lengths) => {
      const whole = await outcome(streamOf(...[bytes].filter((piece) => piece.length > 0)));
      assertEquals(await outcome(streamOf(...cut(bytes, ...lengths))), whole);
      assertEquals(await outcome(streamOf(...cut(bytes, 1))), whole);
      const source = await outcome(new PieceSource([bytes]));
      assertEquals(await outcome(new PieceSource(cut(bytes, ...lengths))), source);
    }),
    { numRuns: 100 },
  );
});

Deno.test("ChunkedBody returns an empty array to the first read after its end, then rejects", async (t) => {
  for (const [finisher, finish] of Object.entries(finishers)) {
    for (const read of ["read()", "bytes()"]) {
      await t.step(`${read} after ${finisher}`, async () => {
        const body = new ChunkedBody(streamOf(...cut(ENCODED, 4)));
        await finish(body);
        assertEquals(await operations[read]?.(body), new Uint8Array(0));
        for (const [operation, run] of Object.entries(operations)) {
          if (operation === "readable" && finisher === "readable") continue;
          await assertBodyError(run(body), `a later ${operation}`);
        }
      });
    }
  }
});

Deno.test("ChunkedBody rejects every other operation after its end", async (t) => {
  for (const [finisher, finish] of Object.entries(finishers)) {
    for (const operation of ["readChunk()", "iteration", "writeTo()", "readable"]) {
      if (operation === finisher && operation === "readable") continue;
      await t.step(`${operation} after ${finisher}`, async () => {
        const body = new ChunkedBody(new PieceSource([ENCODED]));
        await finish(body);
        await assertBodyError(operations[operation]?.(body) ?? Promise.resolve(), operation);
      });
    }
  }
});

Deno.test("ChunkedBody starts iteration, readable and writeTo only if nothing has been read", async (t) => {
  for (const start of ["readChunk()", "readable"]) {
    for (const operation of ["iteration", "writeTo()", "readable", "read()"]) {
      if (operation === start || operation === "read()" && start === "readChunk()") continue;
      await t.step(`${operation} after ${start}`, async () => {
        const body = new ChunkedBody(streamOf(ENCODED));
        if (start === "readable") assert(body.readable instanceof ReadableStream);
        else await body.readChunk();
        await assertBodyError(operations[operation]?.(body) ?? Promise.resolve(), operation);
      });
    }
  }
});

Deno.test("ChunkedBody is consumed only after its empty chunk was read", async () => {
  const body = new ChunkedBody(streamOf(ENCODED));
  for (let i = 0; i < 3; i++) await body.readChunk();
  assertEquals(flat(await body.readChunk()), [null, ""]);
  assertEquals(await body.read(), new Uint8Array(0));
  const empty = new ChunkedBody(streamOf(latin1("0;k=v\r\n\r\n")));
  assertEquals(flat(await empty.readChunk()), ["k=v", ""]);
  await assertBodyError(empty.readChunk(), "readChunk() after the last one");
});

Deno.test("ChunkedBody.readable has the data without the chunk lines", async () => {
  const body = new ChunkedBody(streamOf(...cut(ENCODED, 3)));
  const readable = body.readable;
  assertStrictEquals(body.readable, readable);
  assertEquals(await toText(readable), DATA);
  const reader = new ChunkedBody(new PieceSource(cut(ENCODED, 2))).readable.getReader({
    mode: "byob",
  });
  const pieces: Uint8Array[] = [];
  for (let turn = 0; turn < 20; turn++) {
    const { done, value } = await reader.read(new Uint8Array(2));
    if (done) break;
    pieces.push(value.slice());
  }
  assertEquals(fromLatin1(concat(pieces)), DATA);
  await reader.closed;
});

Deno.test("ChunkedBody reads every form of chunk line", async () => {
  for (const [line, size, extension] of acceptedChunkLines) {
    if (size > 1000) continue;
    const data = "x".repeat(size);
    const rest = size === 0 ? "\r\n" : `${data}\r\n0\r\n\r\n`;
    const body = new ChunkedBody(streamOf(latin1(`${line}\r\n${rest}`)));
    assertEquals(flat(await body.readChunk()), [extension && extension.join("="), data]);
  }
});

Deno.test("ChunkedBody refuses an invalid chunk in every operation", async (t) => {
  const rows: (readonly [text: string, ...codes: string[]])[] = [
    ...refusedChunkLines.map(([line, ...codes]) => [`${line}\r\n`, ...codes] as const),
    ["5\r\nhelloXY0\r\n\r\n", "BAD_CHUNK_END"],
    ["5\r\nhello\n", "BAD_CHUNK_END", "BODY_INCOMPLETE"],
    ["5\r\nhello\n\r", "BAD_CHUNK_END"],
    ["0\r\nXY", "BAD_CHUNK_END"],
    ["0\r\na: b\r\n\r\n", "BAD_CHUNK_END"],
    [`5;k=${"v".repeat(4091)}\r\n`, "CHUNK_LINE_TOO_LONG"],
    ["1".repeat(4097), "CHUNK_LINE_TOO_LONG", "BAD_CHUNK_LINE"],
  ];
  for (const [text, ...codes] of rows) {
    await t.step(shown(text), async () => {
      for (const [operation, run] of Object.entries(operations)) {
        for (const source of [streamOf(latin1(text)), new PieceSource(cut(latin1(text), 1))]) {
          const body = new ChunkedBody(source);
          await assertProtocolRejection(run(body), codes, operation);
          await assertBodyError(body.read(), `read() after a failed ${operation}`);
        }
      }
    });
  }
});
