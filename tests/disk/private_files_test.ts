/** Files that only their owner uses. */
import { assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { replacePrivateFile, writePrivateFile } from "@degu/internal/disk/private_files.ts";
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

Deno.test("replacePrivateFile replaces a file; if that fails, the old one stays and nothing else is left", async () => {
  await using dir = await tempDir();
  const [path, temporary] = [join(dir.path, "key"), join(dir.path, "new")];
  await Deno.writeTextFile(path, "old", { mode: 0o644 });
  await replacePrivateFile(path, "secret", temporary);
  assertEquals(await Deno.readTextFile(path), "secret");
  if (Deno.build.os !== "windows") assertEquals(await mode(path), 0o600);
  await Deno.mkdir(join(dir.path, "directory"));
  await assertRejects(() => replacePrivateFile(join(dir.path, "directory"), "x", temporary));
  assertEquals(await entries(dir.path), ["directory", "key"]);
});
