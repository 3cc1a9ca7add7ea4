/** `delete`: a file that the source has renamed is copied at the target, and its old name deleted. */
import type { UploadTreeOptions } from "@degu/degu/files";
import { sha256Of } from "./bundles.ts";
import { randomBytes } from "@degu/testing/transferring.ts";
import { DIRECTIONS, makeTrees } from "@degu/testing/trees.ts";
import { assertEquals } from "@std/assert";

/** Registers a test in both directions; Deno reports it at the line of the call. */
const test = Deno.test.each(DIRECTIONS);

const OLD = new Date("2026-01-02T03:04:05.678Z");
const NEW = new Date("2026-02-03T04:05:06.789Z");
const SIZE = 70_000;
const [A, B] = [randomBytes(SIZE), randomBytes(SIZE)];
const [C, D] = [randomBytes(SIZE + 1), randomBytes(SIZE + 2)];
const SMALL = new TextEncoder().encode("small");

/** The contents of files, with their times; by default {@linkcode OLD}. */
type Content = Readonly<Record<string, Uint8Array | readonly [Uint8Array, Date]>>;

async function writeFiles(dir: string, content: Content): Promise<void> {
  for (const [path, value] of Object.entries(content)) {
    const [bytes, modified] = value instanceof Uint8Array ? [value, OLD] : value;
    await Deno.mkdir(`${dir}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
    await Deno.writeFile(`${dir}/${path}`, bytes);
    await Deno.utime(`${dir}/${path}`, modified, modified);
  }
}

/** Returns the digest of each file of a directory, by path. */
function readTree(dir: string, below = ""): Record<string, string> {
  const files: Record<string, string> = {};
  for (const { name, isDirectory } of Deno.readDirSync(`${dir}/${below}`)) {
    const path = `${below}${name}`;
    if (isDirectory) Object.assign(files, readTree(dir, `${path}/`));
    else files[path] = sha256Of(Deno.readFileSync(`${dir}/${path}`));
  }
  return files;
}

async function makeRenamed(
  direction: "download" | "upload",
  source: Content,
  target: Content,
) {
  const trees = await makeTrees(direction, {}, {}, () => null, { reuse: true });
  await writeFiles(trees.source, source);
  await writeFiles(trees.target, target);
  return trees;
}

interface Row {
  readonly name: string;
  readonly source: Content;
  readonly target: Content;
  readonly options?: UploadTreeOptions;
  /** The number of bytes that are sent. */
  readonly sent: number;
  /** The paths that stay although the source does not have them. */
  readonly kept?: readonly string[];
  readonly failed?: number;
}

const ROWS: readonly Row[] = [
  { name: "a file", source: { new: A }, target: { old: A }, sent: 0 },
  {
    name: "a directory, with its small files",
    source: { "new/sub/a": A, "new/sub/b": B, "new/small": SMALL },
    target: { "old/sub/a": A, "old/sub/b": B, "old/small": SMALL },
    sent: SMALL.length,
  },
  {
    name: "out of a directory whose other files are unchanged",
    source: { "from/same": SMALL, new: A },
    target: { "from/same": SMALL, "from/old": A },
    sent: 0,
  },
  {
    name: "two files of one size and time whose names changed places",
    source: { "new/a": B, "new/b": A },
    target: { "old/a": A, "old/b": B },
    sent: 2 * SIZE,
  },
  {
    name: "three wrongly guessed files",
    source: { "new/a": B, "new/b": A, "new/c": [A, NEW] },
    target: { "old/a": A, "old/b": B, "old/c": [B, NEW] },
    sent: 3 * SIZE,
  },
  {
    name: "one of two copies; the other is copied before",
    source: { b: A, c: A },
    target: { a: A },
    sent: 0,
  },
  {
    name: "the files of a chain, as of rotated logs, are copied",
    source: { "log.1": [C, NEW], "log.2": [A, NEW], "log.3": B, "log.4": [D, NEW] },
    target: { log: [C, NEW], "log.1": [A, NEW], "log.2": B, "log.3": [D, NEW] },
    sent: 0,
  },
  {
    name: "other bytes of the same size and time",
    source: { new: B },
    target: { old: A },
    sent: SIZE,
  },
  {
    name: "a file that stays is not renamed",
    source: { new: A, old: A },
    target: { old: A },
    sent: 0,
  },
  {
    name: "an excluded file is not renamed",
    source: { new: A },
    target: { old: A },
    options: { filter: { file: ({ name }) => name !== "old" } },
    sent: 0,
    kept: ["old"],
  },
];
for (const { name, source, target, options = {}, sent, kept = [], failed = 0 } of ROWS) {
  test(`%s: renamed at the source: ${name}`, async (direction) => {
    await using trees = await makeRenamed(direction, source, target);
    const copy = () => trees.copy({ delete: true, connections: 2, ...options });
    const { result } = await copy();
    const after = readTree(trees.target);
    assertEquals(Object.keys(after).sort(), [...Object.keys(source), ...kept].sort());
    for (const [path, digest] of Object.entries(readTree(trees.source))) {
      assertEquals(after[path], digest, path);
      const modified = Deno.lstatSync(`${trees.source}/${path}`).mtime;
      assertEquals(Deno.lstatSync(`${trees.target}/${path}`).mtime, modified, path);
    }
    assertEquals([result.bytes, result.failed], [sent, failed]);
    const again = await copy();
    assertEquals([again.result.files, again.result.deleted], [0, 0]);
    assertEquals(readTree(trees.target), after);
  });
}
