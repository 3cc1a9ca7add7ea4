/**
 * Private files: how they are written, and which users can access the directory and the keys of an
 * identity.
 */
import { createDevicePki } from "@degu/device";
import {
  checkPrivate,
  replacePrivateFile,
  USABLE_BY_OTHERS,
  writeAndRename,
  writePrivateFile,
} from "@degu/internal/device/identity/private_files.ts";
import { createTempDir, listNames, readMode } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { runScript } from "@degu/testing/processes.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { join } from "@degu/internal/files/disk/paths.ts";

Deno.test("writePrivateFile creates a file of mode 0600, and doesn't overwrite a file", async () => {
  await using dir = await createTempDir();
  const path = join(dir.path, "key");
  await writePrivateFile(path, "secret");
  assertEquals(await Deno.readTextFile(path), "secret");
  if (Deno.build.os !== "windows") assertEquals(await readMode(path), 0o600);
  await assertRejects(() => writePrivateFile(path, "other"), Deno.errors.AlreadyExists);
  assertEquals(await Deno.readTextFile(path), "secret");
});

Deno.test("replacePrivateFile replaces a file; if it fails, the old file stays and the temporary one is removed", async () => {
  await using dir = await createTempDir();
  const [path, temporary] = [join(dir.path, "key"), join(dir.path, "new")];
  await Deno.writeTextFile(path, "old", { mode: 0o644 });
  await replacePrivateFile(path, "secret", temporary);
  assertEquals(await Deno.readTextFile(path), "secret");
  if (Deno.build.os !== "windows") assertEquals(await readMode(path), 0o600);
  await Deno.mkdir(join(dir.path, "directory"));
  await assertRejects(() => replacePrivateFile(join(dir.path, "directory"), "x", temporary));
  const fail = () => Promise.reject(new Error("failed"));
  await assertRejects(() => writeAndRename(path, "x", temporary, fail), Error, "failed");
  assertEquals(await listNames(dir.path), ["directory", "key"]);
  await Deno.writeTextFile(temporary, "somebody's");
  await assertRejects(() => writeAndRename(path, "x", temporary, fail), Deno.errors.AlreadyExists);
  assertEquals(await Deno.readTextFile(path), "secret");
  assertEquals(await Deno.readTextFile(temporary), "somebody's");
});

Deno.test("an error of writing a private file names the file, and the file is removed", async () => {
  await using dir = await createTempDir();
  const [path, temporary] = [join(dir.path, "key"), join(dir.path, "new")];
  const fail = () => Promise.reject(new Error("No space left on device"));
  using _full = patch(Deno.FsFile.prototype, "write", () => fail);
  const message = (failingPath: string) => `No space left on device: write '${failingPath}'`;
  const replacing = () => replacePrivateFile(path, "secret", temporary);
  await assertRejects(replacing, Error, message(temporary));
  await assertRejects(() => writePrivateFile(path, "secret"), Error, message(path));
  assertEquals(await listNames(dir.path), []);
});

const assertRefused = (dir: string, message: string) =>
  assertRejects(() => createDevicePki(dir, "camera-1"), Deno.errors.PermissionDenied, message);

const ANOTHER_USER = 12345;

/** Returns why this user can't give a file to another user, as root can; `null` if it can. */
async function findGiftObstacle(): Promise<string | null> {
  await using dir = await createTempDir();
  return await Deno.chown(dir.path, ANOTHER_USER, null).then(() => null, String);
}

