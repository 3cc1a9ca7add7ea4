/** A short run of each fuzzer with a fixed seed, and how a fuzzer reports a finding. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { demand, Finding, type Fuzzer, Objection, run } from "../fuzz/fuzzer.ts";
import { Random } from "../fuzz/random.ts";
import { targets } from "../fuzz/targets.ts";

/** How many inputs a target gets: a tenth of a second. */
const INPUTS: Readonly<Record<string, number>> = {
  "chunk-stream": 40,
  "request-stream": 20,
  "response-stream": 20,
  "careless-app": 100,
  "request-loopback": 100,
  "careless-sender": 80,
  "tiny-chunks": 15,
  "linear-time": 15,
};
const OTHERWISE = 1000;
const SEED = 1;

for (const [name, make] of Object.entries(targets)) {
  Deno.test(`fuzzing ${name} finds no errors, and covers accepted and rejected input`, async () => {
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    const fuzzer = make();
    try {
      const inputs = INPUTS[name] ?? OTHERWISE;
      const report = await run(fuzzer, { seed: SEED, inputs, seconds: 60 });
      assertEquals(report.name, name);
      assertEquals(report.inputs, inputs, "the inputs took too long");
      // A grammar of which nothing, or all, is accepted tests half of what it should.
      assert(report.accepted > inputs / 20, `accepted ${report.accepted}`);
      assert(report.accepted < inputs, "rejected none");
    } finally {
      Error.stackTraceLimit = stackTraceLimit;
      await fuzzer.close?.();
    }
  });
}

/** A target that objects to inputs with an "x" before a "y". */
const objecting: Fuzzer = {
  name: "objecting",
  grammar: (random: Random) => random.text("abcxyz\r\n", 0, 200),
  check(input) {
    demand(!/x[^]*y/.test(input), "x before y");
    return "accepted";
  },
};

Deno.test("a finding has the seed and the smallest bytes that still reproduce it", async () => {
  const finding = await assertRejects(() => run(objecting, { seed: 7, inputs: 1000 }), Finding);
  assertEquals(finding.input, "xy");
  assertEquals(finding.seed, 7);
  assert(finding.cause instanceof Objection);
  assertStringIncludes(finding.message, 'objecting: x before y\nseed 7, minimal bytes (2): "xy"');
});

Deno.test("the same seed produces the same inputs, and another seed different ones", async () => {
  const inputsOf = async (seed: number) => {
    const seen: string[] = [];
    await run({
      name: "recording",
      grammar: (random) => random.text("ab", 1, 20),
      check(input) {
        seen.push(input);
        return seen.length % 3 === 0 ? "accepted" : "rejected";
      },
    }, { seed, inputs: 300 });
    return seen;
  };
  assertEquals(await inputsOf(3), await inputsOf(3));
  assert((await inputsOf(3)).join("\n") !== (await inputsOf(4)).join("\n"));
});

Deno.test("random numbers are spread over their range", () => {
  const random = new Random(1);
  const counts = new Array(10).fill(0);
  for (let i = 0; i < 10_000; i++) counts[random.below(10)]++;
  for (const count of counts) assert(count > 850 && count < 1150, String(counts));
});
