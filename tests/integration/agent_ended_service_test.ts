/** A service that dies, and a peer that is forgotten, in the middle of a transfer, in network namespaces that the test makes. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { labTest } from "@degu/testing/agent_lab.ts";
import type { AgentEnd } from "@degu/testing/agents.ts";

await labTest<Record<"got" | "put", AgentEnd> & { inbox: string[]; whole: boolean }>({
  name:
    "a transfer continues by itself after its service was restarted, and ends for peers that it has forgotten",
  program: "agent_ended_service.ts",
  check: ({ got, put, inbox, whole }) => {
    assertEquals(got.code, 0, got.stderr);
    assertMatch(got.stderr, /trying again in/);
    assert(whole);
    assertEquals(put.code, 3, put.stderr);
    // Nothing half-written is seen.
    assert(!inbox.includes("clip"), inbox.join());
  },
});
