/** Locks of files: who gets one, and when. */
import { assertEquals } from "@std/assert";
import { lockFile } from "@degu/internal/disk/lock.ts";
import { tempDir } from "@degu/testing/directories.ts";

Deno.test("a file can be locked once, and again if the first lock is released within a moment", async () => {
  await using dir = await tempDir();
  const path = `${dir.path}/file`;
  const open = () => Deno.open(path, { write: true, create: true });
  const first = await open();
  using second = await open();
  assertEquals(await lockFile(first), true);
  assertEquals(await lockFile(second), false);
  const waiting = lockFile(second);
  first.close();
  assertEquals(await waiting, true);
});
