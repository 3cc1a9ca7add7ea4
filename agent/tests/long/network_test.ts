/** The program over cables and switches, in network namespaces that the tests make. */
import { findLabObstacle, makeLabTest, THROUGH_LAB } from "../agent_lab.ts";
import type { AgentResult } from "@degu/testing/agents.ts";
import { runOrThrow } from "@degu/testing/commands.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

const addressIn = ({ stdout, stderr }: AgentResult) =>
  stdout && JSON.parse(stdout).address || stderr;

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
    "a device on two cables is found from both ends, and finds what both offer, at the second address of each interface, with the permissions for mDNS and no others",
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

// Devices whose addresses change.

interface Moved {
  readonly code: number;
  readonly stderr: string;
  readonly seconds: number;
  readonly objects: { readonly resumedFrom: number; readonly bytes: number };
  readonly isWhole: boolean;
}

Deno.test(
  await makeLabTest<Record<"client" | "server" | "synced" | "off", Moved>>(
    "a transfer continues when either device gets another address, and a peer that is offline is reported within ten",
    "agent_moved.ts",
    ["camera", "viewer"],
    ({ client, server, synced, off }) => {
      for (const { objects } of [client, server]) {
        assert(objects.resumedFrom > 1_000_000, String(objects.resumedFrom));
      }
      // Each attempt reports what it has copied.
      assertEquals(synced.objects.resumedFrom + synced.objects.bytes, 8_000_000);
      for (const { code, stderr, seconds, isWhole } of [client, server, synced]) {
        assertEquals([code, isWhole], [0, true], stderr);
        // The time-out of 90 s ends the silent connection up to a quarter later.
        assert(seconds < 150, String(seconds));
      }
      assertEquals(off.code, 1);
      assertMatch(off.stderr, /^degu: error: \w+ does not answer \(.*\n$/);
      assert(off.seconds < 10, String(off.seconds));
    },
  ),
);

// Devices that look for each other by mDNS.

Deno.test(
  await makeLabTest<{ shown: [code: number, text: string][]; file: string }>(
    "several senders are listed, and one is chosen by its name, or by the first characters of its id; a device that was not found is not joined, nor a device that only a pipe confirms",
    "agent_near.ts",
    [],
    ({ shown: [several, piped, liar], file }) => {
      assertEquals([several![0], piped![0], liar![0]], [1, 2, 3]);
      assertStringIncludes(
        piped![1],
        "looking for the other device in this network, for ten minutes",
      );
      assertStringIncludes(piped![1], "sends, but a number can be compared on a terminal only");
      assert(!piped![1].includes("Type y"), piped![1]);
      assertStringIncludes(liar![1], "answers, but it is not the device that was found");
      assert(!liar![1].includes("Type y"), liar![1]);
      const listed = several![1].match(/^(one|two) [a-z2-7]{8}…(?=\r)/gm) ?? [];
      assertEquals(listed.map((each) => each.slice(0, 3)).sort(), ["one", "two"]);
      assertStringIncludes(several![1], '2 devices were found: run "degu receive --from NAME"');
      assertEquals(file, "one");
    },
  ),
);

// degu pair at terminals.

interface End {
  readonly code: number;
  readonly shown: string;
}

Deno.test(
  await makeLabTest<Record<string, End[]>>(
    "pair: of three each shows the two others, and a person chooses by number; an address and a second start lead to the other one",
    "agent_pair.ts",
    [],
    (scenes) => {
      const codes = Object.entries(scenes).map(([name, ends]) => [name, ends.map((e) => e.code)]);
      assertEquals(Object.fromEntries(codes), {
        "several": [0, 0, 1],
        "left while a person chose": [130, 130, 130],
        "an address": [0],
        "stopped before the number": [0, 130],
      });
      const shown = (name: string) => scenes[name]!.map((each) => each.shown);
      const listed = / {2}[12] {2}(one|two|three) [a-z2-7]{8}… at 192\.168\.1\.\d:\d+\r/g;
      for (const screen of shown("several")) {
        assert((screen.match(listed)?.length ?? 0) >= 2, screen);
        assertStringIncludes(screen, "2 other devices run degu pair:");
      }
      const [, , third] = shown("several");
      assert(!third!.includes("it shows this number"), third);
      // Without a reply, the error has the list.
      assertStringIncludes(third!, "2 devices were found, and none was chosen");
    },
  ),
);

Deno.test(
  await makeLabTest<Record<string, End>>(
    "pair ends after five numbers of strangers that leave, and tries a device that doesn't invite again after each pause; numbers that are used up unseen end it if no other device is near, and don't keep two apart that are; two of a name are listed",
    "agent_pair_strangers.ts",
    [],
    (scenes) => {
      const { code, shown } = scenes["five numbers"]!;
      assertEquals(code, 3, shown);
      assertEquals(shown.match(/it shows this number/g)?.length, 5, shown);
      const alone = scenes["used up alone"]!;
      assertEquals(alone.code, 3, alone.shown);
      const usedUp = scenes["used up"]!;
      assertEquals(usedUp.code, 0, usedUp.shown);
      assertStringIncludes(usedUp.shown, "no other device can ask: use a line");
      const refused = scenes["joined three times"]!;
      assertEquals(refused.code, 130, refused.shown);
      assertStringIncludes(refused.shown, "accepts no number now, or a firewall blocks");
      const both = scenes["two of a name"]!;
      assertEquals(both.code, 1, both.shown);
      assertEquals(both.shown.match(/two [a-z2-7]{8}… at /g)?.length, 2, both.shown);
    },
  ),
);

// The first minute of the help and of agent/docs/guide.md, on terminals of new machines.

type Files = [name: string, text: string][];

Deno.test(
  await makeLabTest<{ received: Files; mode: number; files: Files; left: Files }>(
    "in the first minute a file is put into an inbox that only its owner can open, then sent once",
    "agent_first_minute.ts",
    [],
    ({ received, mode, files, left }) => {
      const hello: Files = [["hello.txt", "hello\n"]];
      // The temporary directories were removed.
      assertEquals([received, files, left], [[["Inbox", "/"], ...hello], hello, hello]);
      assertEquals(mode, 0o700);
    },
  ),
);

// A program of public names.

Deno.test(
  await makeLabTest<{
    unpaired: AgentResult;
    nearby: string;
    mirrored: string;
    copied: { names: string[]; areEqual: boolean[] };
    codes: number[];
    strangerCodes: number[];
    strangersHavePeers: boolean[];
    programCode: number;
  }>(
    "the agent of device/docs/local_network.md finds another device, pairs, serves, and mirrors while its peer moves twice, killed and started again at each step, beside two strangers and an impostor; degu pair pairs with it",
    "agent_example.ts",
    [],
    (
      { unpaired, nearby, mirrored, copied, codes, ...strangers },
    ) => {
      assertEquals(unpaired.code, 1, unpaired.stdout);
      assertMatch(unpaired.stdout, /PairingError: lamp did not confirm/);
      assertMatch(nearby, /\blamp\b/);
      assertMatch(mirrored, /^mirrored \d+ files, \d+ bytes to lamp$/);
      const names = Array.from({ length: 12 }, (_, i) => `${i}.jpg`).sort();
      assertEquals(copied, { names, areEqual: Array(12).fill(true) });
      assertEquals(codes, [0, 0]);
      assertEquals(strangers, {
        strangerCodes: [130, 130],
        strangersHavePeers: [false, false],
        programCode: 0,
      });
    },
  ),
);

Deno.test("all processes end with the program of a lab", {
  ...ignoreIf(await findLabObstacle()),
}, async () => {
  // The pipe of stdout ends with the last process.
  const output = runOrThrow([...THROUGH_LAB, "sh", "-c", "sleep 600 & echo started"]);
  assertEquals(await withTimeout(output, "the last process ends"), "started\n");
});
