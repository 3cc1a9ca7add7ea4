/**
 * Copies trees to a target that has the prefixes of some files, and cuts each copy after each
 * system call that changes the disk: by a kill, or by a power failure, which also loses data that
 * was not synced. In each state no file is lost or mixed with another, and the next two calls
 * complete the copy: the first call deletes an entry in the way.
 */
import { downloadTree, FilesApp, uploadTree } from "@degu/degu/files";
import { setClockAhead } from "@degu/testing/clock.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { serve } from "@degu/testing/serving.ts";
import { assert, assertEquals } from "@std/assert";
import { open } from "node:fs/promises";
import {
  filesIn,
  flatten,
  make,
  type Plan,
  type Raw,
  type RawFile,
  see,
} from "../../files/tests/trees/disk.ts";

const SIZE = 70_000, MORE = 30_000, TIME = 1_700_000_000_000, DAY = 86_400_000;

function file(id: number, size: number, modified: number): Plan {
  return { kind: "file", id, size, modified, mode: 0o644 };
}

function tree(files: Readonly<Record<string, Plan>>): Plan {
  return {
    kind: "directory",
    mode: 0o755,
    unnamed: false,
    entries: new Map(Object.entries(files)),
  };
}

/**
 * One file has grown, one has other bytes, one was renamed, one was copied, a small one has
 * changed, and a directory has the name of a file.
 */
const TARGET = tree({
  log: file(1, SIZE, TIME),
  other: file(2, SIZE, TIME),
  old: tree({ video: file(3, SIZE + 1, TIME) }),
  photo: file(4, SIZE + 2, TIME),
  small: file(5, 10, TIME),
  superfluous: file(6, 10, TIME),
  turned: file(7, 10, TIME),
});
const SOURCE = tree({
  log: file(1, SIZE + MORE, TIME + DAY),
  other: file(8, SIZE + MORE, TIME + DAY),
  new: tree({ video: file(3, SIZE + 1, TIME), photo: file(4, SIZE + 2, TIME) }),
  photo: file(4, SIZE + 2, TIME),
  small: file(9, 10, TIME + DAY),
  turned: tree({ large: file(10, SIZE, TIME), small: file(11, 10, TIME) }),
});
const REUSED = SIZE + (SIZE + 1) + (SIZE + 2);

/** About how many states of the disk a call creates. */
const STATES = 100;

/** Cuts an upload and a download at about `cuts` moments, evenly spread. */
export async function cutCopies(cuts: number): Promise<void> {
  // Files that have just changed have no version, so their parts can't be resumed.
  using _clock = setClockAhead(10_000);
  for (const keep of [undefined, 3]) {
    for (const isUpload of [true, false]) {
      await cutCall(isUpload, keep, Math.ceil(4 * STATES / cuts));
    }
  }
}

async function cutCall(isUpload: boolean, keep: number | undefined, step: number): Promise<void> {
  await using dir = await createTempDir();
  const source = `${dir.path}/source`, target = `${dir.path}/target`;
  make(source, SOURCE);
  make(target, TARGET);
  await using serving = serve(new FilesApp(source, { list: true, reuse: true }));
  const copyOnce = async (target: string) => {
    // Copy the files sequentially, so that each state is in the middle of one file.
    const options = { delete: true, connections: 1, partial: true, onEvent: () => {} };
    if (!isUpload) {
      return await downloadTree(serving.makeClient(), "/", target, { ...options, keep });
    }
    const app = new FilesApp(target, { list: true, write: true, reuse: true, keep });
    await using receiving = serve(app);
    return await uploadTree(receiving.makeClient(), source, "/", options);
  };
  const copy = async (target: string) => [await copyOnce(target), await copyOnce(target)] as const;
  const [sourceFiles, targetFiles] = [filesIn(see(source)), filesIn(see(target))];
  const expected = flatten(see(source));
  const disk = new CutDisk(target, `${dir.path}/cut`, step);
  const [first, second] = await disk.record(() => copy(target));
  assertEquals([first.failed, first.reused, second.failed, second.reused], [3, REUSED, 0, 0]);
  assertEquals(flatten(see(target)), expected);
  for (const { path, moment } of disk.states) {
    checkWhole(see(path)!, sourceFiles, targetFiles, moment);
    if (keep !== undefined) checkKept(path, targetFiles, moment);
    const [, { failed, deletionsSkipped }] = await copy(path);
    assertEquals([failed, deletionsSkipped], [0, null], moment);
    assertEquals(flatten(see(path)), expected, moment);
    if (keep !== undefined) checkKept(path, targetFiles, moment);
  }
}

