/** The contents of files on the disk. */
import { assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import {
  EarlySync,
  lockFile,
  newFileMode,
  replacePrivateFile,
  writeAll,
  writePrivateFile,
} from "@degu/internal/disk/files.ts";
import { entries, mode, tempDir } from "@degu/testing/directories.ts";
import { openFilesBelow } from "@degu/testing/special_files.ts";

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

Deno.test("all bytes are written, however few a write takes", async () => {
  const written: number[] = [];
  await writeAll(new Uint8Array([1, 2, 3, 4, 5, 6, 7]), (rest) => {
    const taken = Array.from(rest.subarray(0, 1 + written.length % 3));
    written.push(...taken);
    return Promise.resolve(taken.length);
  });
  assertEquals(written, [1, 2, 3, 4, 5, 6, 7]);
});

Deno.test("the mode of new files is found out, and nothing is left of it", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(join(dir.path, "plain"), "");
  const { mode: usual } = await Deno.stat(join(dir.path, "plain"));
  assertEquals(newFileMode(join(dir.path, "probe")), usual);
  assertEquals(await entries(dir.path), ["plain"]);
});

Deno.test("a large file is synced on the way, which ends with nothing open; a failure is left to the last sync", async () => {
  await using dir = await tempDir();
  const path = join(dir.path, "file");
  await Deno.writeTextFile(path, "content");
  const sync = new EarlySync(path);
  for (let i = 0; i < 10; i++) sync.add(20_000_000);
  await Deno.remove(path);
  sync.add(100_000_000);
  await sync.settle();
  if (Deno.build.os === "linux") assertEquals(await openFilesBelow(dir.path), []);
});
