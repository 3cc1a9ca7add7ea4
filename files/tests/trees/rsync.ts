/** Comparison with `rsync -rtp --delete` on the same trees, and the intended differences. */

import type { TreeResult } from "@degu/degu/files";
import { isReservedName } from "@degu/internal/files/reserved.ts";
import { flatten, isOther, type Raw, type RawDirectory, run } from "./disk.ts";
import { isSameTime } from "./model.ts";

/** A target after the same transfer by Degu and by rsync. */
interface Compared {
  readonly download: boolean;
  /** The real path of the server's root. */
  readonly root: string;
  readonly source: RawDirectory;
  readonly before: RawDirectory;
  readonly ours: RawDirectory;
  readonly theirs: RawDirectory;
  readonly result: TreeResult;
  /** The paths, joined by slashes, that failed. */
  readonly failed: ReadonlySet<string>;
  /** The exit code of rsync. */
  readonly code: number;
}

/** A path at which the two targets differ. */
interface Difference {
  readonly path: readonly string[];
  readonly ours: string | null;
  readonly theirs: string | null;
}

/** An intended difference, and a function that recognizes it. */
interface Named {
  readonly name: string;
  explains(difference: Difference, compared: Compared): boolean;
}

/** All intended differences from rsync. */
const NAMED: readonly Named[] = [
  {
    name: "no entry is deleted at the end after a failure, an incomplete list or an empty source",
    explains: ({ ours, theirs }, { result }) =>
      result.deletionsSkipped !== null && ours !== null && theirs === null,
  },
  {
    name: "links, special files and unreadable entries stay at the target, with their directories",
    explains: ({ path, theirs, ours }, { before }) => {
      const raw = entryAt(before, path);
      return ours !== null && theirs !== ours &&
        containsMatch(
          raw,
          (it) =>
            isOther(it) || it.kind === "directory" && (it.unnamed > 0 || (it.mode & 0o200) === 0),
        );
    },
  },
  {
    name: "an obstructed entry fails, and so do the entries below it",
    explains: ({ path }, { failed }) =>
      path.some((_, index) => failed.has(path.slice(0, index + 1).join("/"))) ||
      [...failed].some((it) => it.startsWith(`${path.join("/")}/`)),
  },
  {
    name:
      "an entry stays if the source has a special file, a link or an unreadable entry with its name",
    explains: ({ path, ours }, { source, before }) =>
      ours !== null && entryAt(before, path) !== null &&
      entriesOnPath(source, path).some((raw) => raw !== null && isOther(raw)),
  },
  {
    name: "times that differ only by a disk's rounding are equal",
    explains: ({ path, ours }, { source, before }) => {
      const sourceFile = entryAt(source, path), targetFile = entryAt(before, path);
      return sourceFile?.kind === "file" && targetFile?.kind === "file" &&
        sourceFile.size === targetFile.size &&
        sourceFile.modified !== targetFile.modified &&
        isSameTime(sourceFile.modified, targetFile.modified) &&
        ours !== null;
    },
  },
  {
    name: "reserved names are not copied, and do not keep their directory",
    explains: ({ path, ours }, { source, before }) =>
      ours === null && entryAt(source, path) === null &&
      containsMatch(entryAt(before, path), (_, name) => isReservedName(name)),
  },
  {
    name: "names that are not UTF-8 are not copied, and stay",
    explains: ({ path }, { source, before }) =>
      [entryAt(source, path), entryAt(before, path)].some((raw) =>
        containsMatch(raw, (it) => it.kind === "directory" && it.unnamed > 0)
      ),
  },
  {
    name: "a new directory is writable, whatever its mode at the source",
    explains: ({ path, ours }, { source }) =>
      ours !== null &&
      [source, ...entriesOnPath(source, path.slice(0, -1))].some((raw) =>
        raw?.kind === "directory" && (raw.mode & 0o200) === 0
      ),
  },
  {
    name: "a copy has only the bits of a new file, and its owner can read and write it",
    explains: ({ ours, theirs }) => {
      const [our, their] = [bitsOf(ours), bitsOf(theirs)];
      return our !== null && their !== null && our.rest === their.rest &&
        our.mode === (their.mode & ~UMASK | 0o600);
    },
  },
  {
    name: "rsync skips deletions after an error",
    explains: ({ ours, theirs }, { code, before, source }) =>
      ours === null && theirs !== null && code !== 0 && before !== source,
  },
];

/** The permission bits that no new file gets. */
export const UMASK = 0o022;

/** Splits the text of a file into its permission bits and the rest. */
function bitsOf(text: string | null): { readonly rest: string; readonly mode: number } | null {
  const [, rest, mode] = /^(file .*) ([0-7]+)$/.exec(text ?? "") ?? [];
  return rest === undefined ? null : { rest, mode: Number.parseInt(mode!, 8) };
}

/** Runs rsync; returns its exit code. */
export function rsync(from: string, to: string): number {
  const { code, stderr } = new Deno.Command("rsync", {
    args: ["-rtp", "--delete", `${from}/`, `${to}/`],
    stdin: "null",
    stdout: "null",
  }).outputSync();
  // 23 and 24: some files could not be transferred, or vanished.
  if (![0, 23, 24].includes(code)) throw new Error(new TextDecoder().decode(stderr));
  return code;
}

export function hasRsync(): boolean {
  try {
    run("rsync", "--version");
    return true;
  } catch {
    return false;
  }
}

/** Returns the names of the differences; differences without a name are returned as texts. */
export function compare(compared: Compared): { named: string[]; unnamed: string[] } {
  const [ours, theirs] = [compared.ours, compared.theirs].map((raw) => {
    // Directories keep the modes that they were created with.
    return new Map(
      [...flatten(raw)].map(([path, text]) => [path, text.replace(/^directory \d+/, "directory")]),
    );
  }) as [Map<string, string>, Map<string, string>];
  const named: string[] = [], unnamed: string[] = [];
  for (const key of new Set([...ours.keys(), ...theirs.keys()])) {
    const [our = null, their = null] = [ours.get(key), theirs.get(key)];
    if (key === "" || our === their) continue;
    const difference = { path: key.split("/"), ours: our, theirs: their };
    const name = NAMED.find((it) => it.explains(difference, compared))?.name;
    if (name !== undefined) named.push(name);
    else unnamed.push(`${JSON.stringify(key)}: ours ${our}, rsync's ${their}`);
  }
  return { named, unnamed };
}

function entryAt(root: RawDirectory, path: readonly string[]): Raw | null {
  let raw: Raw | undefined = root;
  for (const name of path) raw = raw?.kind === "directory" ? raw.entries.get(name) : undefined;
  return raw ?? null;
}

/** Returns the entries on a path, and its target. */
function entriesOnPath(root: RawDirectory, path: readonly string[]): (Raw | null)[] {
  return path.map((_, index) => entryAt(root, path.slice(0, index + 1)));
}

/** Reports whether the difference applies to the entry, or to an entry below it. */
function containsMatch(
  raw: Raw | null,
  isSo: (raw: Raw, name: string) => boolean,
  name = "",
): boolean {
  return raw !== null && (isSo(raw, name) || raw.kind === "directory" &&
      [...raw.entries].some(([below, entry]) => containsMatch(entry, isSo, below)));
}
