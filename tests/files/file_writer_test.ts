/** Writing bodies to a file. */
import { assertEquals, assertRejects } from "@std/assert";
import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import fc from "fast-check";
import { ChunkedBody } from "@degu/degu/base";
import { receive } from "@degu/internal/files/file_writer.ts";
import { Refusal } from "@degu/internal/files/refusal.ts";
import { bodyOf } from "@degu/testing/bodies.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { pattern } from "@degu/testing/served_directory.ts";

/** An empty file, and what is in it. */
async function openEmpty() {
  const dir = await tempDir();
  const handle = await open(`${dir.path}/file`, "w+");
  return {
    path: `${dir.path}/file`,
    handle,
    content: () => Deno.readFile(`${dir.path}/file`),
    [Symbol.asyncDispose]: async () => {
      await handle.close();
      await dir[Symbol.asyncDispose]();
    },
  };
}

const noLimit = (file: { path: string; handle: FileHandle }) => ({
  file,
  start: 0,
  limit: Infinity,
  length: null,
  hash: null,
});

Deno.test("a body is written and hashed unchanged, however it is split", async () => {
  const lengths = fc.array(fc.integer({ min: 1, max: 700_000 }), { maxLength: 4 });
  const property = fc.asyncProperty(lengths, fc.nat(3), async (lengths, start) => {
    await using file = await openEmpty();
    const content = pattern(lengths.reduce((sum, length) => sum + length, 10));
    const hash = createHash("sha256");
    const body = bodyOf(content, lengths);
    const limit = start + content.length;
    await receive(body, { file, start, limit, length: limit, hash });
    const expected = createHash("sha256").update(content).digest("hex");
    assertEquals(hash.digest("hex"), expected);
    const written = createHash("sha256").update((await file.content()).subarray(start));
    assertEquals(written.digest("hex"), expected);
  });
  await fc.assert(property, { numRuns: 20 });
});

Deno.test("a null body leaves the file unchanged", async () => {
  await using file = await openEmpty();
  await receive(null, noLimit(file));
  assertEquals(await file.content(), new Uint8Array(0));
});

Deno.test("a body that exceeds its limit is refused", async () => {
  await using file = await openEmpty();
  const body = bodyOf(pattern(100_000), []);
  const receiving = () => receive(body, { ...noLimit(file), limit: 99_999 });
  assertEquals((await assertRejects(receiving, Refusal)).status, 413);
  const stream = ReadableStream.from([new TextEncoder().encode("5\r\n12345\r\n0\r\n\r\n")]);
  const chunked = () => receive(new ChunkedBody(stream), { ...noLimit(file), start: 2, limit: 6 });
  assertEquals((await assertRejects(chunked, Refusal)).status, 413);
});

Deno.test("what was received before a body failed is in the file", async () => {
  await using file = await openEmpty();
  const failure = new Error("cut");
  const content = pattern(2_000_000);
  const body = bodyOf(content, [600_000, 700_000], failure);
  const error = await receive(body, noLimit(file)).catch((error) => error);
  assertEquals(error, failure);
  const written = await file.content();
  assertEquals(written.length, 1_300_000);
  assertEquals(written.every((byte, i) => byte === content[i]), true);
});
