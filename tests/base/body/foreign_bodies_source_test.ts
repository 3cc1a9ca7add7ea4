/** What a body of another class can read of a connection: its own bytes, checked, and the end. */
import { assert, assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { Body, BodyError, type ByteSource, ChunkedBody, ProtocolError } from "@degu/degu/base";
import { formatChunk } from "@degu/degu/misc";
import { BodySource, ByteReader } from "@degu/internal/base/body/byte_io.ts";
import { CodingCheck, sourceFor } from "@degu/internal/base/body/foreign_bodies.ts";
import * as arbitrary from "@degu/testing/arbitraries.ts";
import { rejectionOf, thrownBy } from "@degu/testing/expectations.ts";
import { concat, cut, PieceSource } from "@degu/testing/streams.ts";
import { fromLatin1, latin1 } from "@degu/testing/wire_grammar.ts";

class Foreign {}

/** A connection with the given pieces, whose first ones may be buffered. */
class Connected extends BodySource {
  readonly reader: ByteReader;
  readonly exact = false;
  readonly isPrivate = true;
  readonly pieceBytes = 100;
  readonly mostBytes = 100;
  readonly told: string[] = [];
  readonly #pieces: ByteSource;

  constructor(pieces: Uint8Array[]) {
    super();
    this.#pieces = new PieceSource(pieces);
    this.reader = new ByteReader(this);
  }

  read(into: Uint8Array): Promise<number | null> {
    return this.#pieces.read(into);
  }

  override consumed(): void {
    this.told.push("consumed");
  }

  override failed(): void {
    this.told.push("failed");
  }

  override incomplete(missing: number): Error {
    return new RangeError(`${missing} missing`);
  }
}

/** All that a source has, in reads of so many bytes. */
async function readAll(source: ByteSource, room: number): Promise<string> {
  let text = "";
  for (;;) {
    const into = new Uint8Array(room);
    const count = await source.read(into);
    if (count === null) return text;
    text += fromLatin1(into.subarray(0, count));
  }
}

Deno.test("one of our body classes, or a class that extends it, reads the connection directly", () => {
  const source = new Connected([]);
  class Extended extends Body {}
  class Twice extends Extended {}
  for (const used of [Body, Extended, Twice]) {
    assertStrictEquals(sourceFor(used, Body, source, 5), source);
  }
  const others = [Foreign, ChunkedBody, Object, { prototype: Body }, { prototype: null }];
  for (const used of others) {
    assert(!(sourceFor(used, Body, source, 5) instanceof BodySource));
  }
});

Deno.test("the source of a foreign body exposes nothing of the connection", () => {
  for (const framing of [5, "chunked"] as const) {
    const source = sourceFor(Foreign, Body, new Connected([]), framing);
    assertEquals(Reflect.ownKeys(source), []);
  }
});

Deno.test("a foreign body of known length reads its own bytes, in any portions, and then the end", async () => {
  const args = [
    fc.nat(40),
    arbitrary.pieceLengths,
    fc.integer({ min: 1, max: 50 }),
    fc.boolean(),
  ] as const;
  await fc.assert(
    fc.asyncProperty(...args, async (length, lengths, room, buffered) => {
      const bytes = latin1("x".repeat(length) + "GET / HTTP/1.1\r\n\r\n");
      const connection = new Connected(cut(bytes, ...lengths));
      if (buffered) await connection.reader.fill();
      const source = sourceFor(Foreign, Body, connection, length);
      assertEquals(await readAll(source, room), "x".repeat(length));
      assertEquals([connection.told, await source.read(new Uint8Array(9))], [
        length > 0 ? ["consumed"] : [],
        null,
      ]);
    }),
  );
});

Deno.test("a foreign chunked body reads its own coding, in any portions, and then the end", async () => {
  const args = [arbitrary.chunks, arbitrary.pieceLengths, fc.integer({ min: 1, max: 50 })] as const;
  await fc.assert(
    fc.asyncProperty(...args, async (chunks, lengths, room) => {
      const coding = fromLatin1(concat(chunks.map(formatChunk)));
      const bytes = latin1(coding + "GET / HTTP/1.1\r\n\r\n");
      const connection = new Connected(cut(bytes, ...lengths));
      const source = sourceFor(Foreign, ChunkedBody, connection, "chunked");
      assertEquals(await readAll(source, room), coding);
      assertEquals([connection.told, await source.read(new Uint8Array(9))], [["consumed"], null]);
    }),
  );
});

Deno.test("a foreign body fails if the connection ends or breaks before its end", async () => {
  const cutShort = new Connected([latin1("abc")]);
  const error = await rejectionOf(readAll(sourceFor(Foreign, Body, cutShort, 5), 9), "a cut body");
  assertEquals([(error as Error).message, cutShort.told], ["2 missing", ["failed"]]);
  const broken = new Connected([latin1("5\r\nhello\r\nx")]);
  const reading = readAll(sourceFor(Foreign, ChunkedBody, broken, "chunked"), 9);
  assertInstanceOf(await rejectionOf(reading, "a broken body"), ProtocolError);
  assertEquals(broken.told, ["failed"]);
});

Deno.test("a foreign body can't read twice at once, or again after a read has failed", async () => {
  const connection = new Connected([latin1("hello")]);
  const source = sourceFor(Foreign, Body, connection, 5);
  const first = source.read(new Uint8Array(2));
  assertInstanceOf(await rejectionOf(source.read(new Uint8Array(2)), "two reads"), BodyError);
  assertEquals([await first, await source.read(new Uint8Array(9))], [2, 3]);
});

Deno.test("CodingCheck returns a copy, and reports an invalid coding with its cause", () => {
  const check = new CodingCheck();
  const bytes = latin1("1\r\nx\r\n");
  const valid = check.check(bytes);
  bytes.fill(0x79);
  assertEquals(fromLatin1(valid), "1\r\nx\r\n");
  for (const call of [() => check.end(), () => check.check(latin1("x\r\n"))]) {
    const error = thrownBy(call, "a broken coding");
    assertInstanceOf(error, BodyError);
    assertInstanceOf(error.cause, ProtocolError);
  }
});
