/** Files whose disk fails in their middle: the other files of the tree arrive. */
import { createTempDir } from "@degu/testing/directories.ts";
import { THROUGH_MOUNT_NAMESPACE } from "@degu/testing/namespaces.ts";
import { findOddDiskObstacle } from "../../../files/tests/odd_disk.ts";
import { importMapFlags, runProgram } from "@degu/testing/processes.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";

interface Result {
  readonly code: number;
  readonly errors: readonly string[];
  readonly missing: readonly string[];
  readonly kept: readonly string[];
}

const RSYNC_CODES: Readonly<Record<string, number>> = { source: 23, target: 11 };

Deno.test(
  "a file that can't be read or written in its middle fails alone, by name, in every command that copies a tree",
  ignoreIf(await findOddDiskObstacle()),
  async () => {
    await using dir = await createTempDir();
    const printed = await runProgram("middle_faults.ts", {
      flags: ["--allow-all", ...importMapFlags()],
      args: [dir.path],
      through: THROUGH_MOUNT_NAMESPACE,
    });
    const rows = Object.entries<Record<string, Result>>(JSON.parse(printed));
    assertEquals(rows.length, 6);
    for (const [row, results] of rows) {
      const isFailure = !row.startsWith("pause") && !row.endsWith("replaced file");
      for (const [name, { code, errors, missing, kept }] of Object.entries(results)) {
        const context = `${row}: ${name}: ${errors.join("\n")}`;
        const isMoved = name.includes("--move");
        if (name === "rsync") {
          // rsync ends at the first error of its target.
          assertEquals(code, isFailure ? RSYNC_CODES[row.split(" ").at(-1)!] : 0, context);
          assertEquals(missing.includes("bad"), isFailure, context);
          continue;
        }
        assertEquals([code, missing], isFailure ? [1, ["bad"]] : [0, []], context);
        assertEquals(errors.length, isFailure ? 1 : 0, context);
        for (const line of errors) assertMatch(line, /(^|\/)bad("|:|$)/);
        assertEquals(kept.length, !isMoved ? 24 : isFailure ? 1 : 0, context);
        assert(!isMoved || !isFailure || kept[0] === "bad", context);
      }
    }
  },
);
