/** `keep`: several processes change the files of a directory at the same time. */
import { createTempDir, fill } from "@degu/testing/directories.ts";
import { makeOddDiskScript } from "@degu/testing/odd_disk.ts";
import { importMapFlags, runProgram } from "@degu/testing/programs.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { findObstacle } from "@degu/testing/commands.ts";
import { findMountObstacle, THROUGH_MOUNT_NAMESPACE } from "@degu/testing/namespaces.ts";
import { assert, assertEquals } from "@std/assert";

const obstacle = await findMountObstacle();
const noFuse = obstacle ??
  await findObstacle(["python3", "-c", "import os; os.stat('/dev/fuse')"]);

/** Checks that no content is lost. */
async function changeFiles(
  through: readonly string[],
  dir: string,
  { changes, kills = 0 }: { changes: number; kills?: number },
): Promise<void> {
  const flags = ["--allow-all", "--no-check", ...importMapFlags()];
  const args = [dir, "2", `${changes}`, `${kills}`];
  const options = { flags, args, through };
  const output = await runProgram("kept_versions.ts", options);
  const { stored, lost } = JSON.parse(output);
  assert(stored > changes / 20, `${stored} contents were stored`);
  assertEquals(lost, [], `of ${stored} contents`);
}

/** The directory is on a RAM disk, which syncs fast. */
const ON_RAM_DISK = [
  ...THROUGH_MOUNT_NAMESPACE,
  ...["sh", "-c", 'mount -t tmpfs tmpfs "$0" && exec "$@"'],
];

Deno.test(
  "two processes that store, rename and delete the same files at the same time lose none",
  ignoreIf(obstacle),
  async () => {
    await using dir = await createTempDir();
    await changeFiles([...ON_RAM_DISK, dir.path], dir.path, { changes: 6000 });
  },
);

Deno.test(
  "two processes that change the same files, and are killed at any moment, lose none",
  ignoreIf(obstacle),
  async () => {
    await using dir = await createTempDir();
    await changeFiles([...ON_RAM_DISK, dir.path], dir.path, { changes: 4000, kills: 15 });
  },
);

Deno.test(
  "two processes lose no files on a disk that reports errors for changes that it has made",
  ignoreIf(noFuse),
  async () => {
    await using dir = await createTempDir();
    const codes = { link: "EIO", rename: "ESTALE", unlink: "EINTR" };
    const faults = Object.entries(codes).map(([name, code]) => `done-${name} 9 ${code} /d/\n`);
    await fill(dir.path, { faults: faults.join("") });
    const script = await makeOddDiskScript(dir.path, 'plain "$0/faults"');
    const through = [...THROUGH_MOUNT_NAMESPACE, "sh", "-c", script, dir.path];
    await changeFiles(through, `${dir.path}/disk`, { changes: 100, kills: 2 });
  },
);
