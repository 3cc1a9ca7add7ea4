/** Disks that don't answer, such as NFS without its server, also in a worker. */
import { createTempDir } from "@degu/testing/directories.ts";
import { THROUGH_MOUNT_NAMESPACE } from "@degu/testing/namespaces.ts";
import { findOddDiskObstacle, makeOddDiskScript } from "@degu/testing/odd_disk.ts";
import { runProgram } from "@degu/testing/programs.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { assertEquals } from "@std/assert";
import { retryUntilInTime } from "@degu/testing/raw_peer.ts";

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
const MAX_PING_MILLISECONDS = 150;

interface Result {
  readonly kind: string;
  readonly ping: number;
  readonly other: number;
  readonly statuses: readonly number[];
}

Deno.test(
  "while a disk hangs in a worker, the server answers at once, its other directories too, and the disk's requests get 503 after three seconds",
  ignoreIf(obstacle),
  async () => {
    await retryUntilInTime(`/ping takes over ${MAX_PING_MILLISECONDS} ms`, async () => {
      await using dir = await createTempDir();
      await Deno.writeTextFile(`${dir.path}/faults`, "");
      const script = await makeOddDiskScript(dir.path, 'plain "$0/faults"');
      const through = [...THROUGH_MOUNT_NAMESPACE, "sh", "-c", script, dir.path];
      const options = { flags: ["--allow-all"], args: [dir.path], through };
      const results: Result[] = JSON.parse(await runProgram("hanging_thread.ts", options));
      assertEquals(results.map(({ kind, statuses }) => [kind, ...statuses]), [
        ["GET /disk/hung/file", 200, 200, 503],
        ["GET /disk/hung/?tree", 200, 200, 503],
        ["POST /disk/hung/?bundle=get", 200, 200, 503],
        ["PUT /disk/hung/file", 204, 200, 503],
      ]);
      return results.every(({ ping }) => ping <= MAX_PING_MILLISECONDS);
    });
  },
);
