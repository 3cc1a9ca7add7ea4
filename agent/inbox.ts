/** The inbox of `degu serve`: a directory in it for each peer, which no other peer sees. */

import { giveNewName, presenceOf, syncIfPossible } from "@degu/degu/agent_support";
import type { Peer } from "@degu/degu/device";
import type { ResponseTuple } from "@degu/degu/server";
import { isMissing } from "./local_paths.ts";
import { join } from "./paths.ts";
import { explain } from "./explain.ts";
import { codeOf, type ErrorCode, Failure } from "./failure.ts";

/** The directory of a `FilesApp` for unfinished files, which no peer can list, read or write. */
export const RESERVED = ".degu-files";

/** The record of a directory's owner: a single one for good, also after a `degu forget`. */
interface Ownership {
  readonly id: string;
  /** The name that the peer had. */
  readonly name: string;
  /** The name of the directory: that of the peer, or one with a number behind it. */
  readonly directory: string;
}

/**
 * The names of the records, one for each directory. They lie in the reserved directory of the
 * inbox: with `--inbox-for-all` no peer can read or write them, either.
 */
const OWNER_NAME = /^owner-(.+)$/;

/** What a person's own programs leave in a directory, and the system in the root of a disk. */
const FOREIGN_NAMES = /^(\..*|lost\+found)$/s;

/** The inbox, or the directory of a peer, is not what it has to be; the peer is not told why. */
class InboxError extends Error {}

/** The refusal of a request to the inbox: what the log says, and what the peer gets. */
interface InboxRefusal {
  readonly message: string;
  readonly response: ResponseTuple;
}

/** The responses to errors of the system; others are bugs, or happen once. */
const SYSTEM_RESPONSES: Partial<Record<ErrorCode, ResponseTuple>> = {
  FULL: [507, "Insufficient Storage", {}, null],
  NOT_PERMITTED: [403, "Forbidden", {}, null],
};

/** The refusal of a request for which the inbox can't be used; `null` for bugs. */
export function refusalOf(error: unknown): InboxRefusal | null {
  if (error instanceof InboxError) {
    // As from a FilesApp whose directory is not there.
    const headers = { "root-gone": "?1" };
    return { message: error.message, response: [503, "Service Unavailable", headers, null] };
  }
  const response = SYSTEM_RESPONSES[codeOf(error)];
  return response === undefined ? null : { message: explain(error), response };
}

/** The form in which names of devices and of their directories are compared. */
export function nameKey(name: string): string {
  return name.toLowerCase();
}

export class Inbox {
  readonly path: string;
  readonly #records: string;
  readonly #isThere: () => boolean;
  /** Syncs of the names in the inbox that are under way. */
  readonly #syncing = new Set<Promise<void>>();

  /** @param path The real path of the inbox, which exists. */
  constructor(path: string) {
    this.path = path;
    this.#records = join(path, RESERVED);
    this.#isThere = presenceOf(path);
  }

