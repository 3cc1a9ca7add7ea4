/** Random trees on a disk that fails: no file may be lost, or omitted without a report. */

import fc from "fast-check";
import { Client } from "@degu/degu/client";
import { downloadTree, FilesApp, type TreeEvent, uploadTree } from "@degu/degu/files";
import { Server } from "@degu/degu/server";
import { mountOddDisk } from "../odd_disk.ts";
import type { Made } from "./cases.ts";
import { exists, removeTree, run, writeFiles } from "./disk.ts";
import { prefixes } from "./model.ts";

type Case = Made<typeof failingCases>;

/** The operation that fails; `readdir` fails after some entries. */
export const FAULTS = ["readdir", "lstat", "open", "read"] as const;
/** Errors of damaged, removed and remote disks. */
const CODES = [
  ...["EIO", "EBADMSG", "EUCLEAN", "ESTALE", "EREMOTEIO", "ENXIO", "EACCES", "ENOENT"] as const,
];

const name = fc.constantFrom("a", "b", "c", "d");
const entries = fc.array(
  fc.record({
    path: fc.array(name, { minLength: 1, maxLength: 3 }),
    size: fc.constantFrom(4, 100, 3000, 70_000),
  }),
  { maxLength: 9 },
);
const fault = fc.record({
  after: fc.nat(3),
  code: fc.constantFrom(...CODES),
  side: fc.constantFrom("source", "source", "target"),
  /** The index of a path of that side, modulo their number. */
  which: fc.nat(30),
});

/**
 * A source, the target after a copy of another version of it and of other trees, and up to three
 * faults.
 */
export const failingCases = fc.record({
  download: fc.boolean(),
  compare: fc.constantFrom("time" as const, "time" as const, "digest" as const),
  source: entries,
  target: entries,
  earlier: fc.boolean(),
  /** Whether the files of that copy have since grown at the source, and the first was renamed. */
  grown: fc.boolean(),
  reuse: fc.boolean(),
  faults: fc.array(fault, { minLength: 1, maxLength: 3 }),
});

/** A mounted disk whose content is also accessible without faults. */
export interface FailingDisk {
  readonly path: string;
  readonly backing: string;
  /** The file that configures the faults. */
  readonly faults: string;
  unmount(): Promise<void>;
}

/** Mounts a disk; rejects if that isn't possible. */
export async function mountFailing(dir: string): Promise<FailingDisk> {
  const [path, backing, faults] = [`${dir}/mounted`, `${dir}/backing`, `${dir}/faults`];
  for (const each of [path, backing]) Deno.mkdirSync(each, { recursive: true });
  Deno.writeTextFileSync(faults, "");
  const unmount = await mountOddDisk(backing, path, "plain", faults);
  return { path, backing, faults, unmount };
}

/**
 * Runs a case with one kind of fault; throws if a file is lost, or omitted without a report.
 * Resolves to whether any operation failed.
 */
