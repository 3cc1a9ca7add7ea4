import type { Peer } from "@degu/degu/device";
import type { ResponseTuple } from "@degu/degu/server";
import { KEPT_DIRECTORY, RESERVED_DIRECTORY } from "../machine/context.ts";
import { makeNameKey, MAX_NAME_LENGTH } from "../machine/open_device.ts";
import { markInbox, RECORD_NAME_PATTERN } from "../machine/inbox_marker.ts";
import { isNotFound } from "../machine/local_paths.ts";
import { join } from "../machine/paths.ts";
import { explain } from "../words/explain.ts";
import { codeOf, errorCodeOf, findSystemCode } from "../words/error_codes.ts";
import { type ErrorCode, Failure } from "../failure.ts";

/** The permanent owner of a directory, even after `degu forget`. */
interface Ownership {
  readonly id: string;
  readonly name: string;
  readonly directory: string;
}

/** Names that a file manager or the system creates in a directory. */
const SYSTEM_NAMES_PATTERN = /^(\..*|lost\+found)$/s;

/** The peer does not get the reason. */
class InboxError extends Error {}

const SYSTEM_RESPONSES: Partial<Record<ErrorCode, ResponseTuple>> = {
  FULL: [507, "Insufficient Storage", {}, null],
  NOT_PERMITTED: [403, "Forbidden", {}, null],
};

/** The disk of a peer's directory has no hard links, which `--keep` needs. */
const UNSUITABLE_DISK_RESPONSE: ResponseTuple = [403, "Forbidden", {}, null];

/** Returns `null` for the error of a bug. */
export function makeRefusal(
  error: unknown,
): { readonly message: string; readonly response: ResponseTuple } | null {
  if (error instanceof InboxError) {
    // A FilesApp without its directory sends the same response.
    const headers = { "refusal-reason": "root-gone" };
    return { message: error.message, response: [503, "Service Unavailable", headers, null] };
  }
  const response = error instanceof Deno.errors.NotSupported
    ? UNSUITABLE_DISK_RESPONSE
    : SYSTEM_RESPONSES[codeOf(error)] ?? findSystemResponse(error);
  return response === null ? null : { message: explain(error), response };
}

function findSystemResponse(error: unknown): ResponseTuple | null {
  const message = error instanceof Error ? error.message : "";
  const code = `${findSystemCode(message) ?? errorCodeOf(error)}`;
  if (/^(?:EMFILE|ENFILE)$/.test(code)) {
    return [503, "Service Unavailable", { "retry-after": "1" }, null];
  }
  return /^(?:E[A-Z0-9]+|errno \d+)$/.test(code) ? [500, "Internal Server Error", {}, null] : null;
}

export class Inbox {
  readonly path: string;
  readonly #recordsDirectory: string;
  readonly #isPresent: () => boolean;
  readonly #pendingSyncs = new Set<Promise<void>>();

  /** @param path The real path of the inbox, which must exist. */
  constructor(path: string) {
    this.path = path;
    this.#recordsDirectory = join(path, RESERVED_DIRECTORY);
    this.#isPresent = makePresenceCheck(path);
  }