Deno.test("createDevicePki rejects directories that other users can write and keys that they can use, with advice", async () => {
  const rows: [path: string, mode: number, accepted: boolean][] = [
    [".", 0o755, true],
    [".", 0o770, false],
    [".", 0o702, false],
    ["camera-1", 0o750, true],
    ["camera-1", 0o720, false],
    ["camera-1/ca.pem", 0o644, true],
    ["camera-1/key.pem", 0o400, true],
    ["camera-1/key.pem", 0o640, false],
    ["camera-1/key.pem", 0o604, false],
    ["camera-1/ca_key.pem", 0o640, false],
  ];
  await using dir = await createTempDir();
  const load = () => createDevicePki(dir.path, "camera-1");
  await load();
  for (const [path, bits, accepted] of rows) {
    const changedPath = join(dir.path, path);
    const modeBefore = await readMode(changedPath);
    await Deno.chmod(changedPath, bits);
    if (accepted) {
      await load();
    } else {
      const error = await assertRejects(load, Deno.errors.PermissionDenied, "to other users");
      assertStringIncludes(error.message, `${changedPath} is open`);
      assertMatch(error.message, path.endsWith(".pem") ? /chmod 600/ : /chmod 700/);
    }
    await Deno.chmod(changedPath, modeBefore);
  }
  // No key is written into a directory that other users can write. A shared directory is left
  // unchanged.
  await using open = await createTempDir();
  await Deno.chmod(open.path, 0o777);
  await assertRefused(open.path, "is open to other users (mode 777)");
  await Deno.chmod(open.path, 0o1777);
  const error = await assertRefused(open.path, "use a separate directory");
  assert(!error.message.includes("chmod"), error.message);
  assertEquals(await listNames(open.path), []);
  // The directories above are not checked.
  for (const mode of [0o1777, 0o777]) {
    await Deno.chmod(open.path, mode);
    await createDevicePki(join(open.path, `${mode}`), "camera-1");
  }
});

Deno.test(
  "createDevicePki rejects directories and keys of another user",
  ignoreIf(await findGiftObstacle()),
  async () => {
    await using dir = await createTempDir();
    const load = () => createDevicePki(dir.path, "camera-1");
    await load();
    for (const path of ["", "/camera-1", "/camera-1/ca_key.pem", "/camera-1/key.pem"]) {
      const owned = `${dir.path}${path}`;
      await Deno.chown(owned, ANOTHER_USER, null);
      const error = await assertRejects(load, Deno.errors.PermissionDenied);
      assertStringIncludes(error.message, `${owned} belongs to another user (uid 12345)`);
      assertStringIncludes(error.message, "chown");
      await Deno.chown(owned, 0, null);
      await load();
    }
    // No key is written into a directory of another user.
    await using theirs = await createTempDir();
    await Deno.chown(theirs.path, ANOTHER_USER, null);
    await assertRefused(theirs.path, "belongs to another user");
    assertEquals(await listNames(theirs.path), []);
  },
);

Deno.test(
  "a user's files must belong to that user or to root",
  ignoreIf(await findGiftObstacle()),
  async () => {
    await using dir = await createTempDir();
    const rows = [[0, 0, true], [0, 7, false], [7, 0, true], [7, 7, true], [7, 8, false]] as const;
    for (const [user, owner, isAccepted] of rows) {
      await Deno.chown(dir.path, owner, null);
      using _user = patch(Deno, "uid", () => () => user);
      const checked = await checkPrivate(dir.path, USABLE_BY_OTHERS).then(() => true, () => false);
      assertEquals(checked, isAccepted, `${user} ${owner}`);
    }
    await Deno.chown(dir.path, 0, null);
  },
);

Deno.test("createDevicePki creates no files without the permission to read the user id", async () => {
  await using dir = await createTempDir();
  const permissions = [`--allow-read=${dir.path}`, `--allow-write=${dir.path}`];
  const script = `
    import { createDevicePki } from ${JSON.stringify(import.meta.resolve("../../mod.ts"))};
    await createDevicePki(${JSON.stringify(dir.path)}, "camera-1").catch(({ name, message }) =>
      console.log(name + ": " + message));`;
  const printed = await runScript(script, permissions, {});
  assertMatch(printed, /^NotCapable: Requires sys access to "uid"/);
  assertEquals(await listNames(dir.path), []);
});
