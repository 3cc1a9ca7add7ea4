/** Sending over a cable that is pulled, between network namespaces that the test makes. */
import { labTest } from "@degu/testing/agent_lab.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";

await labTest<{ left: string; ends: { code: number; stdout: string }[]; isSame: boolean }>(
  "a receiver whose cable was pulled until the sender went on without it gets everything, and the sender ends",
  "agent_send_cable.ts",
  [],
  ({ left, ends, isSame }) => {
    assertStringIncludes(left, "two has left before it had everything");
    assertEquals(ends.map(({ code }) => code), [0, 0], ends.map(({ stdout }) => stdout).join());
    assert(isSame);
  },
);
