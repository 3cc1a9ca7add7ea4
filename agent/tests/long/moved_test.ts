/** Transfers of devices that get other addresses, in network namespaces that the test makes. */
import { testInLab } from "@degu/testing/agent_lab.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";

interface Moved {
  readonly code: number;
  readonly stderr: string;
  readonly seconds: number;
  readonly objects: { readonly resumedFrom: number; readonly bytes: number };
  readonly isWhole: boolean;
}

await testInLab<Record<"client" | "server" | "synced" | "off", Moved>>(
  "a transfer continues within seconds when either device gets another address, and a peer that is offline is reported within ten",
  "agent_moved.ts",
  ["camera", "viewer"],
  ({ client, server, synced, off }) => {
    for (const { objects } of [client, server]) {
      assert(objects.resumedFrom > 1_000_000, String(objects.resumedFrom));
    }
    // A tree is copied in one call, which has moved all of it.
    assertEquals([synced.objects.resumedFrom, synced.objects.bytes], [0, 8_000_000]);
    for (const { code, stderr, seconds, isWhole } of [client, server, synced]) {
      assertEquals([code, isWhole], [0, true], stderr);
      assertMatch(stderr, /^no data has arrived for 10 s; connecting again\n/);
      // Without another connection it is 90; the silence alone is 10.
      assert(seconds < 30, String(seconds));
    }
    assertEquals(off.code, 1);
    assertMatch(off.stderr, /^degu: error: no address answers: .*\n$/);
    assert(off.seconds < 10, String(off.seconds));
  },
);
