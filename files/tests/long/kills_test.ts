/** Kills processes at random moments, or at system calls, while they copy files and trees. */
import { findObstacle } from "@degu/testing/commands.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { findMountObstacle, THROUGH_PROCESS_NAMESPACE } from "@degu/testing/namespaces.ts";
import { importMapFlags, runProgram } from "@degu/testing/processes.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { assert } from "@std/assert";
import { KILLED } from "../../../tests/crash/kills.ts";

for (const { name, ofTest, obstacle, run } of KILLED) {
  Deno.test({
    name: `${name} that are killed at any moment lose or mix no files, and can be continued`,
    ignore: typeof obstacle === "string",
    fn: () => run(ofTest),
  });
}

const mountObstacle = await findMountObstacle() ??
  await findObstacle(["strace", "-o", "/dev/null", "true"]);

Deno.test(
  "a server that is killed at any system call of an upload to a directory on another mount tears no file, and the upload can be repeated",
  ignoreIf(mountObstacle),
  async () => {
    await using dir = await createTempDir();
    const output = await runProgram("killed_copies.ts", {
      flags: ["--allow-all", ...importMapFlags()],
      args: [dir.path],
      through: THROUGH_PROCESS_NAMESPACE,
    });
    const kills: Record<string, number> = JSON.parse(output.slice(output.lastIndexOf("{")));
    for (const [way, count] of Object.entries(kills)) assert(count > 10, `${way}: ${count} kills`);
  },
);
