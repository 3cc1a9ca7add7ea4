/** Looking for a device on a link without a route to anywhere, in network namespaces that the test makes. */
import { assertEquals, assertMatch } from "@std/assert";
import { labTest } from "@degu/testing/agent_lab.ts";
import type { AgentEnd } from "@degu/testing/agents.ts";

await labTest<Record<"known" | "found" | "alone", AgentEnd> & { as: string; despite: AgentEnd[] }>({
  name: "a device is found with link-local addresses only, even if others claim to be it",
  program: "agent_found.ts",
  check: ({ known, found, as, despite, alone }) => {
    assertEquals(known.code, 1);
    assertMatch(known.stderr, /no address answers: /);
    for (const { stdout } of [found, ...despite]) {
      assertEquals(JSON.parse(stdout).address, "[fe80::1]:7555");
    }
    // It claims to be the camera, with its name and its id: only the certificate tells.
    assertMatch(as, /^impostor as camera-[a-z2-7]{16}\n$/);
    assertEquals(alone.code, 3);
    assertMatch(alone.stderr, /another device answers there, or the peer has a new identity/);
  },
});
