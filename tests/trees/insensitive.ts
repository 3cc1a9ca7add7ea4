/**
 * Random trees to a disk that takes names for the same that differ in case: nothing that was copied may be lost, whatever its spelling.
 */

import fc from "fast-check";
import { Client } from "@degu/degu/client";
import { downloadTree, FilesApp, type TreeEvent, uploadTree } from "@degu/degu/files";
import { isReservedName } from "@degu/internal/files/reserved.ts";
import { Server } from "@degu/degu/server";
import type { Made } from "./cases.ts";
import { contentOf, differences, flatten, removeTree, run, see } from "./disk.ts";
import { fold as foldPlainly, outcomesOf } from "./model.ts";

/** Such a disk compares capitals. */
const fold = (name: string) => foldPlainly(foldPlainly(name).toUpperCase());

type Case = Made<typeof insensitiveCases>;

// The last letter of two has another small form at the end of a word.
const name = fc.constantFrom(
  ...["a", "A", "b", "B", "\u00e9", "\u00c9", "a\u03a3", "a\u03c3"],
);
const entries = fc.array(
  fc.record({
    path: fc.oneof(
      name.map((only) => [only]),
      fc.array(name, { minLength: 1, maxLength: 3 }),
    ),
    size: fc.constantFrom(4, 100, 3000, 70_000),
  }),
  { maxLength: 7 },
);

/** Cases with many names that differ in case only: the target has some of the source's, too. */
export const insensitiveCases = entries.chain((source) => {
  const some = fc.oneof(fc.constant<typeof source>([]), entries, fc.subarray([...source]));
  return fc.record({
    download: fc.boolean(),
    delete: fc.oneof({ weight: 3, arbitrary: fc.constant(true) }, fc.constant(false)),
    source: fc.constant(source),
    /** The source before the run that is looked at: what an earlier run has brought to the target. */
    earlier: some,
    target: some,
  });
});

/** Mounts such a disk; says why where that can't be. */
export function mountInsensitive(image: string, dir: string): string | null {
  try {
    run("truncate", "-s", "32M", image);
    run("mkfs.ntfs", "-F", "-Q", "-q", image);
    run("lowntfs-3g", "-o", "ignore_case", image, dir);
    return null;
  } catch (error) {
    return `no disk that ignores case (lowntfs-3g): ${
      error instanceof Error ? error.message.trim() : error
    }`;
  }
}

/** Runs a case; throws what is otherwise than documented. */
export async function checkInsensitive(
  it: Case,
  large: string,
  insensitive: string,
): Promise<void> {
  const source = `${large}/source`, target = `${insensitive}/target`;
  let id = 1;
  try {
    Deno.mkdirSync(source);
    Deno.mkdirSync(target);
    id = write(target, it.target, id);
    id = write(source, it.earlier, id);
    if (it.earlier.length > 0) await transfer(it, source, target);
    removeTree(source);
    Deno.mkdirSync(source);
    write(source, it.source, id);
    const before = flatten(see(target), {});
    const untouched = flatten(see(source), { directoryTimes: true });
    const { events, result } = await transfer(it, source, target);
    const found = differences(untouched, flatten(see(source), { directoryTimes: true }));
    found.push(...objections(it, source, target, before, events));
    if (result.failed === 0) {
      const again = await transfer(it, source, target);
      if (again.result.files + again.result.deleted + again.result.failed > 0) {
        found.push(`the second run did something: ${Deno.inspect(again.events)}`);
      }
      found.push(...objections(it, source, target, flatten(see(target), {}), again.events));
    }
    if (found.length > 0) {
      throw new Error(`${found.join("\n")}\n${Deno.inspect(result)}\n${Deno.inspect(events)}`);
    }
  } finally {
    removeTree(source);
    removeTree(target);
  }
}

/** Writes those files that are possible there. */
function write(root: string, entries: Case["target"], id: number): number {
  for (const { path, size } of entries) {
    try {
      Deno.mkdirSync([root, ...path.slice(0, -1)].join("/"), { recursive: true });
      const file = [root, ...path].join("/");
      Deno.writeFileSync(file, contentOf(id++, size), { createNew: true });
      // No two files have the same time.
      Deno.utimeSync(file, 1_700_000_000 + id * 10, 1_700_000_000 + id * 10);
    } catch (error) {
      // There is a file, or a directory, of that name.
      if (!(error instanceof Error)) throw error;
    }
  }
  return id;
}

async function transfer(it: Case, source: string, target: string) {
  const app = new FilesApp(it.download ? source : target, { list: true, write: !it.download });
  await using server = new Server(["127.0.0.1", 0], app);
  const serving = server.serveForever();
  const client = new Client(server.address, { timeout: 60 });
  const events: TreeEvent[] = [];
  const options = { delete: it.delete, onEvent: (event: TreeEvent) => void events.push(event) };
  const result = it.download
    ? await downloadTree(client, "/", target, options)
    : await uploadTree(client, source, "/", options);
  server.close();
  await serving;
  return { events, result };
}

function objections(
  it: Case,
  source: string,
  target: string,
  before: ReadonlyMap<string, string>,
  events: readonly TreeEvent[],
): string[] {
  const found: string[] = [];
  const outcomes = outcomesOf(events);
  const wanted = new Set<string>();
  const placed = new Map<string, string>();
  for (const [path, text] of flatten(see(source), {})) {
    const parts = path.split("/");
    for (let length = 1; length <= parts.length; length++) {
      wanted.add(fold(parts.slice(0, length).join("/")));
    }
    if (!text.startsWith("file ")) continue;
    const [outcome = "skipped"] = outcomes.get(path) ?? [];
    if (outcome === "skipped") found.push(`${path} has no outcome`);
    if (outcome !== "copied" && outcome !== "unchanged") continue;
    const other = placed.get(fold(path));
    if (other !== undefined) found.push(`${path} and ${other} are one file, and both ${outcome}`);
    placed.set(fold(path), path);
    const raw = see(`${target}/${path}`);
    if (raw?.kind !== "file" || !text.startsWith(`file ${raw.key} `)) {
      const now = raw?.kind === "file" ? raw.key : raw?.kind ?? "gone";
      found.push(`${path} is ${outcome}: ${text}; the target has ${now}`);
    }
  }
  const after = new Set([...flatten(see(target), {}).keys()].map(fold));
  const hasFailed = [...outcomes.values()].flat().includes("failed");
  for (const path of before.keys()) {
    if (path === "" || isReservedName(path)) continue;
    const isThere = after.has(fold(path)), isWanted = wanted.has(fold(path));
    const isInTheWay = [...placed.keys()].some((file) => fold(path).startsWith(`${file}/`));
    if (isThere || isInTheWay && it.delete) continue;
    if (isWanted) found.push(`${path}, which the source has in some spelling, is gone`);
    else if (!it.delete || hasFailed) found.push(`${path} is gone`);
  }
  for (const path of after) {
    if (path === "" || wanted.has(path) || !it.delete || hasFailed || wanted.size === 1) continue;
    found.push(`${path} is there, and the source does not have it`);
  }
  return found;
}
