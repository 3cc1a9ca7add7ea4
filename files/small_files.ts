/**
 * Small files that are written many at a time, here or at a server: each with the promises of a single one.
 *
 * They are written and named with synchronous operations, in turns: an asynchronous operation costs several times as much,
 * and whatever is checked holds until the end of the turn. Only what waits for the disk is asynchronous.
 */

import { lockIfFree, Turns } from "../disk/files.ts";
import { isOverload, removeIfPresentSync, syncAllIfPossible } from "../disk/names.ts";
import { hold } from "./leftovers.ts";
import {
  CheckedDirectories,
  checkStillThere,
  type Complete,
  NOTHING,
  type Parent,
  type Root,
} from "./root.ts";

/** How many files get their names together. */
const BATCH = 64;
/** A small file, or a directory, that is placed below a root. */
export interface SmallFile {
  /** The names from the root. */
  readonly names: readonly string[];
  /** Whether it is a directory. */
  readonly isDirectory: boolean;
  /** Whether nothing may have the name. */
  readonly isNew: boolean;
}

/** Where small files are placed, and who wants to know. */
export interface Placement<F extends SmallFile> {
  /** The directory that the names begin at. */
  readonly root: Root;
  /** Whether a file stays open and locked until it has its name: somebody could take it for left over. */
  readonly isLocked: boolean;
  /** How many changed directories may wait until they are synced to the disk. */
  readonly maxUnsynced: number;
  /**
   * Makes the directory of files that arrive, if they need it before they get their names: once in each turn.
   *
   * @returns The directories that have new entries.
   */
  enter?(directory: readonly string[]): readonly string[];
  /** Where a file lies until it gets its name; nobody else may choose that path. */
  temporary(file: F): Omit<Complete, "state">;
  /** Rejects if no file may get its name any more. */
  admit(): Promise<void>;
  /** Called when a file has its name, or a directory is there. */
  onPlaced(file: F, isCreated: boolean): void;
  /** Called with why a file has no name; throws what is so for all of them. */
  onFailed(file: F, error: unknown): void;
}

interface Arrived<F> {
  readonly file: F;
  /** `null` for a directory. */
  readonly written: Written | null;
}

interface Written extends Complete {
  /** Open as long as it is locked. */
  readonly open: Deno.FsFile | null;
  readonly held: Disposable;
  /** Resolves to `null` once the content is on the disk, or to the error. */
  readonly synced: Promise<unknown>;
  /** Whether it has got its name. */
  isPlaced: boolean;
}

/** Writes small files: while some are synced to the disk and named, others arrive. */
export class SmallFiles<F extends SmallFile> implements AsyncDisposable {
  readonly #placement: Placement<F>;
  readonly #turns = new Turns();
  readonly #changed = new Set<string>();
  #arrived: Arrived<F>[] = [];
  /** The directory of the previous file, as long as the turn takes. */
  #enteredKey: string | null = null;
  /** The files before those that arrive now. */
  #naming: Promise<void> = Promise.resolve();

  constructor(placement: Placement<F>) {
    this.#placement = placement;
  }

