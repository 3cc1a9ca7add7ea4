/** A cable that is pulled out in the middle of a transfer, in network namespaces that the test makes. */
import { assert, assertEquals } from "@std/assert";
import { labTest } from "@degu/testing/agent_lab.ts";
import type { AgentEnd } from "@degu/testing/agents.ts";

await labTest<Record<"got" | "interrupted" | "again" | "put", AgentEnd> & { whole: boolean[] }>({
  name: "a transfer survives a brief cable outage, and an interrupted one is resumed",
  program: "agent_cut_cable.ts",
  check: ({ got, interrupted, again, put, whole }) => {
    assertEquals(got.code, 0, got.stderr);
    assertEquals(put.code, 0, put.stderr);
    assertEquals(interrupted.code, 130);
    assertEquals(again.code, 0, again.stderr);
    const { bytes, total, resumedFrom } = JSON.parse(again.stdout);
    assert(resumedFrom > 0, again.stdout);
    assertEquals(bytes, total - resumedFrom);
    assertEquals(whole, [true, true, true]);
  },
});
