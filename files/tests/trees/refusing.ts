/** Random trees on a disk that refuses times or permission bits: the content arrives, once. */

import fc from "fast-check";
import { Client } from "@degu/degu/client";
import { downloadTree, FilesApp, type TreeEvent, uploadTree } from "@degu/files";
import { Server } from "@degu/degu/server";
import type { Made } from "./cases.ts";
import { filesIn, removeTree, run, seeDirectory, writeFiles } from "./disk.ts";
import type { FailingDisk } from "./failing.ts";

type Case = Made<typeof refusingCases>;

const name = fc.constantFrom("a", "b", "c", "d");
const entries = fc.array(
  fc.record({
    path: fc.array(name, { minLength: 1, maxLength: 3 }),
    size: fc.constantFrom(0, 4, 100, 70_000),
  }),
  { maxLength: 9 },
);

/** A source, a target after a copy of an earlier version, and the refused operations. */
export const refusingCases = fc.record({
  download: fc.boolean(),
  reuse: fc.boolean(),
  source: entries,
  target: entries,
  hasEarlierCopy: fc.boolean(),
  /** The bits of every other file of the source. */
  mode: fc.constantFrom(0o600, 0o640, 0o755),
  refused: fc.subarray(["utimens", "chmod"] as const, { minLength: 1 }),
  code: fc.constantFrom("EPERM", "EACCES", "ENOSYS", "EINVAL", "EOPNOTSUPP"),
});

/**
 * Runs a case; throws if content is lost or sent twice, or a refused property isn't reported.
 * Resolves to whether any property was refused.
 */
export async function checkRefusing(testCase: Case, disk: FailingDisk): Promise<boolean> {
  const source = `${disk.backing}/source`, target = `${disk.backing}/target`;
  try {
    refuse(disk, []);
    Deno.mkdirSync(source);
    Deno.mkdirSync(target);
    const id = writeFiles(source, testCase.source, 1);
    if (testCase.hasEarlierCopy) run("cp", "-r", "--no-target-directory", source, target);
    writeFiles(target, testCase.target, id);
    const sources = filesIn(seeDirectory(source));
    for (const [index, path] of [...sources.keys()].entries()) {
      if (index % 2 === 0) Deno.chmodSync(`${source}/${path}`, testCase.mode);
    }
    const wanted = filesIn(seeDirectory(source));
    refuse(disk, testCase.refused.map((operation) => `${operation} 0 ${testCase.code}`));
    let first = await transfer(testCase, disk);
    // The first call only deletes an entry in the way.
    if (first.result.failed > 0) first = await transfer(testCase, disk);
    const problems = first.result.failed > 0 ? ["files have failed"] : [];
    const arrived = filesIn(seeDirectory(target));
    const [timePaths, modePaths]: [string[], string[]] = [[], []];
    for (const [path, file] of wanted) {
      const copy = arrived.get(path);
      if (copy?.key !== file.key) problems.push(`${path} has ${copy?.key}, not ${file.key}`);
      if (copy === undefined) continue;
      if (copy.modified !== file.modified) timePaths.push(path);
      if (copy.mode !== file.mode) modePaths.push(path);
    }
    for (const [property, paths] of [["time", timePaths], ["mode", modePaths]] as const) {
      const { files, first: firstPath } = first.result.unset[property];
      const isRight = files === paths.length && firstPath?.join("/") === paths.sort()[0];
      if (!isRight) problems.push(`${property}: ${files}, ${firstPath}, but ${paths}`);
    }
    if (arrived.size !== wanted.size) problems.push("superfluous files are left");
    const { result: { files, bytes, unchanged, failed } } = await transfer(testCase, disk);
    const isRepeated = files + bytes + failed > 0 || unchanged !== wanted.size;
    if (isRepeated) problems.push("the second run sends something");
    refuse(disk, []);
    const repaired = await transfer(testCase, disk);
    const complete = filesIn(seeDirectory(target));
    const { files: repairedFiles, unset: { time, mode } } = repaired.result;
    if (repairedFiles + time.files + mode.files > 0) problems.push("nothing was repaired");
    for (const [path, { modified, mode }] of wanted) {
      const copy = complete.get(path);
      if (copy?.modified !== modified || copy.mode !== mode) problems.push(`${path} is unrepaired`);
    }
    if (problems.length > 0) {
      throw new Error(`${problems.join("\n")}\n${Deno.inspect(first.events, { depth: 5 })}`);
    }
    return timePaths.length + modePaths.length > 0;
  } finally {
    refuse(disk, []);
    removeTree(source);
    removeTree(target);
  }
}

function refuse({ faults }: FailingDisk, lines: readonly string[]): void {
  Deno.writeTextFileSync(faults, lines.map((line) => `${line} ^/target/\n`).join(""));
}

async function transfer({ download, reuse }: Case, disk: FailingDisk) {
  const events: TreeEvent[] = [];
  const [source, target] = [`${disk.path}/source`, `${disk.path}/target`];
  const app = new FilesApp(download ? source : target, { list: true, write: true, reuse });
  await using server = new Server(["127.0.0.1", 0], app);
  const serving = server.serveForever();
  const client = new Client(server.address, { timeout: 20 });
  const onEvent = (event: TreeEvent) => void events.push(event);
  // The source of a test may be empty.
  const options = { delete: true, deleteAll: true, partial: true, onEvent };
  const result = download
    ? await downloadTree(client, "/", target, options)
    : await uploadTree(client, source, "/", options);
  server.close();
  await serving;
  return { events, result };
}
