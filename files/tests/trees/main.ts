/**
 * Runs random transfers of trees, or one that was found earlier, and says where they differ from
 * the model.
 *
 * `--runs N`, `--seconds N`, `--seed N`, `--replay JSON`, `--case-file FILE`; `--moves N` empties N
 * trees as outboxes beside a second writer, `--late N` delays a request of N calls, `--adds N` adds
 * N to apps that only add files, `--reuse N` copies N of which most bytes are at the target, and
 * change during the call, `--writers N` copies N while a second writer replaces files of the
 * target, `--mounts N` copies N to targets with other disks mounted inside, `--rsync N` compares N
 * with rsync, `--odd N` copies N to each disk that spells names its own way (`--disk NAME`: to that
 * one), `--failing N` to and from disks that fail in each of four ways; `--rows all` runs the rows
 * that need unreadable entries. Each of them prints a line of JSON.
 */

import fc from "fast-check";
import { unreadableRows } from "../trees.rows.ts";
import { type Case, cases, removeObstacles, removeReserved, reusing, writes } from "./cases.ts";
import { run } from "./disk.ts";
import { checkFailing, failingCases, type FailingDisk, FAULTS, mountFailing } from "./failing.ts";
import { Lab } from "./lab.ts";
import { checkOdd, ODD_DISKS, oddCases, type OddDisk } from "./odd_disks.ts";
import { hasRsync, UMASK } from "./rsync.ts";

const args = new Map<string, string>();
for (let i = 0; i < Deno.args.length; i += 2) args.set(Deno.args[i]!, Deno.args[i + 1] ?? "");
const seed = Number(args.get("--seed") ?? Math.floor(Math.random() * 2 ** 31));
const seconds = Number(args.get("--seconds") ?? 3600);
const numRuns = Number(args.get("--runs") ?? 1e9);
const replay = args.get("--replay");
// The current case, for a process that kills this one after a time-out.
const caseFile = args.get("--case-file");

// The model needs to know the mode of new files.
Deno.umask(UMASK);
const dir = await Deno.makeTempDir({ prefix: "degu-trees-" });
const small = mountDisks(dir);
try {
  await using lab = new Lab(`${dir}/large`, small);
  if (!lab.isRestricted) console.error("nothing is unreadable: this user may read everything");
  if (replay !== undefined) await lab.run(JSON.parse(replay)[0]);
  for (const disk of ODD_DISKS) {
    const isWanted = args.get("--disk") === undefined || args.get("--disk") === disk.name;
    if (args.has("--odd") && isWanted) await checkDisk(disk, Number(args.get("--odd")));
  }
  if (args.has("--rows")) await checkRows(lab);
  if (args.has("--moves")) await checkMoves(lab, Number(args.get("--moves")));
  if (args.has("--late")) await checkLate(lab, Number(args.get("--late")));
  if (args.has("--adds")) await checkAdds(lab, Number(args.get("--adds")));
  if (args.has("--reuse")) await checkReuse(lab, Number(args.get("--reuse")));
  if (args.has("--writers")) await checkWriters(lab, Number(args.get("--writers")));
  if (args.has("--mounts")) await checkMounts(lab, Number(args.get("--mounts")));
  if (args.has("--failing")) await checkFailures(Number(args.get("--failing")));
  if (args.has("--rsync")) await checkAgainstRsync(lab, Number(args.get("--rsync")));
  if (["--runs", "--seconds"].some((name) => args.has(name))) await checkModel(lab);
} finally {
  if (small !== null) run("umount", "--lazy", `${dir}/large`, small);
  await Deno.remove(dir, { recursive: true });
}

/**
 * Mounts a disk for the trees and a small disk, if this process may; otherwise the trees are on the
 * system's disk.
 */
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

async function checkRows(lab: Lab): Promise<void> {
  for (const { text, cases } of unreadableRows) {
    for (const testCase of cases) {
      await lab.run(testCase).catch((error) => {
        console.error(`${testCase.download ? "download" : "upload"}: ${text}: ${error.message}`);
        Deno.exitCode = 1;
      });
    }
  }
}

async function checkModel(lab: Lab): Promise<void> {
  const start = performance.now();
  let faults = 0, runs = 0;
  let running = Promise.resolve();
  const property = fc.asyncProperty(cases(small !== null), async (testCase: Case) => {
    runs++;
    if (testCase.fault.is !== "nothing") faults++;
    if (caseFile !== undefined) await Deno.writeTextFile(caseFile, JSON.stringify([testCase]));
    await (running = lab.run(testCase));
  });
  const options = { interruptAfterTimeLimit: seconds * 1000, markInterruptAsFailure: false };
  await check(property, numRuns, options, () => {
    const elapsed = (performance.now() - start) / 1000;
    return { runs, faults, transfers: lab.transfers, reused: lab.reused, seconds: elapsed };
  });
  // The last run is not awaited after the time limit.
  await running.catch(() => {});
}

/**
 * Checks a property, and prints the result of `summarize`, or a failing case and how to run it
 * again.
 */