  /**
   * Checks that each entry of the inbox is the directory of a peer. Peers would not see other
   * files, such as the files of an inbox for all.
   */
  async check(): Promise<void> {
    const names = await this.#listNames();
    const ownedKeys = new Set(
      (await this.#readOwnerships()).map(({ directory }) => makeNameKey(directory)),
    );
    for (const name of names) {
      const path = join(this.path, name);
      if (!ownedKeys.has(makeNameKey(name))) {
        const reason = "belongs to no peer: move it out of the inbox, or name another inbox";
        const message = `--inbox: ${JSON.stringify(path)} ${reason}`;
        throw new Failure(message, "ALREADY_EXISTS", { path });
      }
      const problem = findDirectoryProblem(path);
      if (problem !== null) throw new Failure(`--inbox: ${problem}`, null, { path });
    }
  }

  async listDirectories(): Promise<string[]> {
    const paths = (await this.#readOwnerships()).map(({ directory }) => join(this.path, directory));
    return paths.filter((path) => findInfo(path)?.isDirectory);
  }

  /** Returns `null` if no version was kept in the directory of a peer. */
  findKeptDirectory(name: string): string | null {
    const path = join(this.path, name, KEPT_DIRECTORY);
    return findInfo(path)?.isDirectory ? path : null;
  }

  /** Never returns the directory of another device, or a directory with a damaged record. */
  async assignDirectory(peer: Pick<Peer, "id" | "name">): Promise<string> {
    for (;;) {
      if (!this.#isPresent()) throw missingInboxError(this.path);
      const ownerships = await this.#readOwnerships();
      const ownership = ownerships.find(({ id, name }) =>
        id === peer.id && makeNameKey(name) === makeNameKey(peer.name)
      );
      if (ownership !== undefined) return ownership.directory;
      const names = [...ownerships.map(({ directory }) => directory), ...await this.#listNames()];
      const directory = findFreeName(peer.name, new Set(names.map(makeNameKey)));
      // Another process may have recorded the same name, so read again.
      await this.#writeRecord({ id: peer.id, name: peer.name, directory });
    }
  }

  /** Resolves after the inbox directory is synced to the disk. */
  async createDirectory(directory: string): Promise<void> {
    if (!this.#isPresent()) throw missingInboxError(this.path);
    const path = join(this.path, directory);
    const info = findInfo(path);
    const problem = findDirectoryProblem(path, info);
    if (problem !== null) throw new InboxError(problem);
    if (info === null) {
      Deno.mkdirSync(path, { recursive: true, mode: 0o700 });
      const syncEnded = syncDirectory(this.path).finally(() =>
        this.#pendingSyncs.delete(syncEnded)
      );
      this.#pendingSyncs.add(syncEnded);
    }
    // Another request may have just created the directory.
    await Promise.all(this.#pendingSyncs);
  }

  async #writeRecord(ownership: Ownership): Promise<void> {
    await markInbox(this.path);
    const temporaryPath = join(this.#recordsDirectory, `.${crypto.randomUUID()}`);
    try {
      const bytes = new TextEncoder().encode(`${JSON.stringify(ownership)}\n`);
      {
        // `Deno.writeTextFile` would also call chmod, which some disks refuse.
        using file = await Deno.open(temporaryPath, { write: true, createNew: true, mode: 0o600 });
        for (let count = 0; count < bytes.length;) count += await file.write(bytes.subarray(count));
        await file.sync();
      }
      renameNoReplace(
        temporaryPath,
        join(this.#recordsDirectory, `owner-${makeNameKey(ownership.directory)}`),
      );
    } finally {
      await Deno.remove(temporaryPath).catch(() => {});
    }
    // After a power failure, files without a record would have no owner.
    for (const path of [this.#recordsDirectory, this.path]) await syncDirectory(path);
  }

  async #readOwnerships(): Promise<Ownership[]> {
    const ownerships: Ownership[] = [];
    for (const recordName of await listNamesIn(this.#recordsDirectory)) {
      const [, directory] = RECORD_NAME_PATTERN.exec(recordName) ?? [];
      if (directory === undefined) continue;
      const path = join(this.#recordsDirectory, recordName);
      // Unlike readTextFile, lstat names the path if this user may not enter the directory.
      await Deno.lstat(path);
      const text = await Deno.readTextFile(path);
      try {
        const { id, name, directory: directoryName } = JSON.parse(text);
        if (makeNameKey(directoryName) !== directory) throw new Error("of another directory");
        ownerships.push({ id: `${id}`, name: `${name}`, directory: directoryName });
      } catch {
        // The record is damaged: its directory belongs to no peer, and no other peer gets it.
        ownerships.push({ id: "", name: "", directory });
      }
    }
    return ownerships;
  }

  async #listNames(): Promise<string[]> {
    return (await listNamesIn(this.path)).filter((name) => !SYSTEM_NAMES_PATTERN.test(name));
  }
}

function missingInboxError(path: string): InboxError {
  return new InboxError(`the served directory ${path} is missing; is its disk mounted?`);
}

function findFreeName(name: string, usedNames: ReadonlySet<string>): string {
  let candidate = name;
  for (let number = 2; usedNames.has(makeNameKey(candidate)); number++) {
    const suffix = `-${number}`;
    candidate = name.slice(0, MAX_NAME_LENGTH - suffix.length) + suffix;
  }
  return candidate;
}

async function listNamesIn(path: string): Promise<string[]> {
  try {
    return await Array.fromAsync(Deno.readDir(path), ({ name }) => name);
  } catch (error) {
    if (isNotFound(error)) return [];
    throw error;
  }
}

function findInfo(path: string): Deno.FileInfo | null {
  try {
    return Deno.lstatSync(path);
  } catch (error) {
    if (isNotFound(error)) return null;
    throw error;
  }
}

function findDirectoryProblem(path: string, info = findInfo(path)): string | null {
  if (info === null || info.isDirectory) return null;
  const kindText = info.isSymlink ? "a link, which is not followed" : "not a directory";
  return `${JSON.stringify(path)} is ${kindText}`;
}

/**
 * The mount point of an unmounted disk has another device and another inode; a disk that is mounted
 * again may have another device.
 */
function makePresenceCheck(path: string): () => boolean {
  const { dev, ino } = Deno.lstatSync(path);
  return () => {
    try {
      const info = Deno.lstatSync(path);
      return info.isDirectory && (info.dev === dev || info.ino === ino);
    } catch (error) {
      return error instanceof Deno.errors.NotCapable;
    }
  };
}

/** Renames a file, unless the new path exists: of several processes, one succeeds. */
function renameNoReplace(oldPath: string, newPath: string): void {
  try {
    Deno.linkSync(oldPath, newPath);
  } catch {
    // On a disk without hard links, another process may create the path after this check.
    if (findInfo(newPath) === null) Deno.renameSync(oldPath, newPath);
  }
}

/** The codes of file systems that can't sync a directory. */
const UNSYNCABLE_CODES: ReadonlySet<string> = new Set([
  ...["EINVAL", "EROFS", "EBADF", "ENOSYS", "ENOTSUP", "EOPNOTSUPP"],
]);

async function syncDirectory(path: string): Promise<void> {
  // Windows can't open directories.
  if (Deno.build.os === "windows") return;
  try {
    using directory = await Deno.open(path);
    await directory.sync();
  } catch (error) {
    const isIgnored = isNotFound(error) || error instanceof Deno.errors.PermissionDenied ||
      UNSYNCABLE_CODES.has(`${errorCodeOf(error)}`);
    if (!isIgnored) throw error;
  }
}
