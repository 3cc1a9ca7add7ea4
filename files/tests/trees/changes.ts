/**
 * Changes by other processes while trees are copied, and the invariants that must hold
 * nevertheless.
 */

import type { TreeEvent, TreeResult } from "@degu/degu/files";
import { isReservedName } from "@degu/internal/files/reserved.ts";
import type { Case, Change, Site, Write } from "./cases.ts";
import {
  below,
  contentOf,
  differences,
  filesIn,
  flatten,
  flattenWhole,
  isOther,
  keyOf,
  type Raw,
  type RawDirectory,
  type RawFile,
  see,
  seeDirectory,
  type Stock,
} from "./disk.ts";
import { accepts, miscounts, outcomesOf } from "./model.ts";

/** A second writer during a copy, which replaces files of the target atomically. */
export class SecondWriter {
  readonly #root: string;
  readonly #temporary: string;
  readonly #files: readonly (readonly [path: string, file: RawFile])[];
  /**
   * By path: the last content, the number of events before it, and whether no other entry was
   * written at this path.
   */
  readonly #lastWrites = new Map<string, {
    readonly key: string;
    readonly eventCount: number;
    readonly isOnly: boolean;
  }>();
  readonly #touched = new Set<string>();
  /** Files that had been copied before the second writer replaced them. */
  readonly #copied = new Set<string>();
  /** The number of written files. */
  count = 0;

  constructor({ download }: Case, { dir, local, remote }: Site, source: RawDirectory) {
    this.#root = download ? local : remote;
    this.#temporary = `${dir}/written`;
    this.#files = [...filesIn(source)].sort();
  }

  write({ which, what }: Write, events: readonly TreeEvent[]): void {
    const [path, file] = this.#files[which % Math.max(1, this.#files.length)] ?? [];
    if (path === undefined || file === undefined || !this.#canWrite(path)) return;
    const fullPath = `${this.#root}/${path}`;
    const entry = see(fullPath);
    if (entry?.kind === "file" && entry.key === file.key) this.#copied.add(path);
    const isOnly = !this.#touched.has(path);
    this.#touched.add(path);
    this.#lastWrites.delete(path);
    this.count++;
    if (what === "nothing") return entry === null ? undefined : Deno.removeSync(fullPath);
    const isSame = what === "the source's content";
    const id = isSame ? parseInt(file.key) || 0 : 5000 + this.count;
    const size = what === "other content" ? file.size + 7 : file.size;
    Deno.writeFileSync(this.#temporary, contentOf(id, size));
    Deno.renameSync(this.#temporary, fullPath);
    this.#lastWrites.set(path, { key: keyOf(id, size), eventCount: events.length, isOnly });
  }

  hasTouched(path: string): boolean {
    return this.#touched.has(path);
  }

  /** Whether the second writer has replaced the copy of a file. */
  hasReplacedCopy(path: string): boolean {
    return this.#copied.has(path);
  }

  /** Whether this path is a file or free, and not below a link. */
  #canWrite(path: string): boolean {
    let raw: Raw | null | undefined = seeDirectory(this.#root);
    const names = path.split("/");
    for (const name of names.slice(0, -1)) {
      raw = raw?.kind === "directory" ? raw.entries.get(name) : undefined;
    }
    if (raw?.kind !== "directory" || (raw.mode & 0o300) !== 0o300) return false;
    return (raw.entries.get(names.at(-1)!)?.kind ?? "file") === "file";
  }

  /** Checks the results of the copy for files that were written. */
  findObjections(events: readonly TreeEvent[], target: ReadonlyMap<string, RawFile>): string[] {
    const problems: string[] = [];
    const sources = new Map(this.#files);
    for (const [path, { key, eventCount, isOnly }] of this.#lastWrites) {
      const isPresent = target.get(path)?.key === key;
      if (!isPresent) problems.push(`${path}, written as ${key}, is lost`);
      const isSame = sources.get(path)?.key === key;
      for (const event of events.slice(eventCount)) {
        if (!("path" in event) || event.path.join("/") !== path) continue;
        if (event.type === "copied" && !isSame && !this.#copied.has(path)) {
          problems.push(`${path} was copied, and is ${key}`);
        }
        if (event.type === "failed" && isSame && isOnly && /meanwhile/.test(`${event.error}`)) {
          problems.push(`${path} has failed, and is the same`);
        }
      }
    }
    return problems;
  }
}

/** Changes by other processes, and the invariants that must hold nevertheless. */
export class Changes {
  #id = 1000;
  /** The state of the source after the last change. */
  #latest: RawDirectory;
  /** Each content that a path of the source ever had; also for the target, separately. */
  readonly #versions = new Map<string, Set<string>>();
  /** The paths that renamed entries had before. */
  readonly #earlierPaths = new Map<string, string>();
  readonly #touched = { source: new Set<string>(), target: new Set<string>() };
  /** Files that appeared at the target after the plan, with their keys. */
  readonly #added = new Map<string, string>();

  constructor(
    readonly testCase: Case,
    readonly site: Site,
    readonly before: { source: RawDirectory; target: RawDirectory | null },
    readonly stock: Stock,
    readonly isKeptOut: boolean,
  ) {
    this.#latest = before.source;
    this.#remember(before.source);
    this.#remember(before.target);
  }

  #remember(raw: Raw | null, prefix = ""): void {
    if (raw === null) return;
    if (raw.kind === "file") this.#addVersion(prefix, raw.key);
    if (raw.kind !== "directory") return;
    for (const [name, entry] of raw.entries) {
      this.#remember(entry, below(prefix, name));
    }
  }

  #addVersion(path: string, key: string): void {
    const versions = this.#versions.get(path) ?? new Set();
    this.#versions.set(path, versions.add(key));
    // A file that is open while it is copied may be renamed, and then be written.
    const earlierPath = this.#earlierPaths.get(path);
    if (earlierPath !== undefined) this.#addVersion(earlierPath, key);
  }

  /**
   * Makes a change now.
   *
   * @param wantedPath The path to change, if it exists.
   */
  make({ side, which, what }: Change, isPlanned: boolean, wantedPath: string): void {
    const { download } = this.testCase;
    const isRemote = (side === "source") === download;
    const root = isRemote ? this.site.remote : this.site.local;
    let tree: RawDirectory | null;
    try {
      tree = seeDirectory(root);
    } catch {
      return;
    }
    if (tree === null) return;
    const paths = [...flatten(tree).keys()].filter((path) => path !== "").sort();
    const index = paths.includes(wantedPath)
      ? paths.indexOf(wantedPath)
      : which % Math.max(1, paths.length);
    const path = paths[index];
    try {
      this.#apply(side, what, root, path, isPlanned);
    } catch (error) {
      // This user may not access the directory, and many other errors can occur.
      if (!(error instanceof Error)) throw error;
    }
    if (side === "source") {
      this.#latest = seeDirectory(root)!;
      this.#remember(this.#latest);
    }
  }

  #apply(
    side: "source" | "target",
    what: Change["what"],
    root: string,
    path: string | undefined,
    isPlanned: boolean,
  ): void {
    const id = this.#id++;
    const write = (writePath: string, size: number) => {
      this.#addVersion(writePath, keyOf(id, size));
      this.#touched[side].add(writePath);
      Deno.writeFileSync(`${root}/${writePath}`, contentOf(id, size));
    };
    if (what === "add" || path === undefined) {
      const parent = path === undefined ? "" : path.slice(0, path.lastIndexOf("/") + 1);
      const isDirectory = path !== undefined && Deno.lstatSync(`${root}/${path}`).isDirectory;
      const addedPath = isDirectory ? `${path}/added${id}` : `${parent}added${id}`;
      write(addedPath, 40);
      if (side === "target" && isPlanned) this.#added.set(addedPath, keyOf(id, 40));
      return;
    }
    if (side === "target") {
      for (const added of this.#added.keys()) {
        if (added === path || added.startsWith(`${path}/`)) this.#added.delete(added);
      }
    }
    const fullPath = `${root}/${path}`;
    const info = Deno.lstatSync(fullPath);
    this.#touched[side].add(path);
    const replace = (make: (temporary: string) => void) => {
      make(`${root}/.new${id}`);
      if (info.isDirectory) Deno.renameSync(fullPath, `${this.site.dir}/removed${id}`);
      Deno.renameSync(`${root}/.new${id}`, fullPath);
    };
    switch (what) {
      case "become a file":
      case "rewrite":
        if (what === "become a file" && !info.isDirectory) return;
        return replace((temporary) => {
          const size = info.isFile ? info.size : 60;
          Deno.writeFileSync(temporary, contentOf(id, size));
          this.#addVersion(path, keyOf(id, size));
        });
      case "rewrite in place":
        // The same size and time: the change that is hardest to detect.
        if (!info.isFile) return;
        write(path, info.size);
        Deno.utimeSync(fullPath, info.mtime!, info.mtime!);
        return;
      case "grow":
        // Appended bytes are ignored. A file that was overwritten and is longer counts as appended.
        if (info.isFile) append(fullPath, (key) => this.#addVersion(path, key));
        return;
      case "remove":
        return Deno.removeSync(fullPath, { recursive: true });
      case "rename":
        this.#touched[side].add(`renamed${id}`);
        Deno.renameSync(fullPath, `${root}/renamed${id}`);
        this.#remember(see(`${root}/renamed${id}`), `renamed${id}`);
        this.#earlierPaths.set(`renamed${id}`, path);
        return;
      case "link to a file":
        return replace((temporary) => Deno.symlinkSync(`${this.site.outside}/secret`, temporary));
      case "link to a directory":
        return replace((temporary) => Deno.symlinkSync(this.site.outside, temporary));
      case "fifo":
        return replace((temporary) => this.stock.linkSpecial("fifo", temporary));
      case "become a directory":
        return replace((temporary) => {
          Deno.mkdirSync(temporary);
          Deno.writeFileSync(`${temporary}/a`, contentOf(id, 50));
          this.#addVersion(`${path}/a`, keyOf(id, 50));
        });
      case "close":
        return info.isSymlink || !this.isKeptOut ? undefined : Deno.chmodSync(fullPath, 0);
    }
  }

  #isTouched(side: "source" | "target", path: string): boolean {
    return [...this.#touched[side]].some((it) =>
      it === path || path.startsWith(`${it}/`) || it.startsWith(`${path}/`)
    );
  }

  /** Checks the invariants of every copy. */
  findObjections(
    events: readonly TreeEvent[],
    result: TreeResult | null,
    source: RawDirectory,
    target: RawDirectory | null,
  ): string[] {
    const problems = differences(flattenWhole(this.#latest), flattenWhole(source))
      .map((text) => `the source: ${text}`);
    const now = flatten(target), before = flatten(this.before.target);
    const sources = flatten(this.before.source);
    problems.push(...this.#unknownContents(target));
    const { options } = this.testCase;
    for (const [path, text] of before) {
      if (path === "" || this.#isTouched("target", path) || this.#isTouched("source", path)) {
        continue;
      }
      const currentText = now.get(path);
      if (this.#isProtected(path)) {
        if (currentText !== text) {
          problems.push(`${path} is protected: was ${text}, is ${currentText}`);
        }
      } else if (text.startsWith("file ") && sources.get(path)?.startsWith("file ")) {
        if (!currentText?.startsWith("file ")) {
          problems.push(`${path} was ${text}, is ${currentText}`);
        } else if (!options.replace && currentText !== text) problems.push(`${path} was replaced`);
      } else if (!options.delete && currentText === undefined) problems.push(`${path} is gone`);
    }
    for (const [path, key] of this.#added) {
      const isWanted = sources.has(path);
      const isPresent = now.get(path)?.startsWith(`file ${key} `);
      // A change of a parent directory may have removed the entry.
      const isTaken = [...this.#touched.target].some((it) => path.startsWith(`${it}/`));
      if (isPresent || isWanted && options.replace || isTaken) continue;
      problems.push(`${path}, which appeared after the plan, is ${now.get(path) ?? "gone"}`);
    }
    problems.push(...this.#checkEvents(events, result, now));
    return problems;
  }

  #unknownContents(raw: Raw | null, prefix = ""): string[] {
    if (raw?.kind === "file") {
      const isWhole = this.#versions.get(prefix)?.has(raw.key);
      return isWhole ? [] : [`${prefix} has ${raw.key}, which was never there`];
    }
    if (raw?.kind !== "directory") return [];
    return [...raw.entries].flatMap(([name, entry]) => {
      if (isReservedName(name) || name.startsWith(".new") || name.startsWith("renamed")) return [];
      return this.#unknownContents(entry, below(prefix, name));
    });
  }

  /** Whether the options protect an entry of the target, whatever other processes change. */
  #isProtected(path: string): boolean {
    const { options } = this.testCase;
    const names = path.split("/");
    let source: Raw | undefined = this.before.source, target: Raw | undefined = this.before.target!;
    for (const name of names) {
      source = source?.kind === "directory" ? source.entries.get(name) : undefined;
      target = target?.kind === "directory" ? target.entries.get(name) : undefined;
      if (target === undefined) return false;
      const filteredEntry: Raw = source ?? target;
      const isAskedOther = isOther(filteredEntry);
      if (filteredEntry === source && isAskedOther) return true;
      const kind = isAskedOther ? "other" : filteredEntry.kind;
      const reason = filteredEntry.kind === "link" || filteredEntry.kind === "special"
        ? "link"
        : "unreadable";
      if (!accepts(options, { name, kind, reason })) return true;
      if (isOther(target)) {
        return !(target.kind === "file" && kind === "file" && filteredEntry === source);
      }
    }
    return false;
  }

  #checkEvents(
    events: readonly TreeEvent[],
    result: TreeResult | null,
    now: ReadonlyMap<string, string>,
  ): string[] {
    const problems: string[] = [];
    for (const [path, outcomes] of outcomesOf(events)) {
      if (outcomes.length > 1 && !path.includes("\ufffd")) problems.push(`${path} is ${outcomes}`);
      if (!outcomes.includes("copied") || this.#isTouched("target", path)) continue;
      if (!now.has(path)) problems.push(`${path} was copied, and is not there`);
    }
    if (result === null) return problems;
    return [...problems, ...miscounts(events, result)];
  }
}

/** Appends to a file whose content is known. */
export function append(path: string, added: (key: string) => void = () => {}): void {
  const raw = see(path);
  if (raw?.kind !== "file" || !/^\d+\//.test(raw.key)) return;
  const id = parseInt(raw.key), size = raw.size + 70_000;
  added(keyOf(id, size));
  Deno.writeFileSync(path, contentOf(id, size).subarray(raw.size), { append: true });
}
