/** Trees on the disk: creating them from a description, reading, changing, and removing them. */

import { Buffer } from "node:buffer";
import { isReservedName } from "@degu/internal/files/reserved.ts";
import { HAS_LINKS, MissingFeatureError } from "@degu/testing/special_files.ts";

/** An entry on the disk. */
export type Raw = RawFile | RawDirectory | RawLink | RawSpecial;

export interface RawFile {
  readonly kind: "file";
  /** Identifies the content: two files are equal if their keys are. */
  readonly key: string;
  readonly size: number;
  /** Milliseconds since 1970. */
  readonly modified: number;
  readonly mode: number;
}

export interface RawDirectory {
  readonly kind: "directory";
  readonly mode: number;
  readonly modified: number;
  readonly entries: ReadonlyMap<string, Raw>;
  /** The number of entries whose names are not UTF-8. */
  readonly unnamed: number;
}

interface RawLink {
  readonly kind: "link";
  readonly target: string;
}

/** A FIFO or a socket. */
interface RawSpecial {
  readonly kind: "special";
  readonly what: string;
}

/** An entry to create. */
export type Plan =
  | { readonly kind: "file"; id: number; size: number; modified: number; mode: number }
  | { readonly kind: "directory"; mode: number; unnamed: boolean; entries: Map<string, Plan> }
  | { readonly kind: "link"; target: string }
  | { readonly kind: "fifo" | "socket" };

/** The minimal size of a file with a request of its own. */
export const REQUESTED_ALONE_FROM_BYTES = 65_536;

/**
 * Makes the content of a version of a file. Each group of eight bytes contains the version and its
 * own index, so any mix of two versions and any missing part can be detected.
 */
export function contentOf(id: number, size: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(size / 8) * 2);
  for (let index = 0; index < words.length; index += 2) {
    words[index] = id;
    words[index + 1] = index;
  }
  return new Uint8Array(words.buffer, 0, size);
}

/** Returns the key of a version. */
export function keyOf(id: number, size: number): string {
  return size === 0 ? "empty" : `${id}/${size}`;
}

function identify(bytes: Uint8Array): string {
  if (bytes.length < 4) return bytes.length === 0 ? "empty" : `torn/${bytes.length}`;
  const id = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const isWhole = Buffer.compare(bytes, contentOf(id, bytes.length)) === 0;
  return isWhole ? keyOf(id, bytes.length) : `torn/${id}/${bytes.length}`;
}

/**
 * Entries that Deno can't create, or only slowly. Trees get hard links to them, and renamed
 * directories.
 */
export class Stock {
  readonly #dir: string;
  #directories: string[] = [];
  #madeCount = 0;

  constructor(dir: string) {
    this.#dir = dir;
    Deno.mkdirSync(dir, { recursive: true });
  }

  linkSpecial(what: "fifo" | "socket", path: string): void {
    const special = `${this.#dir}/${what}`;
    if (!exists(special)) {
      const bind = `import socket; socket.socket(socket.AF_UNIX).bind("${special}")`;
      if (what === "fifo") run("bash", "-c", 'mkfifo "$0"', special);
      else run("python3", "-c", bind);
    }
    Deno.linkSync(special, path);
  }

