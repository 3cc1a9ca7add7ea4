/** A device whose address changes, and a stranger at the old one, in network namespaces that the test makes. */
import { assertEquals, assertMatch } from "@std/assert";
import { labTest } from "@degu/testing/agent_lab.ts";
import type { AgentEnd } from "@degu/testing/agents.ts";

const STRANGER = /another device answers there, or the peer has a new identity/;

await labTest<Record<"first" | "atStranger" | "given" | "found" | "peers" | "gone", AgentEnd>>({
  name:
    "a device with a new address is found there, and never mistaken for the one at its old address",
  program: "agent_changed_address.ts",
  check: ({ first, atStranger, given, found, peers, gone }) => {
    const addressIn = ({ stdout }: AgentEnd) => JSON.parse(stdout).address;
    assertEquals(addressIn(first), "10.7.0.1:7443");
    assertEquals(atStranger.code, 3);
    assertMatch(atStranger.stderr, STRANGER);
    assertEquals(addressIn(given), "10.7.0.9:7443");
    assertEquals(addressIn(found), "10.7.0.9:7443");
    // Announcing makes nobody a peer.
    assertEquals(peers.stdout, "");
    assertEquals(gone.code, 3);
    assertMatch(gone.stderr, /camera was not found in the local network/);
  },
});
