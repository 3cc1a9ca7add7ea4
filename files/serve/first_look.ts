import { awaitUntilAborted } from "../../internal/pause.ts";
import type { RequestedPath } from "../wire/file_name.ts";
import { withTrailingSlash } from "../reserved.ts";

const MAX_AGE_MILLISECONDS = 1000;
const MAX_DIRECTORIES = 1000;

/**
 * The pending lookups of all apps by their path. Requests that wait for the same lookup continue in
 * the order in which they have arrived, and wait in one thread of the runtime.
 */
const pendingLookups = new Map<string, Promise<void>>();

async function lookUp(path: string): Promise<void> {
  try {
    await Deno.lstat(path);
  } catch {
    // The later lookup has the same error.
  } finally {
    pendingLookups.delete(path);
  }
}

/**
 * Looks up directories asynchronously before the synchronous lookups of a request. On a disk that
 * doesn't answer, such as NFS without its server, a lookup can wait for ever: only this request
 * waits then, and not the whole process. Its wait ends with its session.
 *
 * A directory that has just been found isn't looked up again, because an asynchronous lookup takes
 * four times as much processor time as a synchronous one.
 */
export class FirstLook {
  readonly #root: string;
  readonly #answerTimes = new Map<string, number>();

  constructor(root: string) {
    this.#root = root;
  }

  /**
   * Resolves to whether the disk has answered. If the signal is aborted before, the request must
   * not use the disk: the process would wait for it.
   */
  async wait(
    { names, isDirectory }: RequestedPath,
    isDeletion: boolean,
    signal: AbortSignal,
  ): Promise<boolean> {
    const path = this.#pathOf(isDirectory || isDeletion ? names : names.slice(0, -1));
    const answeredAt = this.#answerTimes.get(path) ?? -Infinity;
    if (performance.now() - answeredAt < MAX_AGE_MILLISECONDS) return true;
    try {
      await awaitUntilAborted(pendingLookups.getOrInsertComputed(path, lookUp), signal);
    } catch {
      return false;
    }
    if (this.#answerTimes.size >= MAX_DIRECTORIES) this.#answerTimes.clear();
    this.#answerTimes.set(path, performance.now());
    return true;
  }

  #pathOf(names: readonly string[]): string {
    // Windows has names that must not be looked up, such as those of devices.
    if (names.length === 0 || Deno.build.os === "windows") return this.#root;
    return withTrailingSlash(this.#root) + names.join("/");
  }
}
