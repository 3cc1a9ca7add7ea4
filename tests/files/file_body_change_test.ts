/** FilesApp: files that change while they are sent. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { BodyError, ProtocolError } from "@degu/degu/base";
import { FilesApp } from "@degu/degu/files";
import { makeFileBody } from "@degu/internal/files/file_body.ts";
import { isOverwritten } from "@degu/internal/files/file_state.ts";
import { openBelow } from "@degu/internal/files/open_file.ts";
import { mkreq } from "@degu/degu/misc";
import { LARGE, makeTree, serveLarge } from "@degu/testing/served_directory.ts";
import { openFilesBelow } from "@degu/testing/special_files.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

const linux = Deno.build.os === "linux";

Deno.test("a file that is truncated cuts the response, and never completes it", async () => {
  await using large = await serveLarge();
  // More than fits into all buffers on the way.
  await Deno.truncate(`${large.root}/large`, 64 * 1048576);
  using conn = await large.serving.makeClient().connect();
  const { body } = await conn.get("/large");
  await Deno.truncate(`${large.root}/large`, 1000);
  const error = await assertRejects(() => body!.writeTo(new WritableStream()), ProtocolError);
  assertEquals(error.code, "BODY_INCOMPLETE");
  assertStringIncludes((await large.serving.logger.waitFor("error"))[0]!, "BodyError");
  if (linux) assertEquals(await openFilesBelow(large.root), []);
});

Deno.test("a file that grows, or is replaced, arrives as announced", async () => {
  await using large = await serveLarge();
  using conn = await large.serving.makeClient().connect();
  {
    const { body } = await conn.get("/large");
    await Deno.writeFile(`${large.root}/large`, new Uint8Array(100).fill(2), { append: true });
    const bytes = await body!.bytes();
    assertEquals(bytes.length, LARGE);
    assert(bytes.every((byte) => byte === 1));
  }
  const { body } = await conn.get("/large");
  await Deno.writeFile(`${large.root}/new`, new Uint8Array(5).fill(3));
  await Deno.rename(`${large.root}/new`, `${large.root}/large`);
  assertEquals((await body!.bytes()).length, LARGE + 100);
  assertEquals((await (await conn.get("/large")).body!.bytes()).length, 5);
  assertEquals(large.serving.logger.at("error"), []);
});

/** Gives the large file a time long ago, so that whatever is written later has another one. */
async function age(root: string): Promise<void> {
  await Deno.utime(`${root}/large`, new Date(0), new Date(0));
}

/** Writes some bytes into a file, which keeps its size. */
async function overwrite(path: string, at: number): Promise<void> {
  using file = await Deno.open(path, { write: true });
  await file.seek(at, Deno.SeekMode.Start);
  await file.write(new Uint8Array(10).fill(2));
}

Deno.test("a file that is overwritten in place cuts the response", async () => {
  await using large = await serveLarge();
  // More than fits into all buffers on the way.
  await Deno.truncate(`${large.root}/large`, 64 * 1048576);
  await age(large.root);
  for (const at of [0, 30 * 1048576, 64 * 1048576 - 10]) {
    using conn = await large.serving.makeClient().connect();
    const { body } = await conn.get("/large");
    await overwrite(`${large.root}/large`, at);
    const error = await assertRejects(() => body!.writeTo(new WritableStream()), ProtocolError);
    assertEquals(error.code, "BODY_INCOMPLETE", `${at}`);
  }
  const [logged = ""] = await large.serving.logger.waitFor("error");
  assertStringIncludes(logged, `${large.root}/large was overwritten while it was sent`);
  if (linux) assertEquals(await openFilesBelow(large.root), []);
});

