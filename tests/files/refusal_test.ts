/** Refusals: disks that are full or read-only, and the meaning of file system errors. */
import { assertEquals } from "@std/assert";
import { RESERVED } from "@degu/internal/files/reserved.ts";
import { Refusal, refusalOf } from "@degu/internal/files/refusal.ts";
import { entries, tempDir } from "@degu/testing/directories.ts";
import {
  AS_USER,
  type Asked,
  canMount,
  canRun,
  checkAsked,
  MOUNTING,
} from "@degu/testing/refused_writes.ts";

const mayMount = await canMount();
const canBeUser = await canRun(...AS_USER);

const MIB = 1048576;

Deno.test({
  name: "a full disk is answered with 507, damages nothing and keeps nothing (needs unshare)",
  ignore: !mayMount,
  async fn() {
    await using dir = await tempDir();
    const mount = 'mount -t tmpfs -o size=2m tmpfs "$0" && exec "$@"';
    await checkAsked(dir.path, [...MOUNTING, mount, dir.path], [
      ["PUT", "/kept", MIB, null, 201],
      ["PUT", "/large", 4 * MIB, null, 507],
      ["PUT", "/kept", 4 * MIB, null, 507],
      ["PUT", "/deep/large", 4 * MIB, null, 507],
      ["PUT", "/large", 4 * MIB, 0, 507],
      ["GET", "/large", 0, null, 404],
      ["GET", "/deep", 0, null, 404],
      ["GET", "/kept", 0, null, 200],
      // As much as there was before: nothing was left behind.
      ["PUT", "/other", MIB - 65536, null, 201],
      ["PUT", "/other", MIB - 65536, null, 507],
      ["DELETE", "/kept", 0, null, 204],
      ["PUT", "/other", MIB - 65536, 0, 204],
    ]);
  },
});

Deno.test({
  name: "a disk without room for one more name is answered with 507 (needs unshare)",
  ignore: !mayMount,
  async fn() {
    await using dir = await tempDir();
    // The root, the reserved directory, and one more.
    const mount = 'mount -t tmpfs -o nr_inodes=3 tmpfs "$0" && exec "$@"';
    await checkAsked(dir.path, [...MOUNTING, mount, dir.path], [
      ["PUT", "/a/b", 5, null, 507],
      ["GET", "/a", 0, null, 404],
      ["PUT", "/a", 5, null, 201],
      ["PUT", "/b", 5, null, 507],
      ["DELETE", "/a", 0, null, 204],
      ["PUT", "/b", 5, null, 201],
    ]);
  },
});

Deno.test({
  name:
    "another file system below the root can be read, and writing to it is answered with 507 (needs unshare)",
  ignore: !mayMount,
  async fn() {
    await using dir = await tempDir();
    await Deno.mkdir(`${dir.path}/other`);
    const mount = 'mount -t tmpfs tmpfs "$0/other" && echo text > "$0/other/file" && exec "$@"';
    await checkAsked(dir.path, [...MOUNTING, mount, dir.path], [
      ["PUT", "/other/new", 5, null, 507],
      ["PUT", "/other/new", 5, 0, 507],
      ["PUT", "/other/deep/new", 5, null, 507],
      ["PUT", "/other/file", 5, null, 507],
      ["GET", "/other/file", 0, null, 200],
      ["DELETE", "/other/file", 0, null, 204],
      ["DELETE", "/other", 0, null, 409],
      ["PUT", "/new", 5, null, 201],
    ]);
    assertEquals(await entries(dir.path), [RESERVED, "new", "other"]);
    assertEquals(await entries(`${dir.path}/${RESERVED}`), []);
  },
});

Deno.test({
  name: "a read-only disk is answered with 403 (needs unshare)",
  ignore: !mayMount,
  async fn() {
    await using dir = await tempDir();
    await Deno.writeTextFile(`${dir.path}/file`, "text");
    const mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"';
    await checkAsked(dir.path, [...MOUNTING, mount, dir.path], [
      ["PUT", "/new", 5, null, 403],
      ["PUT", "/file", 5, 0, 403],
      ["DELETE", "/file", 0, null, 403],
      ["GET", "/file", 0, null, 200],
    ]);
  },
});

Deno.test({
  name: "a path that the user may not write is answered with 403 (needs unshare)",
  ignore: !canBeUser,
  async fn() {
    await using dir = await tempDir();
    for (const name of ["closed", "open"]) {
      await Deno.mkdir(`${dir.path}/${name}`);
      await Deno.writeTextFile(`${dir.path}/${name}/file`, "text");
    }
    await Deno.chmod(`${dir.path}/closed`, 0o555);
    // A file that can't be written can be replaced: the directory decides.
    await Deno.chmod(`${dir.path}/open/file`, 0o444);
    const asked: Asked[] = [
      ["PUT", "/closed/new", 5, null, 403],
      ["PUT", "/closed/file", 5, 0, 403],
      ["PUT", "/closed/deep/new", 5, null, 403],
      ["DELETE", "/closed/file", 0, null, 403],
      ["PUT", "/open/file", 5, null, 204],
    ];
    await checkAsked(dir.path, AS_USER, asked);
    assertEquals(await entries(`${dir.path}/${RESERVED}`), []);
    await Deno.chmod(dir.path, 0o555);
    await checkAsked(dir.path, AS_USER, [["PUT", "/new", 5, null, 403]]);
    await Deno.chmod(dir.path, 0o700);
  },
});

Deno.test("a path that the program has no permission to write is answered with 403", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/file`, "text");
  await checkAsked(dir.path, [], [
    ["PUT", "/new", 5, null, 403],
    ["PUT", "/file", 5, 0, 403],
    ["DELETE", "/file", 0, null, 403],
    ["GET", "/file", 0, null, 200],
  ], false);
  assertEquals(await entries(dir.path), ["file"]);
});

Deno.test("a file system error is translated to what it means for the client", () => {
  const failure = (code: string) => Object.assign(new Error("message"), { code });
  const cases: [codes: string[], status: number][] = [
    [["ENOSPC", "EDQUOT", "EFBIG", "EXDEV"], 507],
    [["EROFS", "EACCES", "EPERM", "ELOOP", "EINVAL"], 403],
    [["ENOTDIR", "EISDIR", "ENOTEMPTY", "EBUSY", "ENOENT"], 409],
    [["ENAMETOOLONG"], 414],
    [["EMFILE", "ENFILE"], 503],
  ];
  for (const [codes, status] of cases) {
    for (const code of codes) assertEquals(refusalOf(failure(code))?.status, status, code);
  }
  assertEquals(refusalOf(new Deno.errors.NotCapable("message"))?.status, 403);
  const refusal = new Refusal(412, "message");
  assertEquals(refusalOf(refusal), refusal);
  for (
    const other of [
      new Error("x"),
      failure("EIO"),
      failure("BODY_INCOMPLETE"),
      failure("constructor"),
    ]
  ) {
    assertEquals(refusalOf(other), null);
  }
});
