/** Names on the disk. */
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "@std/path";
import {
  exists,
  giveNewName,
  ifPresent,
  randomSuffix,
  removeIfPossible,
  removeIfPresent,
  syncDirectory,
  syncIfPossible,
} from "@degu/internal/disk/names.ts";
import { entries, tempDir } from "@degu/testing/directories.ts";
import { makeFifo, openFilesBelow } from "@degu/testing/special_files.ts";

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

Deno.test("suffixes are 64 random bits", () => {
  const suffixes = Array.from({ length: 20 }, randomSuffix);
  for (const suffix of suffixes) assertMatch(suffix, /^[0-9a-f]{16}$/);
  assertEquals(new Set(suffixes).size, 20);
});

Deno.test("a directory is synced and closed", async () => {
  await using dir = await tempDir();
  await syncDirectory(dir.path);
  if (Deno.build.os === "linux") assertEquals(await openFilesBelow(dir.path), []);
});

Deno.test({
  name: "a directory that is missing, or may not be read, is an error",
  ignore: Deno.build.os === "windows",
  async fn() {
    await using dir = await tempDir();
    await assertRejects(() => syncDirectory(`${dir.path}/none`), Error, "ENOENT");
    await assertRejects(() => syncDirectory("/proc"), Deno.errors.NotCapable);
  },
});

Deno.test("where a directory may be gone it is synced and closed, and a deleted one is not an error", async () => {
  await using dir = await tempDir();
  await syncIfPossible(dir.path);
  await syncIfPossible(`${dir.path}/none`);
  if (Deno.build.os === "linux") assertEquals(await openFilesBelow(dir.path), []);
});

Deno.test("what has replaced a directory, or one above it, is not an error when it is synced, and not waited for", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/file`, "");
  await syncIfPossible(`${dir.path}/file`);
  await syncIfPossible(`${dir.path}/file/below`);
  if (await makeFifo(`${dir.path}/fifo`)) await syncIfPossible(`${dir.path}/fifo`);
});

Deno.test("a directory that the program may not read is an error also where it may be gone", async () => {
  await assertRejects(() => syncIfPossible("/proc"), Deno.errors.NotCapable);
});

Deno.test("a new name is given only to one of several files, and the others keep theirs", async () => {
  await using dir = await tempDir();
  const path = (name: string) => join(dir.path, name);
  await Deno.writeTextFile(path("a"), "a");
  await Deno.writeTextFile(path("b"), "b");
  assertEquals([giveNewName(path("a"), path("new")), giveNewName(path("b"), path("new"))], [
    true,
    false,
  ]);
  assertEquals([await entries(dir.path), await Deno.readTextFile(path("new"))], [
    ["b", "new"],
    "a",
  ]);
  await assertRejects(
    () => Promise.try(() => giveNewName(path("none"), path("c"))),
    Deno.errors.NotFound,
  );
});
