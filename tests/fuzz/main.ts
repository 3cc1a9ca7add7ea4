/**
 * `deno task fuzz [--seconds N] [--seed N] [--target name]…`: runs the fuzzers, each for its part of the time.
 *
 * Prints the seed, and for each target the inputs, the executions of what is under test, how many there were in a second, and what part of
 * the inputs was accepted. At the first objection of an oracle it prints the seed and the smallest bytes that still show it, and ends
 * with status 1.
 *
 * @module
 */

import { treesCommand } from "../trees/command.ts";
import { Finding, type Report, run } from "./fuzzer.ts";
import { targets } from "./targets.ts";

interface Options {
  readonly seconds: number;
  readonly seed: number;
  readonly names: readonly string[];
}

/** A target that is a program of its own. */
const TREES = "trees";
const ALL = [...Object.keys(targets), TREES];

const USAGE = `usage: deno task fuzz [--seconds N] [--seed N] [--target name]…
--seconds  for all targets together, 60 where it is left out
--seed     an integer; a new one where it is left out
--target   may be given again; all targets where it is left out: ${ALL.join(", ")}`;

class UsageError extends Error {}

function readOptions(args: readonly string[]): Options {
  let seconds = 60, seed = Math.floor(Math.random() * 2 ** 31);
  const chosen: string[] = [];
  for (let i = 0; i < args.length; i += 2) {
    const flag = args[i], value = args[i + 1] ?? "";
    if (flag === "--seconds") seconds = readNumber(flag, value);
    else if (flag === "--seed") seed = readNumber(flag, value);
    else if (flag === "--target" && ALL.includes(value)) chosen.push(value);
    else throw new UsageError(`unknown argument: ${flag} ${value}`);
  }
  return { seconds, seed, names: chosen.length > 0 ? chosen : ALL };
}

function readNumber(flag: string, value: string): number {
  const number = Number(value);
  if (value === "" || !(number >= 0 && number < Infinity)) {
    throw new UsageError(`${flag}: need a number; got ${value}`);
  }
  return number;
}

function format({ name, inputs, executions, accepted, seconds }: Report): string {
  const rate = Math.round(executions / seconds);
  const share = (accepted / inputs * 100).toFixed(1);
  return [
    name.padEnd(18),
    inputs.toLocaleString("en").padStart(13),
    executions.toLocaleString("en").padStart(13),
    rate.toLocaleString("en").padStart(9) + "/s",
    `${share.padStart(5)} %`,
    `${seconds.toFixed(1).padStart(6)} s`,
  ].join("  ");
}

/** How long a run may go on beyond its time: a case that was begun, and making a counterexample smaller. */
const PATIENCE_SECONDS = 240;

/**
 * Transfers random trees of files with faults for some seconds, and compares them with a model, in a process that may do
 * more than this one: see `tests/trees/main.ts`. Throws a {@linkcode Finding} where one differs.
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
      throw new Finding("trees", seed, last, new Error(decoder.decode(stderr)));
    }
    const { runs, transfers, seconds: elapsed } = JSON.parse(decoder.decode(stdout));
    return {
      name: "trees",
      seed,
      inputs: runs,
      executions: transfers,
      accepted: runs,
      seconds: elapsed,
    };
  } finally {
    await Deno.remove(caseFile);
  }
}

async function main(args: readonly string[]): Promise<number> {
  const { seconds, seed, names } = readOptions(args);
  // Most of the time of an error that nobody looks at goes into its stack.
  Error.stackTraceLimit = 0;
  console.log(`seed ${seed}`);
  console.log(
    `${"target".padEnd(18)}  ${"inputs".padStart(13)}  ${"executions".padStart(13)}  ` +
      `${"speed".padStart(11)}  accepted     time`,
  );
  for (const name of names) {
    if (name === TREES) {
      console.log(format(await fuzzTrees(seed, seconds / names.length)));
      continue;
    }
    const fuzzer = targets[name]!();
    try {
      console.log(format(await run(fuzzer, { seed, seconds: seconds / names.length })));
    } finally {
      await fuzzer.close?.();
    }
  }
  return 0;
}

try {
  Deno.exit(await main(Deno.args));
} catch (error) {
  if (error instanceof UsageError) console.error(`${error.message}\n${USAGE}`);
  else if (error instanceof Finding) console.error(`FINDING ${error.message}`);
  else console.error(error);
  Deno.exit(1);
}
