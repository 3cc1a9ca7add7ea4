/** A night of backups by a timer, in network namespaces that the test makes. */
import { makeLabTest } from "@degu/testing/agent_lab.ts";
import { assertEquals, assertMatch } from "@std/assert";

interface Night {
  readonly runs: readonly { name: string; code: number; stdout: string; stderr: string }[];
  readonly copied: readonly string[];
}

Deno.test(
  await makeLabTest<Night>(
    "sync --wait of a timer copies the files of each run while the peer is off, reboots and changes its address, and reports the peer that stays off",
    "agent_night.ts",
    ["camera", "viewer"],
    ({ runs, copied }) => {
      const offline =
        /^degu: error: camera does not answer \(.*192\.0\.2\.11:7443.*\): run "degu serve" on camera[^\n]*\n$/;
      for (const { name, code, stdout, stderr } of runs) {
        const isOff = name === "stays off";
        assertEquals([code, stdout], [isOff ? 1 : 0, ""], `${name}: ${stderr}`);
        // A run that waits is silent.
        assertMatch(stderr, isOff ? offline : /^\d files? copied, [^\n]*\n$/, name);
      }
      assertEquals(runs.map(({ name }) => name).toSorted(), copied);
    },
  ),
);
