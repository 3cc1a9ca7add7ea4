/** Transfers of devices whose addresses change, in network namespaces that the test makes. */
import { makeLabTest } from "@degu/testing/agent_lab.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";

interface Moved {
  readonly code: number;
  readonly stderr: string;
  readonly seconds: number;
  readonly objects: { readonly resumedFrom: number; readonly bytes: number };
  readonly isWhole: boolean;
}

Deno.test(
  await makeLabTest<Record<"client" | "server" | "synced" | "off", Moved>>(
    "a transfer continues within seconds when either device gets another address, and a peer that is offline is reported within ten",
    "agent_moved.ts",
    ["camera", "viewer"],
    ({ client, server, synced, off }) => {
      for (const { objects } of [client, server]) {
        assert(objects.resumedFrom > 1_000_000, String(objects.resumedFrom));
      }
      // One call copies the whole tree.
      assertEquals([synced.objects.resumedFrom, synced.objects.bytes], [0, 8_000_000]);
      for (const { code, stderr, seconds, isWhole } of [client, server, synced]) {
        assertEquals([code, isWhole], [0, true], stderr);
        assertMatch(stderr, /^camera has been silent for 10 s; connecting again\n/);
        // Without another connection it takes 90 s; the stall alone takes 10 s.
        assert(seconds < 30, String(seconds));
      }
      assertEquals(off.code, 1);
      assertMatch(off.stderr, /^degu: error: \w+ does not answer \(.*\n$/);
      assert(off.seconds < 10, String(off.seconds));
    },
  ),
);
