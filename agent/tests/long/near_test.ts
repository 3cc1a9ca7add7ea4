/** Devices that look for each other by mDNS, in network namespaces that the test makes. */
import { makeLabTest } from "@degu/testing/agent_lab.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";

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
