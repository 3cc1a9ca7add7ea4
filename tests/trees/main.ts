/**
 * Runs random transfers of trees, or one that was found earlier, and says where they differ from the model.
 *
 * `--runs N`, `--seconds N`, `--seed N`, `--path P` (as fast-check names a case), `--replay JSON`, `--case-file FILE`; `--rsync N` compares N with rsync, `--insensitive N` copies N to
 * a disk that ignores case. Each of them prints a line of JSON.
 */

import fc from "fast-check";
import { type Case, cases, plain } from "./cases.ts";
import { run } from "./disk.ts";
import { Lab } from "./lab.ts";
import { checkInsensitive, insensitiveCases, mountInsensitive } from "./insensitive.ts";
import { hasRsync } from "./rsync.ts";

const args = new Map<string, string>();
for (let i = 0; i < Deno.args.length; i += 2) args.set(Deno.args[i]!, Deno.args[i + 1] ?? "");
const seed = Number(args.get("--seed") ?? Math.floor(Math.random() * 2 ** 31));
const seconds = Number(args.get("--seconds") ?? 3600);
const runs = Number(args.get("--runs") ?? 1e9);
const replay = args.get("--replay");
const path = args.get("--path");
// Where the case that is being run can be read by a process that waits for this one in vain.
const caseFile = args.get("--case-file");

const dir = await Deno.makeTempDir({ prefix: "degu-trees-" });
const small = mountDisks(dir);
try {
  await using lab = new Lab(`${dir}/large`, small);
  if (!lab.isKeptOut) console.error("nothing is unreadable: this user may read everything");
  if (replay !== undefined) await lab.run(JSON.parse(replay));
  if (args.has("--insensitive")) await checkCases(Number(args.get("--insensitive")));
  if (args.has("--rsync")) await checkAgainstRsync(lab, Number(args.get("--rsync")));
  if (["--runs", "--seconds", "--path"].some((name) => args.has(name))) await check(lab);
} finally {
  if (small !== null) run("umount", `${dir}/large`, small);
  await Deno.remove(dir, { recursive: true });
}

/** Mounts a disk for the trees and a small one, where this process may; else the trees lie on the disk of the system. */
function mountDisks(dir: string): string | null {
  Deno.mkdirSync(`${dir}/large`);
  Deno.mkdirSync(`${dir}/small`);
  try {
    run("mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs", `${dir}/large`);
    run("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", `${dir}/small`);
    return `${dir}/small`;
  } catch (error) {
    console.error(`no disk is filled: ${error instanceof Error ? error.message : error}`);
    return null;
  }
}

async function check(lab: Lab): Promise<void> {
  const start = performance.now();
  let faults = 0;
  let running = Promise.resolve();
  const property = fc.asyncProperty(cases(small !== null), async (it: Case) => {
    if (it.fault.is !== "nothing") faults++;
    if (caseFile !== undefined) await Deno.writeTextFile(caseFile, JSON.stringify(it));
    await (running = lab.run(it));
  });
  const details = await fc.check(property, {
    seed,
    numRuns: runs,
    interruptAfterTimeLimit: seconds * 1000,
    markInterruptAsFailure: false,
    ...path === undefined ? {} : { path },
    endOnFailure: args.has("--unshrunk"),
  });
  // When the time is over nobody waits for the last one.
  await running.catch(() => {});
  const elapsed = (performance.now() - start) / 1000;
  if (details.failed) {
    const { counterexample, errorInstance, counterexamplePath, numRuns, numShrinks } = details;
    console.error(`${errorInstance instanceof Error ? errorInstance.message : errorInstance}`);
    console.error(`seed ${seed}, path ${counterexamplePath}, run ${numRuns}, shrunk ${numShrinks}`);
    console.error(`--replay '${JSON.stringify(counterexample?.[0])}'`);
    Deno.exitCode = 1;
    return;
  }
  const { numRuns } = details;
  console.log(
    JSON.stringify({ seed, runs: numRuns, faults, transfers: lab.transfers, seconds: elapsed }),
  );
}

async function checkAgainstRsync(lab: Lab, trees: number): Promise<void> {
  if (!hasRsync()) {
    console.log(JSON.stringify({ skipped: "rsync is missing" }));
    return;
  }
  const total = new Map<string, number>();
  let compared = 0;
  const property = fc.asyncProperty(cases(false), cases(false), fc.boolean(), async (
    it,
    { pairs },
    isPlain,
  ) => {
    const first = isPlain ? { ...it, pairs: plain(it.pairs) } : it;
    const next = isPlain ? plain(pairs) : pairs;
    for (const [name, count] of await lab.compareWithRsync(first, next)) {
      total.set(name, (total.get(name) ?? 0) + count);
    }
    compared++;
  });
  const details = await fc.check(property, {
    seed,
    numRuns: trees,
    ...path === undefined ? {} : { path },
  });
  if (details.failed) {
    console.error(details.errorInstance);
    console.error(`seed ${seed}, path ${details.counterexamplePath}`);
    console.error(JSON.stringify(details.counterexample));
    Deno.exitCode = 1;
    return;
  }
  console.log(JSON.stringify({ seed, compared, named: Object.fromEntries(total) }));
}

async function checkCases(trees: number): Promise<void> {
  const disk = `${dir}/insensitive`;
  Deno.mkdirSync(disk);
  const obstacle = mountInsensitive(`${dir}/image`, disk);
  if (obstacle !== null) {
    console.log(JSON.stringify({ skipped: obstacle }));
    return;
  }
  try {
    const property = fc.asyncProperty(insensitiveCases, async (it) => {
      await checkInsensitive(it, `${dir}/large`, disk);
    });
    await fc.assert(property, { seed, numRuns: trees });
    console.log(JSON.stringify({ seed, compared: trees }));
  } finally {
    run("umount", disk);
  }
}
