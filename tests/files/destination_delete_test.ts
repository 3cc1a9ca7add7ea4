/** DELETE: files and empty directories that peers remove. */
import { assertEquals } from "@std/assert";
import { BodyIter, type HeaderDict } from "@degu/degu/base";
import { fileUri } from "@degu/internal/files/file_name.ts";
import { RESERVED } from "@degu/internal/files/reserved.ts";
import { entries } from "@degu/testing/directories.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { serveForWriting, statusOf } from "@degu/testing/written_directory.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

Deno.test("only files and empty directories are deleted", async () => {
  await using files = await serveForWriting();
  await Deno.mkdir(`${files.root}/empty/deep`, { recursive: true });
  await Deno.mkdir(`${files.root}/${RESERVED}`);
  await Deno.mkdir(`${files.root}/sub/${RESERVED}`);
  for (const name of [".a.degu-part.json", "a b", `sub/${RESERVED}/part`, "sub/.a.degu-part"]) {
    await Deno.writeTextFile(`${files.root}/${name}`, "");
  }
  const cases: [uri: string, status: number, headers?: HeaderDict][] = [
    ["/none", 404],
    ["/none/", 404],
    ["/none/none", 404],
    ["/file/", 404],
    ["/file/none", 409],
    ["/a:b", 404],
    ["/~66ile", 404],
    ["/.", 404],
    ["/", 403],
    [`/${RESERVED}`, 403],
    [`/${RESERVED}/`, 403],
    [`/${RESERVED}/a`, 403],
    [`/sub/${RESERVED}`, 403],
    [`/sub/${RESERVED}/part`, 403],
    [`/sub/${RESERVED.toUpperCase()}`, 403],
    [`/none/${RESERVED}`, 403],
    ["/sub/.a.degu-part", 403],
    ["/.a.degu-part.json", 403],
    ["/sub", 409],
    ["/sub/", 409],
    ["/empty", 409],
    ["/file", 412, { "if-match": '"a"' }],
    ["/file", 412, { "if-none-match": "*" }],
    ["/file", 412, { "if-unmodified-since": new Date(0).toUTCString() }],
    ["/empty/deep/", 412, { "if-match": '"a"' }],
    ["/empty/deep/", 204],
    ["/empty", 204],
    ["/file", 204, { "if-match": "*" }],
    ["/file", 404],
    [fileUri("a b"), 204],
  ];
  for (const [uri, status, headers = {}] of cases) {
    const response = await files.request("DELETE", uri, headers);
    assertEquals(await statusOf(response), status, uri);
  }
  assertEquals(await entries(files.root), [".a.degu-part.json", RESERVED, "sub"]);
  assertEquals(await entries(`${files.root}/sub`), [".a.degu-part", RESERVED, "file"]);
  assertEquals(await entries(`${files.root}/sub/${RESERVED}`), ["part"]);
  assertEquals(await files.read("sub/file"), "public");
});

Deno.test("a directory that vanishes while a file is sent to it is made again", async () => {
  await using files = await serveForWriting();
  await Deno.mkdir(`${files.root}/dir`);
  for (const [uri, deleted] of [["/dir/a", "/dir"], ["/file", "/file"]] as const) {
    const body = new BodyIter(
      (async function* () {
        yield latin1("12345");
        while ((await files.unfinished()).length === 0);
        assertEquals(await statusOf(await files.request("DELETE", deleted)), 204);
        yield latin1("67890");
      })(),
      10,
    );
    assertEquals(await files.put(uri, body), 201);
    assertEquals(await files.read(uri.slice(1)), "1234567890");
  }
});

Deno.test("a file that is deleted while it is sent arrives whole", async () => {
  await using files = await serveForWriting();
  await Deno.writeFile(`${files.root}/large`, new Uint8Array(20_000_000).fill(1));
  using conn = await files.serving.makeClient().connect();
  const { body } = await conn.get("/large");
  assertEquals(await statusOf(await files.request("DELETE", "/large")), 204);
  assertEquals(await body!.writeTo(new WritableStream()), 20_000_000);
  assertEquals((await conn.get("/large")).status, 404);
});

Deno.test("a directory with nothing but left-over parts is deleted, unless one of them is held", async () => {
  await using files = await serveForWriting();
  const { root } = files;
  const unfinished = [`put-${"0".repeat(32)}`, `part-${"0".repeat(32)}-${"1".repeat(64)}`];
  const parts = [".a.degu-part", ".a.degu-part.json", ".b.degu-part.new"];
  const make = async (...names: string[]) => {
    await Deno.mkdir(`${root}/dir/${RESERVED}`, { recursive: true });
    for (const name of names) await Deno.writeTextFile(`${root}/dir/${name}`, "part");
  };
  const all = [...parts, ...unfinished.map((name) => `${RESERVED}/${name}`)];
  const remove = async () => await statusOf(await files.request("DELETE", "/dir"));
  await make(...all);
  assertEquals(await remove(), 204);
  assertEquals((await entries(root)).includes("dir"), false);
  await make();
  assertEquals(await remove(), 204);
  // Anything that is not a part keeps all of it.
  for (const name of ["file", `${RESERVED}/mine`, `${RESERVED}/put-1`]) {
    await make(...all, name);
    assertEquals(await remove(), 409, name);
    assertEquals((await entries(`${root}/dir`)).length, parts.length + (name === "file" ? 2 : 1));
    await Deno.remove(`${root}/dir/${name}`);
  }
  for (const name of [parts[0]!, `${RESERVED}/${unfinished[1]}`]) {
    {
      using held = await Deno.open(`${root}/dir/${name}`, { write: true });
      await held.lock(true);
      assertEquals(await remove(), 409, name);
      assertEquals(files.warnings.at(-1)?.includes(name), true);
      assertEquals((await entries(`${root}/dir`)).length, parts.length + 1);
    }
  }
  assertEquals(await remove(), 204);
  await Deno.mkdir(`${root}/${RESERVED}`, { recursive: true });
  await Deno.mkdir(`${root}/dir`);
  await makeLinks({ [`${root}/dir/${RESERVED}`]: "../../outside" });
  assertEquals(await remove(), 409);
  assertEquals((await entries(`${root}/dir`)).length, 1);
});
