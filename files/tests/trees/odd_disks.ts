/**
 * Random trees on disks that change the spelling of names: no copied file may be lost, whatever its
 * spelling.
 */

import fc from "fast-check";
import { Client } from "@degu/degu/client";
import {
  downloadTree,
  FilesApp,
  type TreeEvent,
  type TreeResult,
  uploadTree,
} from "@degu/degu/files";
import { isReservedName } from "@degu/internal/files/reserved.ts";
import { Server } from "@degu/degu/server";
import { mountOddDisk } from "../odd_disk.ts";
import type { Made } from "./cases.ts";
import { differences, exists, flatten, removeTree, run, see, writeFiles } from "./disk.ts";
import { outcomesOf, prefixes } from "./model.ts";
import { hasRsync, rsync } from "./rsync.ts";

/** A disk that changes the spelling of names. */
export interface OddDisk {
  readonly name: string;
  /** Maps names that are equal on the disk to the same text. */
  readonly fold: (name: string) => string;
  /** Names for cases, some of which are equal on the disk. */
  readonly names: readonly string[];
  /** Mounts the disk; the returned function unmounts it. */
  mount(dir: string, mountPath: string): Promise<() => Promise<void>>;
}

const foldCase = (name: string) => name.toUpperCase().toLowerCase();
// The last letter of two names has another lower-case form at the end of a word.
const CASES = ["a", "A", "b", "B", "\u00e9", "\u00c9", "a\u03a3", "a\u03c3"];

/** The first disk doesn't change names, so that the others differ only in that. */
export const ODD_DISKS: readonly OddDisk[] = [
  {
    name: "ext4",
    fold: (name) => name,
    names: ["a", "A", "a.", "b ", "b", "\u00e9", "e\u0301", "\u00c9"],
    mount: mountExt4,
  },
  { name: "lowntfs-3g", fold: foldCase, names: CASES, mount: mountNtfs },
  { name: "fold", fold: foldCase, names: CASES, mount: mountFuse },
  {
    name: "strip",
    fold: (name) => name.replace(/[. ]+$/, "") || name,
    names: ["a", "a.", "a ", "a..", "b", "b.", "c. ", ".d", ".d."],
    mount: mountFuse,
  },
  {
    name: "nfd",
    fold: (name) => name.normalize("NFD"),
    names: ["a", "e", "\u00e9", "e\u0301", "\u00fc", "u\u0308", "\u212b", "\u00c5"],
    mount: mountFuse,
  },
];

type Case = Made<ReturnType<typeof oddCases>>;

/**
 * Makes cases with many names that are equal on the disk; the target also has some names of the
 * source.
 */
export function oddCases({ names }: OddDisk) {
  const name = fc.constantFrom(...names);
  const entries = fc.array(
    fc.record({
      path: fc.oneof(name.map((only) => [only]), fc.array(name, { minLength: 1, maxLength: 3 })),
      size: fc.constantFrom(4, 100, 3000, 70_000),
    }),
    { maxLength: 7 },
  );
  return entries.chain((source) => {
    const some = fc.oneof(fc.constant<typeof source>([]), entries, fc.subarray([...source]));
    return fc.record({
      download: fc.boolean(),
      delete: fc.oneof({ weight: 3, arbitrary: fc.constant(true) }, fc.constant(false)),
      replace: fc.oneof({ weight: 3, arbitrary: fc.constant(true) }, fc.constant(false)),
      compare: fc.constantFrom("time" as const, "time" as const, "digest" as const),
      source: fc.constant(source),
      /** The source of an earlier run, which has copied it to the target. */
      earlier: some,
      target: some,
    });
  });
}

function mountExt4(dir: string, mountPath: string): Promise<() => Promise<void>> {
  run("truncate", "-s", "64M", `${dir}/image`);
  run("mkfs.ext4", "-q", `${dir}/image`);
  run("mount", "-o", "loop", `${dir}/image`, mountPath);
  return Promise.resolve(() => Promise.resolve(void run("umount", "--lazy", mountPath)));
}

function mountNtfs(dir: string, mountPath: string): Promise<() => Promise<void>> {
  run("truncate", "-s", "32M", `${dir}/image`);
  run("mkfs.ntfs", "-F", "-Q", "-q", `${dir}/image`);
  run("lowntfs-3g", "-o", "ignore_case", `${dir}/image`, mountPath);
  return Promise.resolve(() => Promise.resolve(void run("umount", "--lazy", mountPath)));
}

