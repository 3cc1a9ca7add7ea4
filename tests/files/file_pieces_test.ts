/** Files that are read piece by piece. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { hashPieces, readPieces } from "@degu/internal/files/file_pieces.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { pattern } from "@degu/testing/served_directory.ts";

const SIZE = 2_500_000;
const tooShort = () => new Error("too short");

/** A file of a pattern that is open for reading. */
async function openPattern() {
  const dir = await tempDir();
  await Deno.writeFile(`${dir.path}/file`, pattern(SIZE));
  const file = await Deno.open(`${dir.path}/file`, { read: true });
  return {
    file,
    path: `${dir.path}/file`,
    [Symbol.asyncDispose]: async () => {
      file.close();
      await dir[Symbol.asyncDispose]();
    },
  };
}

Deno.test("the bytes between two positions are read in order", async () => {
  await using opened = await openPattern();
  const content = pattern(SIZE);
  const position = fc.integer({ min: 0, max: SIZE });
  const property = fc.asyncProperty(position, position, async (one, other) => {
    const start = Math.min(one, other);
    const stop = Math.max(one, other);
    let at = start;
    for await (const piece of readPieces(opened.file, start, stop, tooShort)) {
      assert(piece.length > 0, "an empty piece");
      // The next one is being read meanwhile.
      await Promise.resolve();
      assert(piece.every((byte, i) => byte === content[at + i]), `${at}`);
      at += piece.length;
    }
    assertEquals(at, stop);
  });
  await fc.assert(property, { numRuns: 10, examples: [[0, 0], [0, SIZE], [SIZE, SIZE]] });
});

Deno.test("a file that ends early is the caller's error, after the available bytes", async () => {
  await using opened = await openPattern();
  let count = 0;
  const reading = async () => {
    for await (const piece of readPieces(opened.file, 10, SIZE + 1, tooShort)) {
      count += piece.length;
    }
  };
  await assertRejects(reading, Error, "too short");
  assertEquals(count, SIZE - 10);
});

Deno.test("a reader that stops early releases the file", async () => {
  await using opened = await openPattern();
  for await (const _piece of readPieces(opened.file, 0, SIZE, tooShort)) break;
  await opened.file.seek(0, Deno.SeekMode.Start);
  const first = new Uint8Array(10);
  assertEquals([await opened.file.read(first), first], [10, pattern(10)]);
});

Deno.test("pieces are hashed until a signal is aborted", async () => {
  await using opened = await openPattern();
  const hash = createHash("sha256");
  await hashPieces(readPieces(opened.file, 0, SIZE, tooShort), hash, undefined);
  assertEquals(hash.digest("hex"), createHash("sha256").update(pattern(SIZE)).digest("hex"));
  const controller = new AbortController();
  const reason = new Error("enough");
  const pieces = async function* () {
    for await (const piece of readPieces(opened.file, 0, SIZE, tooShort)) {
      yield piece;
      controller.abort(reason);
    }
  };
  const hashing = () => hashPieces(pieces(), createHash("sha256"), controller.signal);
  assertEquals(await assertRejects(hashing, Error), reason);
});
