/** The commands of RELEASING.md that set the version. */
import { runOrThrow } from "@degu/testing/commands.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { findProgramObstacle, ignoreIf } from "@degu/testing/terminals.ts";
import { readProjectFile, ROOT } from "@degu/testing/tree.ts";
import { assertMatch } from "@std/assert";

Deno.test(
  "the commands of RELEASING.md set the version that the workflow checks, in a copy of the checkout",
  ignoreIf(await findProgramObstacle("bash", "-c", "type perl")),
  async () => {
    const page = await readProjectFile("RELEASING.md");
    const [, commands = ""] = /^ *```sh\n( *VERSION=.*?)^ *```$/ms.exec(page) ?? [];
    assertMatch(commands, /tools\/check_version\.ts/);
    await using copy = await createTempDir();
    const run = (script: string, cwd: string | URL) =>
      runOrThrow(["bash", "-ec", script, copy.path], { cwd });
    await run(
      'tar c --exclude ./.git --exclude ./coverage --exclude ./reference . | tar x -C "$0"',
      ROOT,
    );
    await run(commands, copy.path);
  },
);