  /**
   * Checks that everything in the inbox is the directory of a peer: peers would neither find nor
   * see anything else, such as the files of an inbox for all.
   *
   * @throws {Failure} if something is not.
   */
  async check(): Promise<void> {
    const names = await this.#names();
    const owned = new Set((await this.#read()).map(({ directory }) => nameKey(directory)));
    for (const name of names) {
      const path = join(this.path, name);
      if (!owned.has(nameKey(name))) {
        throw new Failure(
          `--inbox: ${path} belongs to no peer, and each peer has a directory of its own there: move it away, name ` +
            `another directory, or use --inbox-for-all ${this.path}, where each peer sees and changes everything`,
          "ALREADY_THERE",
          { path },
        );
      }
      const problem = problemOf(path);
      if (problem !== null) throw new Failure(`--inbox: ${problem}`, null, { path });
    }
  }

  /** The paths of the directories that peers have. */
  async directories(): Promise<string[]> {
    const paths = (await this.#read()).map(({ directory }) => join(this.path, directory));
    return paths.filter((path) => lstatOrNull(path)?.isDirectory);
  }

  /**
   * Finds the directory of a peer under its name, or chooses one, which is still to be made: never
   * one that another device has had, nor one that is recorded for nobody.
   *
   * @returns The name of the directory.
   * @throws {InboxError} if the inbox is not there.
   */
  async directoryOf(peer: Pick<Peer, "id" | "name">): Promise<string> {
    for (;;) {
      if (!this.#isThere()) throw isGone(this.path);
      const all = await this.#read();
      const own = ownOf(peer, all);
      if (own !== null) return own.directory;
      const names = [...all.map(({ directory }) => directory), ...await this.#names()];
      const directory = freeName(peer.name, new Set(names.map(nameKey)));
      // Another process may be faster, for this peer or for another one.
      await this.#record({ id: peer.id, name: peer.name, directory });
    }
  }

  /**
   * Makes the directory of a peer if it is missing: nobody has asked for it yet, or a person has
   * moved it away. Resolves once its name is on the disk.
   *
   * @throws {InboxError} if the inbox is not there, or something else has the name.
   */
  async make(directory: string): Promise<void> {
    if (!this.#isThere()) throw isGone(this.path);
    const path = join(this.path, directory);
    const info = lstatOrNull(path);
    const problem = problemOf(path, info);
    if (problem !== null) throw new InboxError(problem);
    if (info === null) {
      Deno.mkdirSync(path, { recursive: true, mode: 0o700 });
      const syncing = syncIfPossible(this.path).finally(() => this.#syncing.delete(syncing));
      this.#syncing.add(syncing);
    }
    // Another request may have made it in this moment.
    await Promise.all(this.#syncing);
  }

  /** Records whose a directory will be, unless that is recorded. */
  async #record(ownership: Ownership): Promise<void> {
    await Deno.mkdir(this.#records, { mode: 0o700 }).catch((error) => {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    });
    const aside = join(this.#records, `.${crypto.randomUUID()}`);
    try {
      const text = `${JSON.stringify(ownership)}\n`;
      await Deno.writeTextFile(aside, text, { createNew: true, mode: 0o600 });
      {
        // Windows syncs only a file that is open for writing.
        using file = await Deno.open(aside, { write: true });
        await file.sync();
      }
      giveNewName(aside, join(this.#records, `owner-${nameKey(ownership.directory)}`));
    } finally {
      await Deno.remove(aside).catch(() => {});
    }
    // After a power failure, files without a record would be nobody's.
    for (const path of [this.#records, this.path]) await syncIfPossible(path);
  }

  async #read(): Promise<Ownership[]> {
    const found: Ownership[] = [];
    for (const each of await namesIn(this.#records)) {
      const [, directory] = OWNER_NAME.exec(each) ?? [];
      if (directory === undefined) continue;
      const text = await Deno.readTextFile(join(this.#records, each));
      try {
        const { id, name, directory: spelled } = JSON.parse(text);
        if (nameKey(spelled) !== directory) throw new Error("of another directory");
        found.push({ id: `${id}`, name: `${name}`, directory: spelled });
      } catch {
        // The record is damaged: its directory belongs to no peer, and no other peer gets it.
        found.push({ id: "", name: "", directory });
      }
    }
    return found;
  }

  /** The names of what is in the inbox, but for what no peer can have caused. */
  async #names(): Promise<string[]> {
    return (await namesIn(this.path)).filter((name) => !FOREIGN_NAMES.test(name));
  }
}

function isGone(path: string): InboxError {
  return new InboxError(`${path}, which is served, is not there; is its disk mounted?`);
}

const MAX_NAME_LENGTH = 63;

/** The name of a peer, or the name with `-2`, `-3` and so on, shortened to fit. */
function freeName(name: string, taken: ReadonlySet<string>): string {
  let free = name;
  for (let number = 2; taken.has(nameKey(free)); number++) {
    const suffix = `-${number}`;
    free = name.slice(0, MAX_NAME_LENGTH - suffix.length) + suffix;
  }
  return free;
}

/** The names in a directory; none if it is missing. */
async function namesIn(path: string): Promise<string[]> {
  try {
    return await Array.fromAsync(Deno.readDir(path), ({ name }) => name);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

function lstatOrNull(path: string): Deno.FileInfo | null {
  try {
    return Deno.lstatSync(path);
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

function ownOf({ id, name }: Pick<Peer, "id" | "name">, all: Ownership[]): Ownership | null {
  return all.find((each) => each.id === id && nameKey(each.name) === nameKey(name)) ?? null;
}

/** What is wrong with the directory of a peer, which may be missing; `null` if nothing is. */
function problemOf(path: string, info = lstatOrNull(path)): string | null {
  if (info === null || info.isDirectory) return null;
  const what = info.isSymlink ? "a link, which is not followed" : "not a directory";
  return `${path} is ${what}: put the directory of the peer there, or remove it`;
}
