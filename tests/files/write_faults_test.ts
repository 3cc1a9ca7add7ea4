/** Writing: disks that are full or can't be written, and processes that are killed. */
import { assert, assertEquals } from "@std/assert";
import { RESERVED } from "../../files/reserved.ts";
import { Refusal, refusalOf } from "../../files/refusal.ts";
import { entries, tempDir } from "../support/directories.ts";
import { programCommand, runProgram } from "../support/programs.ts";
import { hasProgram } from "../support/tls_openssl.ts";

type Asked = readonly [
  method: "PUT" | "DELETE" | "GET",
  uri: string,
  bytes: number,
  offset: number | null,
  status: number,
];

/** Whether this user can run a command through this wrapper. */
async function canRun(...through: string[]): Promise<boolean> {
  if (Deno.build.os !== "linux" || !await hasProgram("unshare")) return false;
  const [program = "", ...args] = [...through, "true"];
  const { success } = await new Deno.Command(program, { args, stdin: "null" }).output();
  if (!success) console.warn(`This user can't run ${through.join(" ")}: a test is skipped`);
  return success;
}

/** A shell in a namespace that may mount; its argument 0 is the directory, the rest the command. */
const MOUNTING = ["unshare", "-rm", "sh", "-c"];
/** A user that is not root, whose files are those of this user. */
const AS_USER = ["unshare", "--user", "--map-user=54321"];

const canMount = await canRun(...MOUNTING, 'mount -t tmpfs tmpfs /mnt && exec "$@"', "sh");
const canBeUser = await canRun(...AS_USER);

/** Makes requests in a process of its own, and compares the statuses. */
async function check(
  dir: string,
  through: readonly string[],
  asked: readonly Asked[],
  write = true,
) {
  const requests = asked.map(([method, uri, bytes, offset]) => [method, uri, bytes, offset]);
  const flags = ["--allow-read", ...(write ? [`--allow-write=${dir}`] : [])];
  const args = [dir, JSON.stringify(requests)];
  const printed = await runProgram("write_refused.ts", { flags, args, through, patience: 60 });
  const got = (JSON.parse(printed) as number[]).map((status, i) =>
    `${asked[i]?.slice(0, 4)} ${status}`
  );
  assertEquals(got, asked.map((request) => `${request.slice(0, 4)} ${request[4]}`));
}

const MIB = 1048576;