function mountFuse(this: OddDisk, dir: string, mountPath: string): Promise<() => Promise<void>> {
  Deno.mkdirSync(`${dir}/backing`);
  return mountOddDisk(`${dir}/backing`, mountPath, this.name, "/dev/null");
}

/** Reports whether an entry has failed because of an entry in the way that may be deleted. */
function isObstructed(event: TreeEvent): boolean {
  if (event.type !== "failed" || !(event.error instanceof Error)) return false;
  return [event.error, event.error.cause].some((error) =>
    `${error}`.includes("if this run deletes")
  );
}

/** Runs a case; throws if a result deviates from the documentation. */
export async function checkOdd(
  disk: OddDisk,
  testCase: Case,
  large: string,
  mounted: string,
): Promise<void> {
  const source = `${large}/source`, target = `${mounted}/target`, theirs = `${mounted}/theirs`;
  let id = 1;
  try {
    Deno.mkdirSync(source);
    Deno.mkdirSync(target);
    id = writeFiles(target, testCase.target, id);
    id = writeFiles(source, testCase.earlier, id);
    if (testCase.earlier.length > 0) await transfer(testCase, source, target);
    removeTree(source);
    Deno.mkdirSync(source);
    writeFiles(source, testCase.source, id);
    const targetBefore = flatten(see(target), {});
    if (hasRsync()) run("cp", "-a", target, theirs);
    const untouched = flatten(see(source), { directoryTimes: true });
    const { events, result } = await transfer(testCase, source, target);
    const problems = differences(untouched, flatten(see(source), { directoryTimes: true }));
    const run1 = { disk, testCase, source, target };
    problems.push(...objections(run1, targetBefore, events, result));
    if (result.failed === events.filter(isRespelled).length) {
      const now = flatten(see(target), {});
      const secondRun = await transfer(testCase, source, target);
      const failedCount = secondRun.result.failed - secondRun.events.filter(isRespelled).length;
      if (secondRun.result.files + secondRun.result.deleted + failedCount > 0) {
        problems.push(`the second run did something: ${Deno.inspect(secondRun.events)}`);
      }
      problems.push(...differences(now, flatten(see(target), {})));
      problems.push(...objections(run1, now, secondRun.events, secondRun.result));
      if (exists(theirs)) problems.push(...findMissingFromRsync(run1, theirs));
    }
    if (problems.length > 0) {
      const context = `${Deno.inspect(result)}\n${Deno.inspect(events)}`;
      throw new Error(`${disk.name}: ${problems.join("\n")}\n${context}`);
    }
  } finally {
    for (const tree of [source, target, theirs]) if (exists(tree)) removeTree(tree);
  }
}

/**
 * Returns the entries that rsync copies to the same target, and Degu doesn't. The deletions of
 * rsync are no model.
 */
function findMissingFromRsync(
  { disk, testCase, source, target }: OddRun,
  theirs: string,
): string[] {
  if (!testCase.replace || testCase.compare !== "time" || testCase.source.length === 0) return [];
  rsync(source, theirs);
  const ours = foldedTree(disk, target);
  return [...foldedTree(disk, theirs)].flatMap(([path, text]) => {
    const isWanted = testCase.source.some((entry) =>
      disk.fold(entry.path.join("/")) !== "" &&
      entry.path.map(disk.fold).join("/") === path
    );
    if (!isWanted || !text.startsWith("file ")) return [];
    return ours.get(path) === text ? [] : [`${path} is ${ours.get(path)}; rsync has ${text}`];
  });
}

function foldedTree({ fold }: OddDisk, root: string): Map<string, string> {
  const tree = flatten(see(root), { modes: false });
  return new Map([...tree].map(([path, text]) => [path.split("/").map(fold).join("/"), text]));
}

async function transfer(testCase: Case, source: string, target: string) {
  const { download } = testCase;
  const app = new FilesApp(download ? source : target, { list: true, write: !download });
  await using server = new Server(["127.0.0.1", 0], app);
  const serving = server.serveForever();
  const client = new Client(server.address, { timeout: 20 });
  const events: TreeEvent[] = [];
  const { delete: deletes, replace, compare } = testCase;
  const onEvent = (event: TreeEvent) => void events.push(event);
  const options = { delete: deletes, replace, compare, partial: true, onEvent };
  const result = download
    ? await downloadTree(client, "/", target, options)
    : await uploadTree(client, source, "/", options);
  server.close();
  await serving;
  return { events, result };
}

