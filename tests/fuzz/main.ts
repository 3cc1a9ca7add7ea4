/**
 * `deno task fuzz [--seconds N] [--seed N] [--target name]…`: runs the fuzzers, each for its part
 * of the time. Prints the seed, and for each target the number of inputs, the inputs per second,
 * and the fraction that was accepted. At the first objection of an oracle it prints the seed and
 * the smallest failing input, and ends with status 1.
 */

import { parseArgs } from "node:util";
import { treesCommand } from "../../files/tests/trees/command.ts";
import { Finding, type Report, run } from "./fuzzer.ts";
import { targets } from "./targets.ts";

/** A target that runs as a separate program. */
const TREES = "trees";
const ALL = [...Object.keys(targets), TREES];

const USAGE = `usage: deno task fuzz [--seconds N] [--seed N] [--target name]…
--seconds  for all targets together, 60 where it is left out
--seed     an integer; a new one where it is left out
--target   may be given again; all targets where it is left out: ${ALL.join(", ")}`;

function readOptions() {
  try {
    const { values } = parseArgs({
      args: Deno.args,
      options: {
        seconds: { type: "string", default: "60" },
        seed: { type: "string", default: `${Math.floor(Math.random() * 2 ** 31)}` },
        target: { type: "string", multiple: true, default: ALL },
      },
    });
    const [seconds, seed, names] = [Number(values.seconds), Number(values.seed), values.target];
    const isValid = seconds > 0 && seed >= 0 && names.every((name) => ALL.includes(name));
    if (isValid) return { seconds, seed, names };
    throw new RangeError(`got ${Deno.args.join(" ")}`);
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n${USAGE}`);
    Deno.exit(1);
  }
}

function format({ name, inputs, accepted, seconds }: Report): string {
  const rate = Math.round(inputs / seconds);
  const percentage = (accepted / inputs * 100).toFixed(1);
  return [
    name.padEnd(18),
    inputs.toLocaleString("en").padStart(13),
    rate.toLocaleString("en").padStart(9) + "/s",
    `${percentage.padStart(5)} %`,
    `${seconds.toFixed(1).padStart(6)} s`,
  ].join("  ");
}

/** How long a run may exceed its time, to finish a case and to shrink a counterexample. */
const PATIENCE_SECONDS = 240;

/**
 * Transfers random trees of files with faults for some seconds, and compares them with a model, in
 * a process with more permissions: see `files/tests/trees/main.ts`. Throws a {@linkcode Finding} if a
 * tree differs.
 */
async function fuzzTrees(seed: number, seconds: number): Promise<Report> {
  const caseFile = await Deno.makeTempFile({ prefix: "degu-trees-" });
  try {
    const args = ["--seed", `${seed}`, "--seconds", `${seconds}`, "--case-file", caseFile];
    const child = (await treesCommand(...args)).spawn();
    const timer = setTimeout(() => child.kill("SIGKILL"), (seconds + PATIENCE_SECONDS) * 1000);
    const { success, stdout, stderr } = await child.output();
    clearTimeout(timer);
    const decoder = new TextDecoder();
    if (!success) {
      const last = await Deno.readTextFile(caseFile);
      throw new Finding(TREES, seed, last, new Error(decoder.decode(stderr)));
    }
    const { runs, seconds: elapsed } = JSON.parse(decoder.decode(stdout));
    return { name: TREES, inputs: runs, accepted: runs, seconds: elapsed };
  } finally {
    await Deno.remove(caseFile);
  }
}

const { seconds, seed, names } = readOptions();
// The stack is most of the cost of an unreported error.
Error.stackTraceLimit = 0;
console.log(`seed ${seed}`);
console.log(
  `${"target".padEnd(18)}  ${"inputs".padStart(13)}  ${"speed".padStart(11)}  accepted     time`,
);
const secondsPerTarget = seconds / names.length;
try {
  for (const name of names) {
    const fuzzer = targets[name]?.();
    try {
      const report = fuzzer
        ? run(fuzzer, seed, secondsPerTarget)
        : fuzzTrees(seed, secondsPerTarget);
      console.log(format(await report));
    } finally {
      await fuzzer?.close?.();
    }
  }
} catch (error) {
  console.error(error instanceof Finding ? `FINDING ${error.message}` : error);
  Deno.exit(1);
}
Deno.exit(0);
