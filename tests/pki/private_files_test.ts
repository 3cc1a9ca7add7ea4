/** Files that only their owner uses. */
import { assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { exists, removeIfPossible, writePrivateFile } from "@degu/internal/pki/private_files.ts";
import { entries, mode, tempDir } from "@degu/testing/directories.ts";

Deno.test("writePrivateFile makes a file of mode 0600, and overwrites none", async () => {
  await using dir = await tempDir();
  const path = join(dir.path, "key");
  await writePrivateFile(path, "secret");
  assertEquals(await Deno.readTextFile(path), "secret");
  if (Deno.build.os !== "windows") assertEquals(await mode(path), 0o600);
  await assertRejects(() => writePrivateFile(path, "other"), Deno.errors.AlreadyExists);
  assertEquals(await Deno.readTextFile(path), "secret");
});

Deno.test("exists is true for files and directories, and false otherwise", async () => {
  await using dir = await tempDir();
  const path = join(dir.path, "a");
  assertEquals([await exists(dir.path), await exists(path)], [true, false]);
  await Deno.writeTextFile(path, "");
  assertEquals(await exists(path), true);
});

Deno.test("removeIfPossible removes what it can, and never rejects", async () => {
  await using dir = await tempDir();
  const path = join(dir.path, "file");
  await Deno.writeTextFile(path, "");
  const below = join(path, "below"); // a file has nothing below it
  await removeIfPossible(below);
  await removeIfPossible(path);
  await Deno.mkdir(join(path, "b", "c"), { recursive: true });
  await removeIfPossible(path);
  assertEquals(await entries(dir.path), []);
});
