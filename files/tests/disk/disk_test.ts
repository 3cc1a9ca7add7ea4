/** Files and names on a disk. */
import { lockFile } from "@degu/internal/files/disk/files.ts";
import {
  renameNoReplace,
  syncAllIfPossible,
  syncDirectory,
  syncIfPossible,
} from "@degu/internal/files/disk/names.ts";
import { TemporaryFile } from "@degu/internal/files/disk/temporary.ts";
import { speedUpTimeouts } from "@degu/testing/clock.ts";
import { createTempDir, listNames, readMode } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { listOpenFiles, makeFifo, makeLinks } from "@degu/testing/special_files.ts";
import { assertEquals, assertRejects } from "@std/assert";
import { open } from "node:fs/promises";
import { join } from "@degu/internal/files/disk/paths.ts";

// The contents of files on the disk.

Deno.test("a file can be locked once, and again if the first lock is released soon", async () => {
  await using dir = await createTempDir();
  const path = `${dir.path}/file`;
  const open = () => Deno.open(path, { write: true, create: true });
  const first = await open();
  using second = await open();
  assertEquals(await lockFile(first), true);
  {
    using timeouts = speedUpTimeouts((milliseconds) => milliseconds === 30);
    assertEquals(await lockFile(second), false);
    assertEquals(timeouts.started, Array(19).fill(30));
  }
  const waiting = lockFile(second);
  first.close();
  assertEquals(await waiting, true);
});

Deno.test("a temporary file is locked only if it is still at its path, and is no link or hard link", async () => {
  await using dir = await createTempDir();
  const [path, otherPath] = [join(dir.path, "part"), join(dir.path, "other")];
  const open = async (isNew: boolean, content: string, lock = lockFile) => {
    using opened = await TemporaryFile.open(path, lock);
    const { file, isKept, isAtPath } = opened!;
    const state = [isKept, isAtPath, await Deno.readTextFile(path)];
    assertEquals(state, [!isNew, true, content]);
    opened!.isKept = true;
    await file.write(new TextEncoder().encode("content"));
    if (Deno.build.os !== "windows") assertEquals(await readMode(path), 0o600);
  };
  await open(true, "");
  await open(false, "content");
  await Deno.link(path, otherPath);
  await open(true, "");
  await Deno.remove(path);
  await makeLinks({ [path]: "other" });
  await open(true, "");
  assertEquals(await Deno.readTextFile(otherPath), "content");
  // The holder of the lock renames the file while another process waits for the lock.
  let lockAttempts = 0;
  await open(true, "", async () => {
    if (lockAttempts++ === 0) await Deno.rename(path, join(dir.path, "complete"));
    return true;
  });
  assertEquals(lockAttempts, 2);
  // The file is removed between lstat() and open().
  using patched = patch(Deno, "openSync", (open) => (...args) => {
    patched[Symbol.dispose]();
    Deno.removeSync(path);
    return open(...args);
  });
  await open(true, "");
  using lockedFile = await Deno.open(path, { write: true });
  await lockedFile.lock(true);
  const refuse = async (file: Deno.FsFile) => {
    if (await lockFile(file)) return true;
    throw new Error("locked");
  };
  {
    using _timeouts = speedUpTimeouts((milliseconds) => milliseconds === 30);
    await assertRejects(() => TemporaryFile.open(path, refuse), Error, "locked");
  }
  let tries = 0;
  assertEquals(await TemporaryFile.open(path, () => Promise.resolve(++tries < 0)), null);
  assertEquals(tries, 20);
  assertEquals(await listNames(dir.path), ["complete", "other", "part"]);
});

// Names on the disk.

Deno.test("directories are synced and closed; a missing or replaced directory is an error only of syncDirectory", async () => {
  await using dir = await createTempDir();
  const paths = Array.from({ length: 100 }, (_, i) => join(dir.path, `${i}`));
  await Deno.writeTextFile(`${dir.path}/file`, "");
  const replaced = ["file", "file/below"];
  // Opening a FIFO must not wait.
  if (await makeFifo(`${dir.path}/fifo`)) replaced.push("fifo");
  await syncDirectory(dir.path);
  for (const name of ["", "none", ...replaced]) await syncIfPossible(`${dir.path}/${name}`);
  await syncAllIfPossible(paths);
  await syncAllIfPossible([]);
  if (Deno.build.os === "linux") assertEquals(await listOpenFiles(dir.path), []);
  if (Deno.build.os === "windows") return;
  await assertRejects(() => syncDirectory(`${dir.path}/none`), Error, "ENOENT");
  // ENOTDIR shows that O_DIRECTORY has the right number, which differs by processor.
  await assertRejects(() => syncDirectory(`${dir.path}/file`), Error, "ENOTDIR");
});

for (const code of ["EPERM", "EINVAL", "EROFS", "EBADF", "ENOTSUP", "EIO"]) {
  const isIgnored = code !== "EIO";
  Deno.test(`a directory whose sync fails with ${code} is ${isIgnored ? "ignored" : "an error with its path"}`, async () => {
    if (Deno.build.os === "windows") return;
    await using dir = await createTempDir();
    await using handle = await open(dir.path);
    const fail = () => Promise.reject(Object.assign(new Error("refused"), { code }));
    using _failing = patch(Object.getPrototypeOf(handle), "sync", () => fail);
    const synced = syncIfPossible(dir.path);
    if (isIgnored) await synced;
    else await assertRejects(() => synced, Error, `refused: fsync '${dir.path}'`);
  });
}

Deno.test("renameNoReplace renames only the first of several files to a name, with and without hard links", async () => {
  await using dir = await createTempDir();
  const path = (name: string) => join(dir.path, name);
  const refuse = () => {
    throw new Deno.errors.PermissionDenied("EPERM: no hard links");
  };
  for (const link of [Deno.linkSync, refuse]) {
    await Deno.writeTextFile(path("a"), "a");
    await Deno.writeTextFile(path("b"), "b");
    using _patched = patch(Deno, "linkSync", () => link);
    const results = ["a", "b"].map((name) => renameNoReplace(path(name), path("new")));
    assertEquals(results, [true, false]);
    assertEquals(await listNames(dir.path), ["b", "new"]);
    assertEquals(await Deno.readTextFile(path("new")), "a");
    await Deno.remove(path("new"));
  }
  for (const newName of ["b", "c"]) {
    const renaming = () => Promise.try(() => renameNoReplace(path("none"), path(newName)));
    await assertRejects(renaming, Deno.errors.NotFound);
  }
});