/**
 * Checks that each file of the target is there, under any name, or has a version. The file that was
 * being kept at the kill can have two versions.
 */
function checkKept(
  root: string,
  targetFiles: ReadonlyMap<string, RawFile>,
  moment: string,
): void {
  const keys = new Set([...filesIn(see(root)).values()].map(({ key }) => key));
  const versions = [...filesIn(see(`${root}/.degu-kept`)).values()].map(({ key }) => key);
  for (const key of versions) keys.add(key);
  for (const [path, { key }] of targetFiles) {
    assert(keys.has(key), `${moment}: ${path} has no version`);
  }
  const duplicates = versions.length - new Set(versions).size;
  assert(duplicates <= 1, `${moment}: ${duplicates} versions are there twice`);
}

/**
 * Checks that each file is the old or the new one, and that no file is deleted before all new files
 * without an entry in their way are complete.
 */
function checkWhole(
  root: Raw,
  sourceFiles: ReadonlyMap<string, RawFile>,
  targetFiles: ReadonlyMap<string, RawFile>,
  moment: string,
): void {
  const now = filesIn(root);
  // A file that is renamed by the target has its old name until the deletions.
  const entryTexts = [...flatten(root, { reserved: true }).values()];
  const isArrived = [...sourceFiles].every(([path, { key }]) => {
    return targetFiles.has(path.split("/")[0]!) && path.includes("/") ||
      entryTexts.some((text) => text.startsWith(`file ${key} `));
  });
  for (const [path, { key }] of now) {
    const versions = [targetFiles.get(path)?.key, sourceFiles.get(path)?.key];
    assert(versions.includes(key), `${moment}: ${path} is ${key}`);
  }
  for (const path of targetFiles.keys()) {
    const mayBeGone = isArrived && !sourceFiles.has(path);
    assert(now.has(path) || mayBeGone, `${moment}: ${path} is gone`);
  }
}

/** A directory that stores each of its states, or one of several. */
class CutDisk {
  readonly states: { readonly path: string; readonly moment: string }[] = [];
  readonly #root: string;
  readonly #statesDir: string;
  /**
   * By inode: the synced size of a file, which a power failure leaves. Other files stay complete.
   */
  readonly #synced = new Map<number | null, number>();
  readonly #step: number;
  /** The number of states so far. It starts at random, so the first stored state is random. */
  #count: number;
  #lastState = "";
  #isLooking = false;

  /** @param statesDir The directory for the states. */
  constructor(root: string, statesDir: string, step: number) {
    this.#step = step;
    this.#count = Math.floor(Math.random() * step);
    this.#root = root;
    this.#statesDir = statesDir;
    Deno.mkdirSync(statesDir);
  }