/** What may become of a file between its opening and its last byte, and whether that cuts it. */
const CHANGES: Record<string, readonly [change: (path: string) => Promise<void>, cut: boolean]> = {
  "left alone": [() => Promise.resolve(), false],
  "overwritten at its beginning": [(path) => overwrite(path, 0), true],
  "overwritten at its end": [(path) => overwrite(path, 39_990), true],
  "written anew": [(path) => Deno.writeFile(path, new Uint8Array(40_000).fill(2)), true],
  "written anew and shorter": [(path) => Deno.writeFile(path, new Uint8Array(39_999)), true],
  "emptied": [(path) => Deno.truncate(path), true],
  "touched": [(path) => Deno.utime(path, new Date(), new Date()), true],
  "appended to": [
    (path) => Deno.writeFile(path, new Uint8Array(10).fill(2), { append: true }),
    false,
  ],
  "removed": [(path) => Deno.remove(path), false],
  "replaced": [async (path) => {
    await Deno.writeFile(`${path}.new`, new Uint8Array(40_000).fill(2));
    await Deno.rename(`${path}.new`, path);
  }, false],
};

for (const [what, [change, cut]] of Object.entries(CHANGES)) {
  Deno.test(`a file that is ${what} is ${cut ? "never completed" : "sent as it was"}`, async () => {
    await using tree = await makeTree();
    const path = `${tree.root}/large`;
    // One piece; and several, of which the first may go out before the last is there.
    for (const size of [40_000, 2_000_000]) {
      await Deno.writeFile(path, new Uint8Array(size).fill(1));
      await age(tree.root);
      const [, , , body] = await new FilesApp(tree.root).handle(mkreq("GET", "/large"));
      assert(body !== null && !(body instanceof Uint8Array));
      await change(path);
      let written = 0;
      const writing = body.writeTo({
        write(bytes) {
          written += bytes.length;
          assert(cut || bytes.every((byte) => byte === 1));
          return Promise.resolve();
        },
      });
      if (cut) {
        await assertRejects(() => writing, BodyError, "was overwritten");
        assert(written < size, `${written} of ${size} bytes`);
      } else {
        assertEquals(await writing, size);
      }
      if (linux) assertEquals(await openFilesBelow(tree.root), []);
    }
  });
}

Deno.test("a small file that is overwritten meanwhile is not sent", async () => {
  await using tree = await makeTree();
  for (const content of ["PUBLIC", "pub", "", "longer than it was"]) {
    await Deno.writeTextFile(`${tree.root}/file`, "public");
    await Deno.utime(`${tree.root}/file`, new Date(0), new Date(0));
    const file = await openBelow(tree.root, ["file"]);
    assert(file !== null && file !== "directory");
    await Deno.writeTextFile(`${tree.root}/file`, content);
    const making = makeFileBody(file, 0, file.size);
    // Of a file that has grown nobody can tell more than that.
    if (content.length > file.size) assertEquals(await making, latin1("longer"));
    else await assertRejects(() => making, BodyError, "was overwritten", content);
    if (linux) assertEquals(await openFilesBelow(tree.root), []);
  }
});

Deno.test("whether a file is the same is decided by its metadata", () => {
  const first = { dev: 1n, ino: 2n, nlink: 1n, size: 3n, mtimeNs: 4n, ctimeNs: 5n };
  const cases: [now: Partial<typeof first>, overwritten: boolean][] = [
    [{}, false],
    [{ mtimeNs: 5n }, true],
    [{ mtimeNs: 3n }, true],
    [{ size: 2n }, true],
    [{ size: 4n }, false],
    [{ size: 4n, mtimeNs: 5n, ctimeNs: 6n }, false],
    // A time that was set back.
    [{ ctimeNs: 6n }, true],
    // A name that was taken away changes the times as well; one that was added is no excuse.
    [{ ctimeNs: 6n, nlink: 0n }, false],
    [{ ctimeNs: 6n, nlink: 2n }, true],
    [{ mtimeNs: 5n, ctimeNs: 6n, nlink: 0n }, true],
  ];
  for (const [now, overwritten] of cases) {
    assertEquals(isOverwritten(first, { ...first, ...now }), overwritten, Deno.inspect(now));
  }
});