/** A case and its location. */
interface OddRun {
  readonly disk: OddDisk;
  readonly testCase: Case;
  readonly source: string;
  readonly target: string;
}

/**
 * Whether an event reports that deletions in a directory are skipped, because the disk lists a name
 * differently.
 */
function isRespelled(event: TreeEvent): event is TreeEvent & { readonly type: "failed" } {
  return event.type === "failed" && `${event.error}`.includes("the target's disk does not list");
}

function objections(
  { disk, testCase, source, target }: OddRun,
  targetBefore: ReadonlyMap<string, string>,
  events: readonly TreeEvent[],
  result: TreeResult,
): string[] {
  const fold = (path: string) => path.split("/").map(disk.fold).join("/");
  const problems: string[] = [];
  const outcomes = outcomesOf(events.filter((event) => !isRespelled(event)));
  const obstructedPaths = new Set(
    events.flatMap((event) => "path" in event && isObstructed(event) ? [event.path.join("/")] : []),
  );
  const wantedNames = new Set<string>();
  const placed = new Map<string, string>();
  const sources = flatten(see(source), {});
  for (const [path, text] of sources) {
    const parts = path.split("/");
    for (let length = 1; length <= parts.length; length++) {
      wantedNames.add(fold(parts.slice(0, length).join("/")));
    }
    if (!text.startsWith("file ")) continue;
    const [outcome = "skipped", ...more] = outcomes.get(path) ?? [];
    const isTwice = more.length > 0 && !obstructedPaths.has(path);
    if (outcome === "skipped" || isTwice) problems.push(`${path} has not one outcome`);
    if (outcome !== "copied" && outcome !== "unchanged") continue;
    const otherPath = placed.get(fold(path));
    if (otherPath !== undefined) {
      problems.push(`${path} and ${otherPath} are one file, and both ${outcome}`);
    }
    placed.set(fold(path), path);
    const raw = see(`${target}/${path}`);
    if (raw?.kind !== "file" || !text.startsWith(`file ${raw.key} `)) {
      const now = raw?.kind === "file" ? raw.key : raw?.kind ?? "gone";
      problems.push(`${path} is ${outcome}: ${text}; the target has ${now}`);
    }
  }
  const remaining = flatten(see(target), {});
  const remainingNames = new Set([...remaining.keys()].map(fold));
  const hasFailed = [...outcomes].some(([path, each]) =>
    each.includes("failed") && !obstructedPaths.has(path)
  );
  for (const path of targetBefore.keys()) {
    if (path === "" || isReservedName(path)) continue;
    const isPresent = remainingNames.has(fold(path)), isWanted = wantedNames.has(fold(path));
    // The next call copies the entry of the source.
    const isInTheWay = prefixes(path).some((each) => obstructedPaths.has(each));
    if (isPresent || isInTheWay) continue;
    if (isWanted) problems.push(`${path}, which the source has in some spelling, is gone`);
    else if (!testCase.delete || hasFailed) problems.push(`${path} is gone`);
  }
  const respelled = events.flatMap((event) => isRespelled(event) ? [event.path.join("/")] : []);
  if (result.deletionsSkipped === "spelling" !== respelled.length > 0) {
    problems.push(`deletionsSkipped is ${result.deletionsSkipped}, respelled is ${respelled}`);
  }
  const directories = new Set(respelled);
  // The directory that determines superfluous entries: the innermost parent whose name has the same
  // spelling in the source.
  const judging = (path: string) => {
    const names = path.split("/").slice(0, -1);
    let depth = 0;
    while (depth < names.length && sources.has(names.slice(0, depth + 1).join("/"))) depth++;
    return names.slice(0, depth).join("/");
  };
  for (const path of targetBefore.keys()) {
    const isKept = directories.has(judging(path)) && !sources.has(path);
    const isInTheWay = [...placed.keys()].some((file) => fold(path).startsWith(`${fold(file)}/`));
    if (path === "" || !isKept || isInTheWay || remainingNames.has(fold(path))) continue;
    problems.push(`${path} is gone, beside ${respelled}`);
  }
  for (const path of remaining.keys()) {
    if (path === "" || wantedNames.has(fold(path)) || isReservedName(path)) continue;
    if (!testCase.delete || hasFailed || sources.size === 1) continue;
    if (directories.has(judging(path))) continue;
    problems.push(`${path} is there, and the source does not have it`);
  }
  return problems;
}
