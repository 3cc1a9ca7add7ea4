/** Disks that don't answer, such as NFS without its server. */
import { createTempDir } from "@degu/testing/directories.ts";
import { findObstacle } from "@degu/testing/commands.ts";
import { findMountObstacle, THROUGH_MOUNT_NAMESPACE } from "@degu/testing/namespaces.ts";
import { makeOddDiskScript } from "@degu/testing/odd_disk.ts";
import { runProgram } from "@degu/testing/programs.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { assertEquals } from "@std/assert";

const obstacle = await findMountObstacle() ??
  await findObstacle(["python3", "-c", "import os; os.stat('/dev/fuse')"]);

Deno.test(
  "while requests wait for a disk that hangs, other requests of the process are answered",
  ignoreIf(obstacle),
  async () => {
    await using dir = await createTempDir();
    await Deno.writeTextFile(`${dir.path}/faults`, "");
    const script = await makeOddDiskScript(dir.path, 'plain "$0/faults"');
    const through = [...THROUGH_MOUNT_NAMESPACE, "sh", "-c", script, dir.path];
    const options = { flags: ["--allow-all"], args: [dir.path], through };
    const output = await runProgram("hanging_disk.ts", options);
    const { statuses, endedEarly, hung } = JSON.parse(output);
    assertEquals([statuses, endedEarly], [[200, 204, 200], 0]);
    assertEquals(hung, [200, 200, 301, 201, 204, 204]);
  },
);
