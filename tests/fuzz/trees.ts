/**
 * Random trees of files, transferred with faults and compared with a model. The files are made by a process of its own, which may do more
 * than the fuzzer: see `tests/trees/main.ts`.
 *
 * @module
 */

import { treesCommand } from "../trees/command.ts";
import { Finding, type Report } from "./fuzzer.ts";

/** How long a run may go on beyond its time: a case that was begun, and making a counterexample smaller. */
const PATIENCE_SECONDS = 240;

/** Transfers trees for some seconds; throws a {@linkcode Finding} where one differs from the model. */
export async function fuzzTrees(seed: number, seconds: number): Promise<Report> {
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
