/** The program over cables and switches, in network namespaces that the tests make. */
import { makeLabTest } from "@degu/testing/agent_lab.ts";
import type { AgentResult } from "@degu/testing/agents.ts";
import { assertEquals, assertMatch } from "@std/assert";

const addressIn = ({ stdout, stderr }: AgentResult) =>
  stdout && JSON.parse(stdout).address || stderr;

Deno.test(
  await makeLabTest<AgentResult[]>(
    "devices on two cables with link-local addresses are paired, and reached, by the interface of each",
    "agent_two_cables.ts",
    ["left", "middle", "right"],
    (pings) => {
      assertMatch(addressIn(pings[0]!), /^\[fe80::2%\d+\]:7443$/);
      assertMatch(addressIn(pings[1]!), /^\[fe80::3%\d+\]:7443$/);
    },
  ),
);

type Pings = "known" | "found" | "despite" | "atStranger" | "given" | "moved" | "alone" | "gone";

Deno.test(
  await makeLabTest<Record<Pings, AgentResult> & { readonly as: string }>(
    "a device is found on a link without a route, also at a new address, and never mistaken for another one that says so",
    "agent_found.ts",
    ["camera", "viewer", "stranger"],
    ({ known, found, as, despite, atStranger, given, moved, alone, gone }) => {
      assertEquals(known.code, 1);
      assertMatch(known.stderr, / does not answer \(/);
      // The impostor announces the name and the id of the camera. Only the certificate differs.
      assertMatch(as, /^impostor as camera-[a-z2-7]{16}\n$/);
      assertEquals([found, despite].map(addressIn), ["192.0.2.1:7555", "192.0.2.1:7555"]);
      assertEquals([given, moved].map(addressIn), ["192.0.2.9:7555", "192.0.2.9:7555"]);
      for (const { code, stderr } of [atStranger, alone, gone]) {
        assertEquals(code, 3, stderr);
        assertMatch(stderr, /another device answers at \S+, or \w+ has a new identity/);
      }
    },
  ),
);

Deno.test(
  await makeLabTest<{ found: unknown[]; offers: { id: string; addresses: unknown[] }[] }>(
    "a device on two cables is found from both ends, and finds what both offer, with the permissions for mDNS and no others",
    "agent_mdns_cables.ts",
    [],
    ({ found, offers }) => {
      assertEquals(found, [[["192.0.2.2", 7443]], [["192.0.2.130", 7443]]]);
      const shown = offers.map(({ id, addresses }) => [id[0], addresses]);
      assertEquals(shown.toSorted(([a], [b]) => `${a}` < `${b}` ? -1 : 1), [
        ["b", [["192.0.2.1", 7443]]],
        ["c", [["192.0.2.129", 7443]]],
      ]);
    },
  ),
);
