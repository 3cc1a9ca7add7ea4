/** Syncing directories to the disk. */
import { assertEquals, assertRejects } from "@std/assert";
import { syncDirectory } from "@degu/internal/disk/sync_directory.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { openFilesBelow } from "@degu/testing/special_files.ts";

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
    await assertRejects(() => syncDirectory(`${dir.path}/none`), Deno.errors.NotFound);
    await assertRejects(() => syncDirectory("/proc"), Deno.errors.NotCapable);
  },
});
