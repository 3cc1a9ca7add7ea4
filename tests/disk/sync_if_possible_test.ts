/** Syncing directories that may be gone. */
import { assertEquals, assertRejects } from "@std/assert";
import { syncIfPossible } from "@degu/internal/disk/sync_if_possible.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { openFilesBelow } from "@degu/testing/special_files.ts";

Deno.test("a directory is synced and closed, and a deleted one is not an error", async () => {
  await using dir = await tempDir();
  await syncIfPossible(dir.path);
  await syncIfPossible(`${dir.path}/none`);
  if (Deno.build.os === "linux") assertEquals(await openFilesBelow(dir.path), []);
});

Deno.test("a directory that the program may not read is an error", async () => {
  await assertRejects(() => syncIfPossible("/proc"), Deno.errors.NotCapable);
});
