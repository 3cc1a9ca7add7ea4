/** Local files that exist, and those that don't. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { TransferError } from "@degu/degu/files";
import {
  createFile,
  explainFullDisk,
  isAt,
  openRegularFile,
} from "@degu/internal/files/local_files.ts";
import { entries, tempDir } from "@degu/testing/directories.ts";
import { makeLinks } from "@degu/testing/special_files.ts";

Deno.test("a new file is created only if there is none", async () => {
  await using dir = await tempDir();
  {
    using file = await createFile(`${dir.path}/a`);
    assert(file !== null && await isAt(`${dir.path}/a`, file));
    assertEquals(await isAt(`${dir.path}/b`, file), false);
    await Deno.writeTextFile(`${dir.path}/b`, "");
    assertEquals(await isAt(`${dir.path}/b`, file), false, "another file");
    await Deno.remove(`${dir.path}/b`);
  }
  await Deno.mkdir(`${dir.path}/dir`);
  await makeLinks({ [`${dir.path}/link`]: "new" });
  for (const name of ["a", "dir", "link"]) {
    assertEquals(await createFile(`${dir.path}/${name}`), null, name);
  }
  assertEquals(await entries(dir.path), ["a", "dir", "link"]);
  await assertRejects(() => createFile(`${dir.path}/none/a`), Deno.errors.NotFound);
});

Deno.test("a regular file is opened, and anything else with its name is removed", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/file`, "12345");
  {
    using file = await openRegularFile(`${dir.path}/file`);
    assertEquals((await file?.stat())?.size, 5);
  }
  await makeLinks({ [`${dir.path}/link`]: "file" });
  await Deno.mkdir(`${dir.path}/dir`);
  for (const name of ["none", "link", "dir"]) {
    assertEquals(await openRegularFile(`${dir.path}/${name}`), null, name);
  }
  assertEquals(await entries(dir.path), ["file"]);
  assertEquals(await Deno.readTextFile(`${dir.path}/file`), "12345");
  await Deno.mkdir(`${dir.path}/full/sub`, { recursive: true });
  await assertRejects(() => openRegularFile(`${dir.path}/full`));
});

Deno.test("a full disk and an exceeded quota are named, and other errors are unchanged", () => {
  for (const code of ["ENOSPC", "EDQUOT"]) {
    const cause = Object.assign(new Error("message"), { code });
    const error = explainFullDisk(cause, "/the/file");
    assert(error instanceof TransferError && error.message.startsWith("/the/file: "));
    assertEquals([error.code, error.cause], ["DISK_FULL", cause]);
  }
  for (const other of [new Error("x"), Object.assign(new Error(), { code: "EIO" }), null, "x"]) {
    assertEquals(explainFullDisk(other, "f"), other);
  }
});
