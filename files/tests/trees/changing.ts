/** A tree that changes, and its copy. */

import { contentOf, keyOf, type RawFile, see } from "./disk.ts";

/** The files of the trees; a few are large enough for separate requests. */
const SMALL_FILES = 120, LARGE_FILES = 4, LARGE_BYTES = 750_000;
/** Modes that a new file gets with any umask that doesn't restrict its owner. */
const MODES = [0o600, 0o700];

/** A source that changes between two runs, and its copy. */
export class ChangingTrees {
  readonly source: string;
  readonly target: string;
  /** The version of each file of the source. */
  readonly #files = new Map<string, { id: number; size: number; mode: number }>();
  /** Each content that a path ever had, with its mode. */
  readonly #versions = new Map<string, Set<string>>();
  #ids = 1;

  /** Creates both directories, and the files of the source. */
  constructor(source: string, target: string) {
    this.source = source;
    this.target = target;
    Deno.mkdirSync(source);
    Deno.mkdirSync(target, { recursive: true });
    for (let i = 0; i < SMALL_FILES; i++) this.#write(`d${i % 7}/f${i}`, 10 + i * 20);
    for (let i = 0; i < LARGE_FILES; i++) this.#write(`large/f${i}`, LARGE_BYTES);
  }

  /** Writes a file in place, or replaces it by a file with another mode. */
  #write(path: string, size: number): void {
    const id = this.#ids++;
    Deno.mkdirSync(`${this.source}/${path.slice(0, path.lastIndexOf("/"))}`, { recursive: true });
    const file = `${this.source}/${path}`;
    const versionBefore = this.#files.get(path);
    const isInPlace = versionBefore !== undefined && id % 2 === 0;
    const mode = isInPlace ? versionBefore.mode : MODES[id % 4 < 2 ? 0 : 1]!;
    const writePath = isInPlace ? file : `${this.source}.new`;
    Deno.writeFileSync(writePath, contentOf(id, size), { mode });
    if (!isInPlace) Deno.renameSync(writePath, file);
    this.#note(path, { id, size, mode });
    // A process that rewrites a file truncates it first.
    this.#versions.get(path)!.add(versionOf("empty", mode));
  }

  /** Records the current version of a file. */
  #note(path: string, file: { id: number; size: number; mode: number }): void {
    const filePath = `${this.source}/${path}`;
    // Whole seconds may be truncated, so a later time in the same second counts as equal.
    const time = Deno.statSync(filePath).mtime!.getTime();
    if (time % 1000 === 0) Deno.utimeSync(filePath, new Date(time), new Date(time + 1));
    this.#files.set(path, file);
    const versions = this.#versions.get(path) ?? new Set();
    this.#versions.set(path, versions.add(versionOf(keyOf(file.id, file.size), file.mode)));
  }

  /** Appends to a large file, and renames another: the target already has their bytes. */
  #keepBytes(): void {
    const [renamed, grown] = [...this.#files].filter(([path]) => path.startsWith("large/"));
    const [path, file] = renamed!, name = `large/r${this.#ids++}`;
    Deno.renameSync(`${this.source}/${path}`, `${this.source}/${name}`);
    this.#files.delete(path);
    this.#note(name, file);
    const [log, { id, size, mode }] = grown!, grownSize = size + 80_000;
    const added = contentOf(id, grownSize).subarray(size);
    Deno.writeFileSync(`${this.source}/${log}`, added, { append: true });
    this.#note(log, { id, size: grownSize, mode });
  }

  /**
   * Changes a part of the source: new contents, removed and new files, and a file in place of a
   * directory or vice versa.
   */
  change(): void {
    const paths = [...this.#files.keys()];
    const pick = () => paths[Math.floor(Math.random() * paths.length)]!;
    for (let i = 0; i < 60; i++) {
      const path = pick();
      const file = this.#files.get(path);
      if (file !== undefined) this.#write(path, file.size);
    }
    for (let i = 0; i < 5; i++) {
      const path = pick();
      if (path.startsWith("large/") || !this.#files.delete(path)) continue;
      Deno.removeSync(`${this.source}/${path}`);
      this.#write(`d${this.#ids % 7}/g${this.#ids}`, 50);
    }
    this.#keepBytes();
    const turning = "turn/ing";
    if (this.#files.delete(turning)) {
      Deno.removeSync(`${this.source}/${turning}`);
      for (const name of ["a", "b"]) this.#write(`${turning}/${name}`, 300);
      return;
    }
    for (const name of ["a", "b"]) this.#files.delete(`${turning}/${name}`);
    try {
      Deno.removeSync(`${this.source}/${turning}`, { recursive: true });
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    this.#write(turning, 100_000);
  }

  /**
   * Returns the errors of the target: mixed files, or lost files of the source.
   *
   * @param isComplete Whether both trees must be equal. @param isSteady Whether the source was
   * unchanged during the run. Otherwise, a deleted file may have been missing at a time when all
   * other files were copied, and another file may have changed later.
   */
  problems(isComplete: boolean, isSteady = true): string[] {
    const problems: string[] = [];
    const targetFiles = filesBelow(this.target);
    for (const [path, { key, mode }] of targetFiles) {
      const version = versionOf(key, mode);
      if (this.#versions.get(path)?.has(version)) continue;
      problems.push(`${path} is ${version}, which was never there`);
    }
    const missing = [...this.#files].filter(([path, { id, size, mode }]) => {
      const { key, mode: bits } = targetFiles.get(path) ?? { key: "", mode: 0 };
      return versionOf(key, bits) !== versionOf(keyOf(id, size), mode);
    });
    const allFiles = filesBelow(this.target, true);
    const contents = new Set([...this.#versions.values()].flatMap((each) => [...each]));
    for (const [path, { key, mode }] of allFiles) {
      // A part gets the mode of its file after it is complete and verified.
      const isWhole = contents.has(versionOf(key, mode));
      // An empty file, which only shows the mode of new files.
      if (targetFiles.has(path) || mode === 0o600 || isWhole || key === "empty") continue;
      // The parts of small files are written after their content is verified.
      if (/\.small-[^/]*$/.test(path)) continue;
      problems.push(`the part ${path} is ${versionOf(key, mode)}`);
    }
    // With an entry in its way, a file is copied by the next run.
    const isCopied = missing.every(([path]) => path.startsWith("turn/"));
    for (const path of this.#had) {
      if (targetFiles.has(path)) continue;
      if (path.startsWith("turn/") && !isSteady) continue;
      if (this.#files.has(path)) problems.push(`${path}, which both ends had, is gone`);
      else if (isSteady && !isCopied) problems.push(`${path} was deleted before all was copied`);
    }
    if (isComplete && (missing.length > 0 || targetFiles.size > this.#files.size)) {
      problems.push(`a complete run has left ${targetFiles.size} files, of ${this.#files.size}`);
    }
    this.#had = new Set(targetFiles.keys());
    return problems;
  }

  /** The files of the target after the previous run. */
  #had = new Set<string>();

  /**
   * Returns the parts at the target of files in the source, and of all small files and files that
   * wait for their name. A server keeps its parts for a day.
   */
  leftParts(): string[] {
    const parts = [...filesBelow(this.target, true).keys()];
    return parts.filter((path) => {
      const [, directory, name] = /^(.*\/)?\.(.*)\.[0-9a-f]+\.degu-part$/.exec(path) ?? [];
      const file = `${directory ?? ""}${name}`;
      return this.#files.has(file) || /\/?\.(small|late)-[^/]*$/.test(path);
    });
  }
}

/** Returns a text for a content with a mode. */
function versionOf(key: string, mode: number): string {
  return `${key} with the bits 0${mode.toString(8)}`;
}

/** Returns the files below a directory. */
function filesBelow(dir: string, hasReserved = false): Map<string, RawFile> {
  const files = new Map<string, RawFile>();
  for (const { name, isDirectory } of Deno.readDirSync(dir)) {
    if (!hasReserved && name.includes(".degu-")) continue;
    if (isDirectory) {
      for (const [path, file] of filesBelow(`${dir}/${name}`, hasReserved)) {
        files.set(`${name}/${path}`, file);
      }
    } else {
      const raw = see(`${dir}/${name}`);
      if (raw?.kind === "file") files.set(name, raw);
    }
  }
  return files;
}
