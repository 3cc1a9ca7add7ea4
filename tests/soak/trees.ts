/**
 * Trees of files that are downloaded and uploaded while connections end, runs are aborted and files
 * change. No file may be torn or lost, and an undisturbed run makes source and target equal.
 */

import { Client } from "@degu/degu/client";
import { isTransient } from "@degu/degu";
import {
  downloadTree,
  type DownloadTreeOptions,
  FilesApp,
  TransferError,
  uploadTree,
} from "@degu/degu/files";
import { Server } from "@degu/degu/server";
import { quietLogger } from "../fuzz/memory.ts";
import { ChangingTrees } from "../../files/tests/trees/changing.ts";
import { pause, type Run } from "./traffic.ts";

/** The latest time of a fault, which may be after the end of the run. */
const MAX_FAULT_MILLISECONDS = 120;

/** Moves a tree to a directory, and another tree back, with faults. */
export async function runTrees(dir: string, run: Run): Promise<void> {
  const { tally, signal } = run;
  for (let round = 0; !signal.aborted; round++) {
    const parent = Deno.makeTempDirSync({ dir, prefix: "trees" });
    const isUpload = round % 2 === 0;
    const trees = new ChangingTrees(`${parent}/source`, `${parent}/target`);
    const app = new FilesApp(isUpload ? trees.target : trees.source, {
      list: true,
      write: isUpload,
      reuse: true,
    });
    await using server = new Server(["127.0.0.1", 0], app, { logger: quietLogger });
    server.serveForever();
    for (let turn = 0; turn < 6 && !signal.aborted; turn++) {
      trees.change();
      await moveWithFault(trees, isUpload, server, run);
    }
    // The first run deletes entries in the way of others, which the second one copies.
    await moveTree(trees, isUpload, server, {});
    const { failed, deletionsSkipped } = await moveTree(trees, isUpload, server, {});
    const problems = trees.problems(true);
    if (failed > 0 || deletionsSkipped !== null) {
      problems.push(`${failed} failed, ${deletionsSkipped}`);
    }
    for (const problem of [...problems, ...trees.leftParts()]) {
      tally.fail(`${isUpload ? "upload" : "download"} of a tree: ${problem}`);
    }
    Deno.removeSync(parent, { recursive: true });
  }
}

function moveTree(
  trees: ChangingTrees,
  isUpload: boolean,
  server: Server,
  options: DownloadTreeOptions,
) {
  const client = new Client(server.address, { timeout: 60 });
  const treeOptions = { delete: true, partial: true, ...options };
  return isUpload
    ? uploadTree(client, trees.source, "/", treeOptions)
    : downloadTree(client, "/", trees.target, treeOptions);
}

/** Moves a tree, with a fault during the run. */
async function moveWithFault(
  trees: ChangingTrees,
  isUpload: boolean,
  server: Server,
  { random, tally }: Run,
): Promise<void> {
  const fault = random.pick(["abort", "cut", "change", "none"]);
  const name = `tree: ${fault}`;
  tally.count(name);
  const aborter = new AbortController();
  const timer = setTimeout(() => {
    if (fault === "abort") aborter.abort(name);
    if (fault === "change") trees.change();
    if (fault !== "cut") return;
    for (const session of server.sessions) session.close(new Error(name));
  }, random.below(MAX_FAULT_MILLISECONDS));
  let isComplete = false;
  try {
    const { failed, bytes } = await moveTree(trees, isUpload, server, { signal: aborter.signal });
    tally.bytes += bytes;
    isComplete = failed === 0 && fault !== "change";
  } catch (error) {
    // The list of a directory that was replaced by a file is cut or fails, because a complete list
    // could delete files.
    const isChange = error instanceof TransferError && error.code === "CHANGED";
    const isExpected = fault === "cut" || fault === "abort" && error === name ||
      fault === "change" && (isTransient(error) || isChange);
    if (!isExpected) tally.fail(`${name}: ${Deno.inspect(error)}`);
  } finally {
    clearTimeout(timer);
  }
  // The server still writes completely received files.
  while (server.sessions.size > 0) await pause(1);
  const problems = trees.problems(isComplete, fault !== "change");
  for (const problem of problems) tally.fail(`${name}: ${problem}`);
}
