/** PUT of a path that ends with a slash: directories that peers make. */
import { assertEquals } from "@std/assert";
import { ChunkedBodyIter } from "@degu/degu/base";
import { fileUri } from "@degu/internal/files/file_name.ts";
import { RESERVED } from "@degu/internal/files/reserved.ts";
import { entries } from "@degu/testing/directories.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { serveForWriting } from "@degu/testing/written_directory.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

const EMPTY = new Uint8Array(0);

Deno.test("PUT creates a directory and its parents with 201, and answers 204 if it exists", async () => {
  await using files = await serveForWriting();
  const uri = fileUri("new", "Ö", "a b", "");
  assertEquals(await files.put(uri, null), 201);
  assertEquals(await entries(`${files.root}/new/Ö/a b`), []);
  assertEquals(await files.put(uri, EMPTY), 204);
  assertEquals(await files.put(fileUri("new", ""), null), 204);
  assertEquals(await files.put(uri, null, { "if-none-match": "*" }), 412);
  assertEquals(await files.put(fileUri("other", ""), null, { "if-match": "*" }), 412);
  assertEquals((await entries(files.root)).includes("other"), false);
});

Deno.test("only an empty body creates a directory", async () => {
  await using files = await serveForWriting();
  assertEquals(await files.put("/new/", latin1("x")), 409);
  assertEquals(await files.put("/new/", new ChunkedBodyIter([[null, EMPTY]])), 409);
  assertEquals((await entries(files.root)).includes("new"), false);
});

Deno.test("no directory is created where no file could be written", async () => {
  await using files = await serveForWriting();
  await makeLinks({
    [`${files.root}/to-outside`]: `${files.path}/outside`,
    [`${files.root}/dangling`]: `${files.root}/gone`,
  });
  const cases: [uri: string, status: number][] = [
    ["/", 403],
    ["/file/", 409],
    ["/file/a/", 409],
    ["/to-outside/", 409],
    ["/to-outside/a/", 403],
    ["/dangling/", 409],
    [`/${RESERVED}/`, 403],
    [`/sub/${RESERVED}/`, 403],
    [`/new/${RESERVED.toUpperCase()}/`, 403],
    ["/new/.a.degu-part/", 403],
    ["/~2E~2E/", 404],
  ];
  for (const [uri, status] of cases) assertEquals(await files.put(uri, null), status, uri);
  assertEquals((await entries(files.root)).includes("new"), false);
  await using reader = await serveForWriting({ write: false });
  assertEquals(await reader.put("/new/", null), 405);
});
