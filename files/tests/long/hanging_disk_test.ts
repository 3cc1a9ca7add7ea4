/** Disks that don't answer, such as NFS without its server, also in a worker. */
import { createTempDir } from "@degu/testing/directories.ts";
import { THROUGH_MOUNT_NAMESPACE } from "@degu/testing/namespaces.ts";
import { findOddDiskObstacle, makeOddDiskScript } from "../odd_disk.ts";
import { runProgram } from "@degu/testing/processes.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { assertEquals } from "@std/assert";

const obstacle = await findOddDiskObstacle();

Deno.test(
  "while requests wait for a disk that hangs, other requests of the process are answered, and clients that leave free their slots",
  ignoreIf(obstacle),
  async () => {
    await using dir = await createTempDir();
    await Deno.writeTextFile(`${dir.path}/faults`, "");
    const script = await makeOddDiskScript(dir.path, 'plain "$0/faults"');
    const through = [...THROUGH_MOUNT_NAMESPACE, "sh", "-c", script, dir.path];
    const options = { flags: ["--allow-all"], args: [dir.path], through };
    const output = await runProgram("hanging_disk.ts", options);
    const { statuses, slotsFreed, endedEarly, hung } = JSON.parse(output);
    assertEquals([statuses, slotsFreed, endedEarly], [[200, 204, 200], true, 0]);
    assertEquals(hung, [200, 200, 301, 201, 204, 204]);
  },
);

/** The longest time of a response of the server while the disk hangs, in milliseconds. */

interface Result {
  readonly kind: string;
  readonly ping: number;
  readonly other: number;
  readonly statuses: readonly number[];
}
