/** The file that an upload reads. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { createHash } from "node:crypto";
import { BodyIter } from "@degu/degu/base";
import { TransferError } from "@degu/degu/files";
import { SourceFile } from "@degu/internal/files/source_file.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { pattern } from "@degu/testing/served_directory.ts";
import { makeFifo, makeLinks } from "@degu/testing/special_files.ts";

const SIZES = [0, 1, 1048576, 1048577, 2_500_000];

/** All bytes of the body of a source. */
async function readFrom(source: SourceFile, offset: number): Promise<Uint8Array> {
  const sent: number[] = [];
  const body = await source.body(offset, (count) => void sent.push(count));
  if (body instanceof Uint8Array) return body;
  assert(body instanceof BodyIter);
  const all = new Uint8Array(source.size - offset);
  let at = 0;
  const write = (piece: Uint8Array) => {
    all.set(piece, at);
    at += piece.length;
  };
  await body.writeTo(new WritableStream({ write }));
  assertEquals([at, sent.reduce((sum, count) => sum + count, 0)], [all.length, all.length]);
  return all;
}

Deno.test("a file of any size is hashed, and read from any offset, as often as needed", async () => {
  await using dir = await tempDir();
  for (const size of SIZES) {
    const content = pattern(size);
    await Deno.writeFile(`${dir.path}/f`, content);
    await using source = await SourceFile.open(`${dir.path}/f`);
    assertEquals(source.size, size);
    const digest = createHash("sha256").update(content).digest("hex");
    for (const offset of [0, Math.floor(size / 3), size]) {
      assertEquals(await source.hash(undefined), digest);
      const rest = await readFrom(source, offset);
      assert(
        rest.length === size - offset && rest.every((byte, i) => byte === content[offset + i]),
      );
    }
  }
});

Deno.test("only a regular file can be the source, even through a link", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/f`, "12345");
  await makeLinks({ [`${dir.path}/link`]: "f", [`${dir.path}/up`]: "." });
  await using source = await SourceFile.open(`${dir.path}/link`);
  assertEquals(source.size, 5);
  for (const name of ["", "/up"]) {
    const opening = () => SourceFile.open(`${dir.path}${name}`);
    await assertRejects(opening, Deno.errors.IsADirectory, "one by one");
  }
  await assertRejects(() => SourceFile.open(`${dir.path}/none`), Deno.errors.NotFound);
  if (await makeFifo(`${dir.path}/fifo`)) {
    await assertRejects(() => SourceFile.open(`${dir.path}/fifo`), RangeError, "regular file");
  }
});

Deno.test("a file that was overwritten or truncated never reaches its end", async () => {
  await using dir = await tempDir();
  const path = `${dir.path}/f`;
  const changes = [
    () => Deno.writeFile(path, pattern(2_500_000).toReversed()),
    () => Deno.truncate(path, 10),
  ];
  for (const change of changes) {
    await Deno.writeFile(path, pattern(2_500_000));
    await Deno.utime(path, new Date(1e12), new Date(1e12));
    await using source = await SourceFile.open(path);
    await change();
    const error = await assertRejects(() => source.hash(undefined), TransferError, path);
    assertEquals(error.code, "CHANGED");
    await assertRejects(() => readFrom(source, 5), TransferError, "changed while it was moved");
  }
});

Deno.test("appended data is ignored", async () => {
  await using dir = await tempDir();
  const path = `${dir.path}/f`;
  await Deno.writeFile(path, pattern(2_500_000));
  await using source = await SourceFile.open(path);
  await Deno.writeFile(path, new Uint8Array(10), { append: true });
  const digest = createHash("sha256").update(pattern(2_500_000)).digest("hex");
  assertEquals([await source.hash(undefined), source.size], [digest, 2_500_000]);
});
