/** A short run of each fuzzer with a fixed seed. */
import { assert, assertEquals } from "@std/assert";
import { run } from "../fuzz/fuzzer.ts";
import { targets } from "../fuzz/targets.ts";

/** The number of inputs of a target: a tenth of a second. */
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
      // The grammar must generate both accepted and rejected inputs.
      assert(report.accepted > inputs / 20, `accepted ${report.accepted}`);
      assert(report.accepted < inputs, "no input was rejected");
    } finally {
      Error.stackTraceLimit = stackTraceLimit;
      await fuzzer.close?.();
    }
  });
}
