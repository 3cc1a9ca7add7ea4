/** Files that only their owner uses. */
import { assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import {
  exists,
  ifPresent,
  removeIfPossible,
  removeIfPresent,
  syncDirectory,
  writePrivateFile,
} from "@degu/internal/pki/private_files.ts";
import { entries, mode, tempDir } from "@degu/testing/directories.ts";

Deno.test("writePrivateFile makes a file of mode 0600, and replaces none", async () => {
  await using dir = await tempDir();
  const path = join(dir.path, "key");
  await writePrivateFile(path, "secret");
  assertEquals(await Deno.readTextFile(path), "secret");
  if (Deno.build.os !== "windows") assertEquals(await mode(path), 0o600);
  await assertRejects(() => writePrivateFile(path, "other"), Deno.errors.AlreadyExists);
  assertEquals(await Deno.readTextFile(path), "secret");
  await syncDirectory(dir.path);
});

Deno.test("exists is true for files and directories, and false where there is nothing", async () => {
  await using dir = await tempDir();
  const path = join(dir.path, "a");
  assertEquals([await exists(dir.path), await exists(path)], [true, false]);
  await Deno.writeTextFile(path, "");
  assertEquals(await exists(path), true);
});

Deno.test("removeIfPresent removes a file, a directory with all in it, and nothing", async () => {
  await using dir = await tempDir();
  const path = join(dir.path, "a");
  await removeIfPresent(path);
  await Deno.writeTextFile(path, "");
  await removeIfPresent(path);
  assertEquals(await entries(dir.path), []);
  await Deno.mkdir(join(path, "b", "c"), { recursive: true });
  await removeIfPresent(path);
  assertEquals(await entries(dir.path), []);
});

Deno.test("ifPresent turns only NotFound into null", async () => {
  assertEquals(await ifPresent(Promise.resolve(1)), 1);
  assertEquals(await ifPresent(Promise.reject(new Deno.errors.NotFound("gone"))), null);
  const denied = new Deno.errors.PermissionDenied("no");
  assertEquals(await assertRejects(() => ifPresent(Promise.reject(denied))), denied);
});

Deno.test("removeIfPossible never rejects, removeIfPresent does where it can't remove", async () => {
  await using dir = await tempDir();
  const path = join(dir.path, "file");
  await Deno.writeTextFile(path, "");
  const below = join(path, "below"); // a file has nothing below it
  await assertRejects(() => removeIfPresent(below));
  await removeIfPossible(below);
  await removeIfPossible(path);
  assertEquals(await entries(dir.path), []);
});