Deno.test({
  name: "a full disk is 507, takes nothing along and keeps nothing (needs unshare)",
  ignore: !canMount,
  async fn() {
    await using dir = await tempDir();
    const mount = 'mount -t tmpfs -o size=2m tmpfs "$0" && exec "$@"';
    await check(dir.path, [...MOUNTING, mount, dir.path], [
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
  name: "a disk without room for one more name is 507 (needs unshare)",
  ignore: !canMount,
  async fn() {
    await using dir = await tempDir();
    // The root, the reserved directory, and one more.
    const mount = 'mount -t tmpfs -o nr_inodes=3 tmpfs "$0" && exec "$@"';
    await check(dir.path, [...MOUNTING, mount, dir.path], [
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
  name: "another file system below the root is 507 to write, and can be read (needs unshare)",
  ignore: !canMount,
  async fn() {
    await using dir = await tempDir();
    await Deno.mkdir(`${dir.path}/other`);
    const mount = 'mount -t tmpfs tmpfs "$0/other" && echo text > "$0/other/file" && exec "$@"';
    await check(dir.path, [...MOUNTING, mount, dir.path], [
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
  name: "the reserved directory is out of reach by another name, too (needs unshare)",
  ignore: !canMount,
  async fn() {
    await using dir = await tempDir();
    // As a file system does that ignores case, or has short names beside long ones.
    await Deno.mkdir(`${dir.path}/${RESERVED}`, { mode: 0o700 });
    await Deno.mkdir(`${dir.path}/alias`);
    await Deno.writeTextFile(`${dir.path}/${RESERVED}/part`, "text");
    const mount = `mount --bind "$0/${RESERVED}" "$0/alias" && exec "$@"`;
    await check(dir.path, [...MOUNTING, mount, dir.path], [
      ["GET", "/alias", 0, null, 404],
      ["GET", "/alias/part", 0, null, 404],
      ["PUT", "/alias/part", 5, null, 403],
      ["PUT", "/alias/new", 5, 0, 403],
      ["DELETE", "/alias/part", 0, null, 403],
      ["DELETE", "/alias", 0, null, 403],
    ]);
    assertEquals(await entries(`${dir.path}/${RESERVED}`), ["part"]);
  },
});

Deno.test({
  name: "a disk that is read-only is 403 (needs unshare)",
  ignore: !canMount,
  async fn() {
    await using dir = await tempDir();
    await Deno.writeTextFile(`${dir.path}/file`, "text");
    const mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"';
    await check(dir.path, [...MOUNTING, mount, dir.path], [
      ["PUT", "/new", 5, null, 403],
      ["PUT", "/file", 5, 0, 403],
      ["DELETE", "/file", 0, null, 403],
      ["GET", "/file", 0, null, 200],
    ]);
  },
});

Deno.test({
  name: "what the user may not write is 403 (needs unshare)",
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
    await check(dir.path, AS_USER, asked);
    assertEquals(await entries(`${dir.path}/${RESERVED}`), []);
    await Deno.chmod(dir.path, 0o555);
    await check(dir.path, AS_USER, [["PUT", "/new", 5, null, 403]]);
    await Deno.chmod(dir.path, 0o700);
  },
});

Deno.test("what the program has no permission to write is 403", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/file`, "text");
  await check(dir.path, [], [
    ["PUT", "/new", 5, null, 403],
    ["PUT", "/file", 5, 0, 403],
    ["DELETE", "/file", 0, null, 403],
    ["GET", "/file", 0, null, 200],
  ], false);
  assertEquals(await entries(dir.path), ["file"]);
});

Deno.test("an error of the file system is told as what it means to whoever writes", () => {
  const failure = (code: string) => Object.assign(new Error("message"), { code });
  const cases: [codes: string[], status: number][] = [
    [["ENOSPC", "EDQUOT", "EFBIG", "EXDEV"], 507],
    [["EROFS", "EACCES", "EPERM", "ELOOP", "EINVAL"], 403],
    [["ENOTDIR", "EISDIR", "ENOTEMPTY", "EBUSY", "ENOENT"], 409],
    [["ENAMETOOLONG"], 414],
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

// ───────────────────────── processes that are killed

const LENGTH = 200_000;
const KILLS = 100;
/** Milliseconds after which no further process is begun. */
const MOST_MILLISECONDS = 15_000;

/** Checks that each file that peers can see is whole; returns how many there are. */
async function checkWhole(dir: string): Promise<number> {
  let count = 0;
  for (const name of await entries(dir)) {
    if (name === RESERVED) continue;
    const path = `${dir}/${name}`;
    if (name === "new") {
      count += await checkWhole(path);
      continue;
    }
    const bytes = await Deno.readFile(path).catch(() => null);
    // Another process has deleted it meanwhile.
    if (bytes === null) continue;
    assertEquals(bytes.length, LENGTH, path);
    assert(bytes.every((byte) => byte === bytes[0]), `${path} is of two versions`);
    count++;
  }
  return count;
}

Deno.test("a process that is killed at any moment leaves no half-written file", async () => {
  await using dir = await tempDir();
  const flags = [`--allow-read=${dir.path}`, `--allow-write=${dir.path}`];
  const began = performance.now();
  let kills = 0;
  const killMany = async () => {
    while (kills < KILLS && performance.now() - began < MOST_MILLISECONDS) {
      const args = [dir.path, `${LENGTH}`];
      const child = programCommand("put_until_killed.ts", { flags, args }).spawn();
      const reader = child.stdout.getReader();
      const stderr = new Response(child.stderr).text();
      const { done } = await reader.read();
      if (done) throw new Error(await stderr);
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 60));
      child.kill("SIGKILL");
      const { signal } = await child.status;
      assertEquals(signal, "SIGKILL", await stderr);
      await reader.cancel();
      await stderr;
      kills++;
      await checkWhole(dir.path);
    }
  };
  await Promise.all([killMany(), killMany(), killMany()]);
  assert(kills > 0, "no process was killed");
  assert(await checkWhole(dir.path) > 0, "nothing was written at all");
  // What they have left behind is in nobody's way.
  await check(dir.path, [], [
    ["PUT", "/replaced", 5, null, 204],
    ["PUT", "/after", LENGTH, 0, 201],
  ]);
});
