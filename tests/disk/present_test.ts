/** Files that may or may not exist. */
import { assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import {
  exists,
  ifPresent,
  removeIfPossible,
  removeIfPresent,
} from "@degu/internal/disk/present.ts";
import { entries, tempDir } from "@degu/testing/directories.ts";

Deno.test("ifPresent turns only NotFound into null", async () => {
  assertEquals(await ifPresent(Promise.resolve(1)), 1);
  assertEquals(await ifPresent(Promise.reject(new Deno.errors.NotFound("gone"))), null);
  const denied = new Deno.errors.PermissionDenied("no");
  assertEquals(await assertRejects(() => ifPresent(Promise.reject(denied))), denied);
});

Deno.test("removeIfPresent removes a file or an empty directory, and ignores a missing one", async () => {
  await using dir = await tempDir();
  const path = join(dir.path, "a");
  await removeIfPresent(path);
  await Deno.writeTextFile(path, "");
  await removeIfPresent(path);
  await Deno.mkdir(path);
  await removeIfPresent(path);
  assertEquals(await entries(dir.path), []);
});

Deno.test("removeIfPresent removes a directory with its contents only if requested", async () => {
  await using dir = await tempDir();
  const path = join(dir.path, "a");
  await Deno.mkdir(join(path, "b", "c"), { recursive: true });
  await assertRejects(() => removeIfPresent(path));
  assertEquals(await entries(path), ["b"]);
  await removeIfPresent(path, { recursive: true });
  assertEquals(await entries(dir.path), []);
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