  /** Writes a file, which gets its name later. */
  async add(file: F, content: Uint8Array, modified: Date): Promise<void> {
    for (let attempt = 1;; attempt++) {
      if (this.#turns.isOver) this.#enteredKey = null;
      try {
        const directory = file.names.slice(0, -1);
        const key = directory.join("/");
        if (this.#enteredKey !== key) {
          for (const path of this.#placement.enter?.(directory) ?? []) this.#changed.add(path);
        }
        this.#enteredKey = key;
        const written = file.isDirectory ? null : this.#write(file, content, modified);
        this.#arrived.push({ file, written });
        break;
      } catch (error) {
        this.#enteredKey = null;
        if (attempt === 1 && isOverload(error)) {
          // There are descriptors again when those that are open have their names.
          await this.#nameArrived();
          await this.#naming;
          continue;
        }
        this.#placement.onFailed(file, error);
        break;
      }
    }
    if (this.#arrived.length >= BATCH) await this.#nameArrived();
    else if (this.#turns.isOver) await this.#turns.next(this.#placement.root.path);
    else return;
    this.#enteredKey = null;
  }

  #write(file: F, content: Uint8Array, modified: Date): Written {
    const { isLocked } = this.#placement;
    const temporary = this.#placement.temporary(file);
    const { path, newMode } = temporary;
    const options = { write: true, createNew: true, mode: newMode === null ? 0o666 : 0o600 };
    const open = Deno.openSync(path, options);
    const written = { ...temporary, state: null, open, held: hold(path), isPlaced: false };
    try {
      if (isLocked) lockIfFree(open);
      for (let at = 0; at < content.length;) at += open.writeSync(content.subarray(at));
      open.utimeSync(new Date(), modified);
      const synced = open.sync().then(() => null, (error) => error);
      if (isLocked) return { ...written, synced };
      // Without waiting for more: a client that sends nothing must not hold a descriptor for each file.
      return { ...written, open: null, synced: synced.finally(() => open.close()) };
    } catch (error) {
      discard(written);
      throw error;
    }
  }

  /** Lets what has arrived get its names, after what has arrived before. */
  async #nameArrived(): Promise<void> {
    await this.#naming;
    const arrived = this.#arrived;
    this.#arrived = [];
    this.#naming = this.#nameBatch(arrived);
    // It is awaited later.
    this.#naming.catch(() => {});
  }

  async #nameBatch(arrived: readonly Arrived<F>[]): Promise<void> {
    const naming = new Naming(this.#placement, this.#turns, this.#changed);
    try {
      await naming.run(arrived);
    } finally {
      for (const { written } of arrived) if (written !== null) discard(written);
      naming.finish();
      if (this.#changed.size > this.#placement.maxUnsynced) await this.#syncChanged();
      for (const each of naming.named) this.#placement.onPlaced(...each);
    }
  }

  /** Waits until all that has arrived has its name, and the names are on the disk. */
  async flush(): Promise<void> {
    try {
      await this.#nameArrived();
      await this.#naming;
    } finally {
      await this.#syncChanged();
    }
  }

  async #syncChanged(): Promise<void> {
    const changed = [...this.#changed];
    this.#changed.clear();
    await syncAllIfPossible(changed);
  }

  /** Removes what has no name. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#naming.catch(() => {});
    for (const { written } of this.#arrived) {
      await written?.synced;
      if (written !== null) discard(written);
    }
  }
}

/** Files of one directory that got their names in one turn. */
interface Entered<F> {
  readonly key: string;
  readonly parent: Parent;
  readonly files: [file: F, isCreated: boolean][];
}

/** Gives the files of a batch their names, turn by turn. */
class Naming<F extends SmallFile> {
  readonly #placement: Placement<F>;
  readonly #turns: Turns;
  /** The directories that have new entries. */
  readonly #changed: Set<string>;
  /** Those that have their names. */
  readonly named: [file: F, isCreated: boolean][] = [];
  /** Where files get their names in this turn. */
  #entered: Entered<F> | null = null;
  /** Directories that are there, and those of this batch. */
  readonly #checked = new CheckedDirectories();
  readonly #made: [file: F, isCreated: boolean][] = [];

  constructor(placement: Placement<F>, turns: Turns, changed: Set<string>) {
    this.#placement = placement;
    this.#turns = turns;
    this.#changed = changed;
  }

  async run(arrived: readonly Arrived<F>[]): Promise<void> {
    const failed = new Set<F>();
    for (const { file, written } of arrived) {
      const error = await written?.synced ?? null;
      if (error === null) continue;
      failed.add(file);
      this.#placement.onFailed(file, error);
    }
    let isAdmitted = false;
    for (const { file, written } of arrived) {
      if (!isAdmitted || this.#turns.isOver) {
        this.leave();
        if (isAdmitted) await this.#turns.next(this.#placement.root.path);
        await this.#placement.admit();
        isAdmitted = true;
      }
      if (failed.has(file)) continue;
      try {
        this.#nameOne(file, written);
      } catch (error) {
        this.#placement.onFailed(file, error);
      }
      // Whatever happens to directories, they are looked at again.
      if (this.#entered !== null && this.#entered.parent.missing.length > 0) this.leave();
    }
  }

  /** Gives a file its name, or creates a directory. */
  #nameOne(file: F, written: Written | null): void {
    const { names, isNew } = file;
    const { root } = this.#placement;
    const directory = names.slice(0, -1);
    const key = directory.join("/");
    if (written === null || this.#entered?.key !== key) this.leave();
    if (written === null) {
      const { created, changed } = root.makeDirectory(names, () => {}, NOTHING, this.#checked);
      for (const path of changed) this.#changed.add(path);
      this.#made.push([file, created]);
      return;
    }
    this.#entered ??= { key, parent: root.findParent(directory), files: [] };
    const { parent, files } = this.#entered;
    const { created, changed } = root.place(names, written, { isNew, parent });
    written.isPlaced = true;
    for (const path of changed) this.#changed.add(path);
    files.push([file, created]);
  }

  /** Ends the batch, and checks that no link has led to the directories that were made. */
  finish(): void {
    this.leave();
    try {
      this.#checked.check();
      this.named.push(...this.#made);
    } catch (error) {
      for (const [file] of this.#made) this.#placement.onFailed(file, error);
    }
  }

  /** Checks that the directory was not replaced while files got their names in it; the next file is looked for anew. */
  leave(): void {
    const entered = this.#entered;
    this.#entered = null;
    if (entered === null) return;
    try {
      checkStillThere(entered.parent);
      this.named.push(...entered.files);
    } catch (error) {
      for (const [file] of entered.files) this.#placement.onFailed(file, error);
    }
  }
}

/** Closes a file, and removes it unless it has got a name. */
function discard({ path, open, held, isPlaced }: Omit<Written, "synced">): void {
  using _held = held;
  try {
    if (!isPlaced) removeIfPresentSync(path);
  } catch {
    // The error that made it superfluous is the one to report.
  } finally {
    open?.close();
  }
}