  /** Moves a directory with an entry whose name is not UTF-8 to a path. */
  makeUnnamed(path: string): void {
    if (this.#directories.length === 0) {
      const first = this.#madeCount, last = this.#madeCount += 50;
      run(
        "sh",
        "-c",
        `cd "${this.#dir}" && i=${first}; while [ $i -lt ${last} ]; do mkdir d$i && ` +
          `: > "d$i/$(printf 'not\\377utf')"; i=$((i+1)); done`,
      );
      this.#directories = Array.from({ length: 50 }, (_, i) => `${this.#dir}/d${first + i}`);
    }
    Deno.renameSync(this.#directories.pop()!, path);
  }
}

/** Runs a program, and waits for its end. */
export function run(program: string, ...args: string[]): string {
  const { success, stdout, stderr } = new Deno.Command(program, { args, stdin: "null" })
    .outputSync();
  if (!success) throw new Error(`${program} ${args}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

/** Writes files that don't conflict with others, each with another content and time. */
export function writeFiles(
  root: string,
  files: readonly { readonly path: readonly string[]; readonly size: number }[],
  id: number,
): number {
  for (const { path, size } of files) {
    const file = [root, ...path].join("/");
    try {
      Deno.mkdirSync(file.slice(0, file.lastIndexOf("/")), { recursive: true });
      Deno.writeFileSync(file, contentOf(id++, size), { createNew: true });
      Deno.utimeSync(file, 1_700_000_000 + id * 10, 1_700_000_000 + id * 10);
    } catch (error) {
      // A file or a directory already has this name.
      if (!(error instanceof Error)) throw error;
    }
  }
  return id;
}

export function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

/**
 * Creates a tree at a free path.
 *
 * @param onDirectory Called with the path of each directory, before its entries are created.
 */
export function make(
  path: string,
  plan: Plan,
  stock: Stock | null = null,
  onDirectory: (path: string) => void = () => {},
): void {
  const links: [target: string, path: string][] = [];
  const directoryModes: [path: string, mode: number][] = [];
  const makeEntry = (path: string, plan: Plan) => {
    switch (plan.kind) {
      case "file":
        Deno.writeFileSync(path, contentOf(plan.id, plan.size));
        Deno.utimeSync(path, plan.modified / 1000, plan.modified / 1000);
        Deno.chmodSync(path, plan.mode);
        break;
      case "directory":
        if (plan.unnamed) stock!.makeUnnamed(path);
        else Deno.mkdirSync(path);
        onDirectory(path);
        for (const [name, entry] of plan.entries) makeEntry(`${path}/${name}`, entry);
        directoryModes.push([path, plan.mode]);
        break;
      case "link":
        links.push([plan.target, path]);
        break;
      default:
        stock!.linkSpecial(plan.kind, path);
    }
  };
  makeEntry(path, plan);
  makeLinks(links);
  for (const [path, mode] of directoryModes) Deno.chmodSync(path, mode);
}

/** Makes links, in a separate process if this one is a test of the suite, which may not. */
function makeLinks(links: readonly (readonly [target: string, path: string])[]): void {
  if (links.length === 0) return;
  if (!HAS_LINKS) throw new MissingFeatureError("no symbolic links");
  try {
    for (const [target, path] of links) Deno.symlinkSync(target, path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
    const line = 'while [ $# -gt 0 ]; do ln -s -- "$1" "$2" || exit; shift 2; done';
    run("bash", "-c", line, "bash", ...links.flat());
  }
}

/** Returns the tree to create for the same entries. */
export function planOf(raw: Raw): Plan {
  switch (raw.kind) {
    case "file": {
      const { size, modified, mode, key } = raw;
      return { kind: "file", id: key === "empty" ? 0 : parseInt(key), size, modified, mode };
    }
    case "directory": {
      const entries = new Map([...raw.entries].map(([name, entry]) => [name, planOf(entry)]));
      return { kind: "directory", mode: raw.mode, unnamed: raw.unnamed > 0, entries };
    }
    case "link":
      return { kind: "link", target: raw.target };
    case "special":
      return { kind: raw.what === "fifo" ? "fifo" : "socket" };
  }
}

/**
 * Returns the entry at a path; `null` without one. An unreadable entry is made readable for a
 * moment.
 */
export function see(path: string, isFollowed = false): Raw | null {
  let info: Deno.FileInfo;
  try {
    info = isFollowed ? Deno.statSync(path) : Deno.lstatSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
  const mode = modeOf(info);
  const modified = info.mtime?.getTime() ?? 0;
  if (info.isSymlink) return { kind: "link", target: Deno.readLinkSync(path) };
  if (info.isFile) {
    const key = identify(withMode(path, mode, 0o400, () => Deno.readFileSync(path)));
    return { kind: "file", key, size: info.size, modified, mode };
  }
  if (!info.isDirectory) return { kind: "special", what: info.isFifo ? "fifo" : "socket" };
  const entries = new Map<string, Raw>();
  let unnamed = 0;
  withMode(path, mode, 0o500, () => {
    for (const { name } of Deno.readDirSync(path)) {
      const raw = see(`${path}/${name}`);
      if (raw === null) unnamed++;
      else entries.set(name, raw);
    }
  });
  return { kind: "directory", mode, modified, entries, unnamed };
}

/** Returns the directory at a path; `null` if the path is free. */
export function seeDirectory(path: string): RawDirectory | null {
  const raw = see(path, true);
  if (raw !== null && raw.kind !== "directory") throw new Error(`${path} is a ${raw.kind}`);
  return raw;
}

/** Returns the permission bits of an entry; Windows has none. */
export function modeOf({ mode, isDirectory }: Deno.FileInfo): number {
  if (Deno.build.os === "windows") return isDirectory ? 0o755 : 0o644;
  return mode! & 0o7777;
}

function withMode<T>(path: string, mode: number, needed: number, work: () => T): T {
  const isClosed = (mode & needed) !== needed;
  if (isClosed) Deno.chmodSync(path, mode | needed);
  try {
    return work();
  } finally {
    if (isClosed) Deno.chmodSync(path, mode);
  }
}

/** Removes a tree, whatever its modes. */
export function removeTree(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    run("sh", "-c", `chmod -R u+rwX "$1" 2>/dev/null; rm -rf -- "$1"`, "sh", path);
  }
}

/** Joins the path of a directory, which is empty for the root, and the name of an entry. */
export function below(directory: string, name: string): string {
  return directory === "" ? name : `${directory}/${name}`;
}

/**
 * Returns a text for each path of a tree, for comparisons. Times of directories and reserved
 * entries are omitted.
 */
export function flatten(
  raw: Raw | null,
  options: { reserved?: boolean; directoryTimes?: boolean; modes?: boolean } = {},
  prefix = "",
  texts: Map<string, string> = new Map(),
): Map<string, string> {
  if (raw === null) return texts;
  const mode = "mode" in raw && options.modes !== false ? ` ${raw.mode.toString(8)}` : "";
  if (raw.kind === "file") {
    return texts.set(prefix, `file ${raw.key} ${raw.size} ${raw.modified}${mode}`);
  }
  if (raw.kind === "link") return texts.set(prefix, `link ${raw.target}`);
  if (raw.kind === "special") return texts.set(prefix, raw.what);
  const time = options.directoryTimes ? ` ${raw.modified}` : "";
  texts.set(prefix, `directory${mode} ${raw.unnamed}${time}`);
  for (const [name, entry] of raw.entries) {
    if (!options.reserved && isReservedName(name)) continue;
    flatten(entry, options, below(prefix, name), texts);
  }
  return texts;
}

/** Like `flatten()`, with all entries and times. */
export function flattenWhole(raw: Raw | null): Map<string, string> {
  return flatten(raw, { reserved: true, directoryTimes: true });
}

/** Returns the differences of two flattened trees. */
export function differences(
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
): string[] {
  const changes: string[] = [];
  for (const [path, text] of before) {
    const now = after.get(path);
    if (now !== text) changes.push(`${JSON.stringify(path)}: was ${text}, is ${now ?? "gone"}`);
  }
  for (const [path, text] of after) {
    if (!before.has(path)) changes.push(`${JSON.stringify(path)}: was not there, is ${text}`);
  }
  return changes;
}

/** Returns the files of a tree, by path. */
export function filesIn(
  raw: Raw | null,
  path = "",
  files = new Map<string, RawFile>(),
): Map<string, RawFile> {
  if (raw?.kind === "file") files.set(path, raw);
  if (raw?.kind !== "directory") return files;
  for (const [name, entry] of raw.entries) {
    if (!isReservedName(name)) filesIn(entry, below(path, name), files);
  }
  return files;
}

/** Whether an entry is neither a file nor a readable directory. */
export function isOther(raw: Raw): boolean {
  switch (raw.kind) {
    case "special":
    case "link":
      return true;
    case "file":
      return (raw.mode & 0o400) === 0;
    case "directory":
      return (raw.mode & 0o500) !== 0o500;
  }
}
