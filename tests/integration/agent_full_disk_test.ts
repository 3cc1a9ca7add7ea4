/** The program where a disk is full at either end: a tmpfs in a mount namespace that the test makes. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { mountObstacle, THROUGH_MOUNT_NAMESPACE } from "@degu/testing/mount_namespace.ts";
import { runProgram } from "@degu/testing/programs.ts";

/** The program shares code with tests, whose packages may be out of reach. */
const IMPORTS = fromFileUrl(new URL("../support/offline/import_map.json", import.meta.url));

const why = await mountObstacle();

Deno.test({
  name: why === null
    ? "a full disk at either end is said, and the same command goes on once there is space"
    : `a full disk at either end: left out, no tmpfs can be mounted here (${why})`,
  ignore: why !== null,
  fn: async () => {
    const flags = [
      ...["--import-map", IMPORTS, "--allow-net=127.0.0.1"],
      ...[
        `--allow-run=mount,umount,${Deno.execPath()}`,
        "--allow-read=.,/tmp",
        "--allow-write=/tmp",
        "--allow-sys=uid",
      ],
    ];
    const printed = await runProgram("agent_full_disk.ts", {
      flags,
      through: THROUGH_MOUNT_NAMESPACE,
      patience: 60,
    });
    const [get, put] = JSON.parse(printed);
    assertEquals(get.full.code, 1);
    assertStringIncludes(get.full.stderr, "this device has no space left");
    assertStringIncludes(get.full.stderr, "run the same command again");
    assertEquals(put.full.code, 1);
    assertStringIncludes(put.full.stderr, "the peer has no space left");
    for (const { again, moved } of [get, put]) {
      assertEquals(again.code, 0, again.stderr);
      assertEquals(moved, [409600, 409600, 409600, 409600]);
    }
  },
});
