/** Devices that look for each other by mDNS, in network namespaces that the test makes. */
import { labTest } from "@degu/testing/agent_lab.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";

await labTest<{ shown: [code: number, text: string][]; file: string }>(
  "where nobody invites or sends this is said; several are listed, and one of them is chosen by its name; no device finds itself, nor joins another one than it has found",
  "agent_near.ts",
  [],
  ({ shown: [none, several, itself, peers, liar], file }) => {
    assertEquals([none![0], several![0], itself![0], peers![0], liar![0]], [1, 1, 1, 0, 3]);
    assertStringIncludes(liar![1], "answers, which is another device than was found");
    assert(!liar![1].includes("Type y"), liar![1]);
    assertStringIncludes(itself![1], 'no device "one" was found');
    assertStringIncludes(none![1], 'no device was found in this network: run "degu invite" there');
    assertEquals(
      several![1].match(/^(one|two) [a-z2-7]{16}(?=\r)/gm)?.map((each) => each.slice(0, 3)).sort(),
      [
        "one",
        "two",
      ],
    );
    assertStringIncludes(several![1], '2 devices were found: run "degu join NAME"');
    assertEquals(peers![1].match(/^\w+/gm), ["two"]);
    assertEquals(file, "one");
  },
);
