/** `degu pair` between machines that the test makes, at terminals. */
import { makeLabTest } from "@degu/testing/agent_lab.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";

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
        assertStringIncludes(screen, '2 other devices run "degu pair":');
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
      assertStringIncludes(shown, "5 numbers were shown, and none was confirmed");
      const alone = scenes["used up alone"]!;
      assertEquals(alone.code, 3, alone.shown);
      assertStringIncludes(alone.shown, "5 numbers were not confirmed, so no other device can ask");
      const usedUp = scenes["used up"]!;
      assertEquals(usedUp.code, 0, usedUp.shown);
      assertStringIncludes(
        usedUp.shown,
        "so no other device can ask: use a line, or run the same command again",
      );
      assertEquals(scenes["joined three times"]!.code, 130, scenes["joined three times"]!.shown);
      const both = scenes["two of a name"]!;
      assertEquals(both.code, 1, both.shown);
      assertEquals(both.shown.match(/two [a-z2-7]{8}… at /g)?.length, 2, both.shown);
    },
  ),
);
