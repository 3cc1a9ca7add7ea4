/** FilesApp: ranges of files, and the pieces that are sent. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Buffer } from "node:buffer";
import { Range } from "@degu/degu/base";
import { FilesApp } from "@degu/degu/files";
import { mkreq } from "@degu/degu/misc";
import { tempDir } from "@degu/testing/directories.ts";
import { turnOfEventLoop } from "@degu/testing/raw_peer.ts";
import { pattern, serveDirectory, summarize } from "@degu/testing/served_directory.ts";

Deno.test("FilesApp serves every single range", async () => {
  await using files = await serveDirectory();
  for (const size of [1, 10, 100_000, 2_000_000]) {
    const content = pattern(size);
    await files.write("file", content);
    const property = fc.asyncProperty(
      fc.nat(size - 1),
      fc.integer({ min: 1, max: size + 10 }),
      async (start, length) => {
        const response = await files.conn.getRange("/file", {}, start, start + length);
        const stop = Math.min(start + length, size);
        assertEquals([response.status, response.reason], [206, "Partial Content"]);
        assertEquals(
          String(response.headers["content-range"]),
          `bytes ${start}-${stop - 1}/${size}`,
        );
        assertEquals(response.headers["content-length"], stop - start);
        const bytes = await response.body!.bytes();
        assertEquals(Buffer.compare(bytes, content.subarray(start, stop)), 0);
      },
    );
    await fc.assert(property, { numRuns: 20 });
  }
});

Deno.test("a range beyond the end is answered with 416, without content-range", async () => {
  await using files = await serveDirectory();
  await files.write("ten", "0123456789");
  await files.write("empty", "");
  const cases: [name: string, start: number, stop: number][] = [
    ["ten", 10, 11],
    ["ten", 10, 2 ** 53 - 1],
    ["ten", 2 ** 53 - 2, 2 ** 53 - 1],
    ["empty", 0, 1],
  ];
  for (const [name, start, stop] of cases) {
    using conn = await files.serving.makeClient().connect();
    const response = await conn.getRange(`/${name}`, {}, start, stop);
    assertEquals(response.reason, "Range Not Satisfiable");
    assertEquals(await summarize(response, "content-length", "content-range"), [
      416,
      0,
      undefined,
      "",
    ]);
  }
});

Deno.test("a range has an effect on GET only", async () => {
  await using files = await serveDirectory();
  await files.write("ten", "0123456789");
  for (const range of [new Range(2, 5), new Range(10, 11)]) {
    const response = await files.conn.head("/ten", { range });
    assertEquals(await summarize(response, "content-length", "content-range"), [
      200,
      10,
      undefined,
      null,
    ]);
  }
});

Deno.test("a piece of a file keeps its bytes until it has been written", async () => {
  await using dir = await tempDir();
  const content = pattern(3_000_000);
  await Deno.writeFile(`${dir.path}/file`, content);
  const [, , , body] = await new FilesApp(dir.path).handle(mkreq("GET", "/file"));
  assert(body !== null && !(body instanceof Uint8Array));
  let position = 0;
  await body.writeTo({
    async write(bytes) {
      // Long enough for the next piece to have been read.
      for (let turn = 0; turn < 3; turn++) await turnOfEventLoop();
      const expected = content.subarray(position, position += bytes.length);
      assertEquals(Buffer.compare(bytes, expected), 0);
    },
  });
  assertEquals(position, content.length);
});