export async function checkFailing(
  kind: typeof FAULTS[number],
  testCase: Case,
  disk: FailingDisk,
): Promise<boolean> {
  const source = `${disk.backing}/source`, target = `${disk.backing}/target`;
  try {
    Deno.writeTextFileSync(disk.faults, "");
    Deno.mkdirSync(source);
    Deno.mkdirSync(target);
    const id = writeFiles(source, testCase.source, 1);
    if (testCase.earlier) run("cp", "-a", "--no-target-directory", source, target);
    if (testCase.earlier && testCase.grown) growAll(source);
    writeFiles(target, testCase.target, id);
    const sourceTree = see(source), targetBefore = see(target);
    const sides = { source: ["", ...sourceTree.keys()], target: ["", ...targetBefore.keys()] };
    const faults = testCase.faults.map(({ side, which, ...fault }) => {
      const path = sides[side as "source" | "target"][which % sides[side as "source"].length]!;
      // The C library treats ENOENT as the end of a directory.
      const code = kind === "readdir" && fault.code === "ENOENT" ? "EIO" : fault.code;
      return { ...fault, code, side, path };
    });
    const lines = faults.map(({ side, path, after, code }) => {
      const pattern = `^/${side}${path === "" ? "" : `/${path}`}$`;
      return `${kind} ${kind === "readdir" ? after : 0} ${code} ${pattern}\n`;
    });
    const [sourceDir, targetDir] = [`${disk.path}/source`, `${disk.path}/target`];
    const options = { list: true, write: true, reuse: testCase.reuse };
    const app = new FilesApp(testCase.download ? sourceDir : targetDir, options);
    Deno.writeTextFileSync(disk.faults, lines.join(""));
    const { events, rejected } = await transfer(testCase, app, sourceDir, targetDir);
    Deno.writeTextFileSync(disk.faults, "");
    const targetAfter = see(target);
    const failedPaths = new Set<string>();
    for (const event of events) {
      if (event.type === "failed" || event.type === "skipped") {
        failedPaths.add(event.path.join("/"));
      }
    }
    const isReported = (path: string) =>
      rejected || ["", ...prefixes(path)].some((each) => failedPaths.has(each));
    const problems: string[] = [];
    // Entries that are missing in the list of the source.
    const hidden = faults.filter(({ side, path }) => {
      const isFile = sourceTree.get(path) !== undefined && sourceTree.get(path) !== "directory";
      if (side !== "source" || kind === "read" || kind === "open" && isFile) return false;
      return kind !== "readdir" || !isFile;
    });
    for (const { path } of hidden) {
      if (!isReported(path)) problems.push(`${path || "the source"} can't be read, in silence`);
    }
    for (const [path, content] of targetBefore) {
      // An entry in the way is deleted, and its path is copied by the next call.
      const isObstacle = prefixes(path).some((each) => {
        return sourceTree.has(each) && isReported(each) &&
          (sourceTree.get(each) === "directory") !== (targetBefore.get(each) === "directory");
      });
      if (targetAfter.has(path) || isObstacle) continue;
      if (sourceTree.has(path)) {
        problems.push(`${path}, which both had, is gone: it had ${content}`);
      } else if (hidden.length > 0) problems.push(`${path} was deleted, by an incomplete list`);
    }
    for (const [path, content] of sourceTree) {
      if (targetAfter.get(path) === content || isReported(path)) continue;
      // A file stays in the way of a directory if no entry of the directory is copied.
      const isBelow = [...failedPaths].some((each) => each.startsWith(`${path}/`));
      if (content === "directory" && isBelow) continue;
      problems.push(`${path} has ${targetAfter.get(path)} in place of ${content}, in silence`);
    }
    if (see(source).size !== sourceTree.size) problems.push("the source is another one");
    if (problems.length > 0) {
      const context = `${lines.join("")}${Deno.inspect(events)}\n${rejected}`;
      throw new Error(`${problems.join("\n")}\n${context}`);
    }
    return rejected !== null || failedPaths.size > 0;
  } finally {
    Deno.writeTextFileSync(disk.faults, "");
    removeTree(source);
    removeTree(target);
  }
}

async function transfer(testCase: Case, app: FilesApp, source: string, target: string) {
  const events: TreeEvent[] = [];
  // Failures at the target are expected.
  const logger = { debug() {}, info() {}, warn() {}, error() {} };
  await using server = new Server(["127.0.0.1", 0], app, { logger });
  const serving = server.serveForever();
  const client = new Client(server.address, { timeout: 20 });
  const { compare } = testCase;
  const onEvent = (event: TreeEvent) => void events.push(event);
  const options = { compare, delete: true, partial: true, onEvent };
  let rejected: unknown = null;
  try {
    if (testCase.download) await downloadTree(client, "/", target, options);
    else await uploadTree(client, source, "/", options);
  } catch (error) {
    rejected = error;
  }
  server.close();
  await serving;
  return { events, rejected };
}

/** Appends to each file, and renames the first one with its time. */
function growAll(root: string): void {
  for (const [path, content] of see(root)) {
    if (content === "directory") continue;
    const { mtime } = Deno.statSync(`${root}/${path}`);
    if (!exists(`${root}/renamed`)) Deno.renameSync(`${root}/${path}`, `${root}/renamed`);
    else {
      Deno.writeFileSync(`${root}/${path}`, new Uint8Array(9), { append: true });
      Deno.utimeSync(`${root}/${path}`, mtime!, Number(mtime) / 1000 + 5);
    }
  }
}

/**
 * Returns the tree below a directory, by path: `"directory"`, or a short text for the content of a
 * file.
 */
function see(root: string, below = "", texts = new Map<string, string>()): Map<string, string> {
  for (const { name, isDirectory } of Deno.readDirSync(below === "" ? root : `${root}/${below}`)) {
    if (name.includes(".degu-")) continue;
    const path = below === "" ? name : `${below}/${name}`;
    if (isDirectory) see(root, path, texts.set(path, "directory"));
    else {
      const bytes = Deno.readFileSync(`${root}/${path}`);
      texts.set(path, `${bytes.length} bytes: ${bytes.subarray(0, 4).toHex()}`);
    }
  }
  return texts;
}
