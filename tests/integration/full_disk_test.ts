/** A download to a disk that is full, which is a tmpfs in a mount namespace that the test makes. */
import { assert, assertEquals } from "@std/assert";
import { tempDir } from "@degu/testing/directories.ts";
import { mountObstacle, THROUGH_MOUNT_NAMESPACE } from "@degu/testing/mount_namespace.ts";
import { runProgram } from "@degu/testing/programs.ts";

const why = await mountObstacle();

Deno.test({
  name: why === null
    ? "a disk that is full ends a download, which goes on once there is space"
    : `a disk that is full: left out, no tmpfs can be mounted here (${why})`,
  ignore: why !== null,
  fn: async () => {
    await using dir = await tempDir();
    const { path } = dir;
    const flags = [
      "--allow-net=127.0.0.1",
      "--allow-run=mount",
      `--allow-read=${path}`,
      `--allow-write=${path}`,
    ];
    const printed = await runProgram("full_disk.ts", {
      flags,
      args: [path],
      through: THROUGH_MOUNT_NAMESPACE,
    });
    const { name, code, message, found, part, resumedFrom, isRight, names } = JSON.parse(printed);
    assertEquals([name, code], ["TransferError", "DISK_FULL"]);
    assert(message.includes(`${path}/copy`) && message.includes("no space left"), message);
    assertEquals(found, "old");
    assert(part > 900_000 && part <= 1_048_576, `${part}`);
    assertEquals([resumedFrom, isRight, names], [part, true, ["copy"]]);
  },
});
