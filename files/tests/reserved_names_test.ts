/** The names that are reserved for unfinished files. */
import { assertEquals, assertThrows } from "@std/assert";
import { FilesApp, fileUri, isReservedName, listDirectory } from "@degu/files";
import { createTempDir } from "@degu/testing/directories.ts";
import { serve } from "@degu/testing/serving.ts";

const RESERVED = [".degu-files", ".DEGU-files", ".a.degu-part", ".a b.Degu-Part", ".degu-files ."];
const FREE = ["a", ".a", "degu-files", ".degu-files2", "a.degu-part", ".degu-part", "degu-part"];

Deno.test("isReservedName is true exactly for the names that FilesApp neither serves nor lists", async () => {
  await using dir = await createTempDir();
  for (const name of [...RESERVED, ...FREE]) await Deno.writeTextFile(`${dir.path}/${name}`, name);
  await using serving = serve(new FilesApp(dir.path, { list: true }));
  const client = serving.makeClient();
  for (const name of [...RESERVED, ...FREE]) {
    const response = await client.get(fileUri(name));
    await response.discard();
    assertEquals(isReservedName(name), response.status === 404, name);
  }
  const entries = [];
  for await (const { name } of listDirectory(client, [])) entries.push(name);
  assertEquals(entries.toSorted(), FREE.toSorted());
});

Deno.test("isReservedName accepts only a string", () => {
  for (const value of [undefined, null, 5, ["a"]]) {
    assertThrows(() => Reflect.apply(isReservedName, null, [value]), TypeError, "name: must be");
  }
});
