/** Three devices on two cables, in network namespaces that the test makes. */
import { assertEquals, assertMatch } from "@std/assert";
import { labTest } from "@degu/testing/agent_lab.ts";
import type { AgentEnd } from "@degu/testing/agents.ts";

await labTest<{ pings: AgentEnd[]; unknown: AgentEnd; forgotten: AgentEnd; other: AgentEnd }>({
  name:
    "devices on cables with link-local addresses find each other, except strangers and forgotten peers",
  program: "agent_three_devices.ts",
  check: ({ pings, unknown, forgotten, other }) => {
    assertEquals(pings.map(({ code }) => code), [0, 0]);
    const addresses = pings.map(({ stdout }) => JSON.parse(stdout).address);
    assertMatch(addresses[0], /^\[fe80::2%\d+\]:7443$/);
    assertMatch(addresses[1], /^\[fe80::3%\d+\]:7443$/);
    // Each of the two is paired with the one in the middle, but not with the other one.
    assertEquals(unknown.code, 3);
    assertMatch(
      unknown.stderr,
      /there is no peer "right": "degu peers" lists those that there are/,
    );
    assertEquals(forgotten.code, 3);
    assertMatch(forgotten.stderr, /it does not trust this device any more/);
    assertEquals(other.code, 0);
  },
});