  /** Stores the state before and after each call of an operation that changes a disk. */
  async record<T>(work: () => Promise<T>): Promise<T> {
    using patches = new DisposableStack();
    const ofFile = Deno.FsFile.prototype;
    const recordUnsynced = ({ ino, size }: Deno.FileInfo) => {
      this.#synced.set(ino, Math.min(size, this.#synced.get(ino) ?? size));
    };
    const synced = ({ ino }: Deno.FileInfo) => void this.#synced.delete(ino);
    for (const name of ["write", "writeSync", "truncate", "truncateSync"] as const) {
      this.#watch(patches, ofFile, name, recordUnsynced, null);
    }
    for (const name of ["sync", "syncData"] as const) {
      this.#watch(patches, ofFile, name, null, synced);
    }
    for (const name of ["utime", "utimeSync"] as const) {
      this.#watch(patches, ofFile, name, null, null);
    }
    const calls = ["linkSync", "renameSync", "removeSync", "remove", "mkdirSync", "openSync"];
    for (const name of calls) this.#watch(patches, Deno, name as "linkSync", null, null);
    await using handle = await open(this.#root);
    this.#watch(patches, Object.getPrototypeOf(handle) as typeof handle, "sync", null, null);
    return await work();
  }

  #watch<T extends object, K extends keyof T>(
    patches: DisposableStack,
    holder: T,
    name: K,
    before: ((file: Deno.FileInfo) => void) | null,
    after: ((file: Deno.FileInfo) => void) | null,
  ): void {
    const look = (moment: string, file: Deno.FsFile, note: typeof before) => {
      if (this.#isLooking) return;
      this.#isLooking = true;
      if (note !== null) note(file.statSync());
      this.#keep(`${moment} ${String(name)}`);
      this.#isLooking = false;
    };
    const make = (original: T[K]) =>
      function (this: Deno.FsFile, ...args: unknown[]) {
        look("before", this, before);
        const result = (original as (...args: unknown[]) => unknown).apply(this, args);
        const recordAfter = () => look("after", this, after);
        if (result instanceof Promise) return result.finally(recordAfter);
        recordAfter();
        return result;
      } as T[K];
    patches.use(patch(holder, name, make));
  }

  /** Stores the state after a kill, and after a power failure. */
  #keep(moment: string): void {
    const now = `${this.#stateOf(this.#root)} ${[...this.#synced]}`;
    if (now === this.#lastState) return;
    this.#lastState = now;
    if (this.#count++ % this.#step > 0) return;
    for (const cut of ["a kill", "a power failure"] as const) {
      if (cut !== "a kill" && this.#synced.size === 0) continue;
      const path = `${this.#statesDir}/${this.states.length}`;
      this.#copy(this.#root, path, cut === "a kill", new Map());
      this.states.push({ path, moment: `${cut} ${moment} (${this.states.length})` });
    }
  }

  #stateOf(path: string): string {
    const { ino, size, mtime, mode, isDirectory } = Deno.lstatSync(path);
    if (!isDirectory) return `${path} ${[ino, size, Number(mtime), mode]}\n`;
    const names = [...Deno.readDirSync(path)].map(({ name }) => name).sort();
    return `${path}\n${names.map((name) => this.#stateOf(`${path}/${name}`)).join("")}`;
  }

  #copy(from: string, to: string, isWhole: boolean, copies: Map<number | null, string>): void {
    const { isDirectory, ino, nlink, mode, size, mtime } = Deno.lstatSync(from);
    if (isDirectory) {
      Deno.mkdirSync(to);
      for (const { name } of Deno.readDirSync(from)) {
        this.#copy(`${from}/${name}`, `${to}/${name}`, isWhole, copies);
      }
      return Deno.chmodSync(to, mode! & 0o777);
    }
    const earlierCopy = copies.get(ino);
    if (earlierCopy !== undefined) return Deno.linkSync(earlierCopy, to);
    if (nlink! > 1) copies.set(ino, to);
    Deno.copyFileSync(from, to);
    const syncedSize = isWhole ? undefined : this.#synced.get(ino);
    if (syncedSize !== undefined) {
      // The size of a file may be on the disk before its bytes.
      Deno.truncateSync(to, syncedSize);
      Deno.truncateSync(to, size);
    }
    Deno.chmodSync(to, mode! & 0o777);
    Deno.utimeSync(to, mtime!, mtime!);
  }
}