async function check<Args extends unknown[]>(
  property: fc.IAsyncProperty<Args>,
  numRuns: number,
  options: fc.Parameters<Args>,
  summarize: () => object,
): Promise<void> {
  const details = await fc.check(property, { ...options, seed, numRuns });
  if (!details.failed) return console.log(JSON.stringify({ seed, ...summarize() }));
  const { counterexample, errorInstance, numShrinks } = details;
  console.error(`${errorInstance instanceof Error ? errorInstance.message : errorInstance}`);
  console.error(`seed ${seed}, shrunk ${numShrinks}`);
  console.error(`--replay '${JSON.stringify(counterexample)}'`);
  Deno.exitCode = 1;
}

async function checkMoves(lab: Lab, trees: number): Promise<void> {
  let movedCount = 0, writtenCount = 0;
  const property = fc.asyncProperty(cases(false), writes, async (testCase, writes) => {
    const [movedHere, writtenHere] = await lab.checkMove(testCase, writes);
    movedCount += movedHere;
    writtenCount += writtenHere;
  });
  const summarize = () => ({ outboxes: trees, moved: movedCount, written: writtenCount });
  await check(property, trees, {}, summarize);
}

async function checkLate(lab: Lab, trees: number): Promise<void> {
  let delayed = 0;
  const property = fc.asyncProperty(cases(false), fc.boolean(), async (testCase, move) => {
    const pairs = removeObstacles(testCase.pairs);
    if (await lab.checkLate({ ...testCase, pairs }, move)) delayed++;
  });
  await check(property, trees, {}, () => ({ late: trees, delayed }));
}

async function checkAdds(lab: Lab, trees: number): Promise<void> {
  let added = 0;
  const property = fc.asyncProperty(cases(false), async (testCase) => {
    added += await lab.checkAdd(testCase);
  });
  await check(property, trees, {}, () => ({ adding: trees, added }));
}

async function checkReuse(lab: Lab, trees: number): Promise<void> {
  const property = fc.asyncProperty(reusing, (testCase) => lab.run(testCase));
  await check(property, trees, {}, () => ({ reusing: trees, reused: lab.reused }));
}

async function checkWriters(lab: Lab, trees: number): Promise<void> {
  let writtenCount = 0;
  const property = fc.asyncProperty(cases(false), writes, async (testCase, writes) => {
    const pairs = removeObstacles(testCase.pairs);
    writtenCount += await lab.checkWriter({ ...testCase, pairs }, writes);
  });
  await check(property, trees, {}, () => ({ besideWriters: trees, written: writtenCount }));
}

async function checkMounts(lab: Lab, trees: number): Promise<void> {
  if (small === null) return console.log(JSON.stringify({ skipped: "no disks can be mounted" }));
  const property = fc.asyncProperty(cases(false), async (testCase) => {
    const { fault } = testCase;
    await lab.checkMounted({
      ...testCase,
      pairs: removeReserved(removeObstacles(testCase.pairs)),
      // Another process can't replace a mount point.
      fault: fault.is === "changes" ? { is: "nothing" } : fault,
    });
  });
  await check(property, trees, {}, () => ({ withMounts: trees, mounts: lab.mounts }));
}

async function checkAgainstRsync(lab: Lab, trees: number): Promise<void> {
  if (!hasRsync()) return console.log(JSON.stringify({ skipped: "rsync is missing" }));
  const differenceCounts: Record<string, number> = {};
  const property = fc.asyncProperty(cases(false), cases(false), fc.boolean(), async (
    testCase,
    { pairs },
    isPlain,
  ) => {
    const first = isPlain ? { ...testCase, pairs: removeObstacles(testCase.pairs) } : testCase;
    const nextPairs = isPlain ? removeObstacles(pairs) : pairs;
    for (const name of await lab.compareWithRsync(first, nextPairs)) {
      differenceCounts[name] = (differenceCounts[name] ?? 0) + 1;
    }
  });
  await check(property, trees, {}, () => ({ compared: trees, named: differenceCounts }));
}

async function checkDisk(disk: OddDisk, trees: number): Promise<void> {
  const [diskDir, mountPath] = [`${dir}/${disk.name}`, `${dir}/${disk.name}/mounted`];
  Deno.mkdirSync(mountPath, { recursive: true });
  let unmount;
  try {
    unmount = await disk.mount(diskDir, mountPath);
  } catch (error) {
    const reason = error instanceof Error ? error.message.trim() : error;
    return console.log(JSON.stringify({ skipped: `no disk ${disk.name}: ${reason}` }));
  }
  try {
    const property = fc.asyncProperty(oddCases(disk), async (testCase) => {
      await checkOdd(disk, testCase, `${dir}/large`, mountPath);
    });
    await check(property, trees, {}, () => ({ disk: disk.name, compared: trees }));
  } finally {
    await unmount();
  }
}

async function checkFailures(trees: number): Promise<void> {
  let disk: FailingDisk;
  try {
    disk = await mountFailing(`${dir}/failing`);
  } catch (error) {
    const reason = error instanceof Error ? error.message.trim() : error;
    return console.log(JSON.stringify({ skipped: `no disk that fails (FUSE): ${reason}` }));
  }
  try {
    for (const kind of FAULTS) {
      let failedCount = 0;
      const property = fc.asyncProperty(failingCases, async (testCase) => {
        if (await checkFailing(kind, testCase, disk)) failedCount++;
      });
      const summarize = () => ({ compared: trees, failing: kind, failed: failedCount });
      await check(property, trees, {}, summarize);
    }
  } finally {
    await disk.unmount();
  }
}
