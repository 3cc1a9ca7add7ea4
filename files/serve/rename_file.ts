import { findDeletionProblem, retryReplace } from "../disk/names.ts";
import type { RenamedFile } from "../wire/bundle.ts";
import { formatStamp, stampOfStats } from "../wire/conditions.ts";
import { areFileNames } from "../wire/file_name.ts";
import { isUnchanged, type OpenFile } from "../disk/file_pieces.ts";
import { Refusal } from "../refusal.ts";
import { checkTrust, type FileRequest } from "./file_request.ts";
import { openServedFile } from "./resolve_path.ts";

interface Renaming {
  /** False if an earlier request has renamed the file, and its response was lost. */
  readonly isRenamed: boolean;
  readonly changedDirectories: readonly string[];
}

/**
 * Renames a file whose content the client has, in place of receiving the file and deleting the old
 * name. No entry is replaced.
 *
 * @throws {Refusal} if the file can't be renamed, so that the client sends it; the error of the
 * file system.
 */
export async function renameFile(
  fileRequest: FileRequest,
  { path, from, sha256, seen: [size, modified] }: RenamedFile,
): Promise<Renaming> {
  const { root, session, target, write } = fileRequest;
  const problem = findDeletionProblem();
  if (problem !== null) throw new Refusal(403, problem);
  if (write === "add") throw new Refusal(403, "this app only adds files");
  const [oldNames, newNames] = [from, path].map((names) => [...target.names, ...names]);
  if (!areFileNames(oldNames!) || !areFileNames(newNames!)) {
    throw new Refusal(404, "a name that no file can have");
  }
  const stamp = formatStamp(size, modified);
  const find = async (names: readonly string[]): Promise<OpenFile["stats"] | null> => {
    const file = await openServedFile(root, names);
    if (file === null || file === "directory") return null;
    // Windows can't rename an open file.
    await using _handle = file.handle;
    const isListed = stampOfStats(file.stats) === stamp &&
      await fileRequest.digestCache.findOrCompute(file, session?.signal) === sha256;
    return isListed ? file.stats : null;
  };
  const stats = await find(oldNames!);
  if (stats === null) {
    const isAtNewName = await find(newNames!) !== null;
    // Another client may have created the new name while the old file changed.
    if (isAtNewName && root.findFile(oldNames!).existing === null) {
      return { isRenamed: false, changedDirectories: [] };
    }
    throw new Refusal(412, "the file is not the version that the client has listed");
  }
  await checkTrust(session);
  const checkUnchanged = (existing: Deno.FileInfo | null) => {
    if (existing !== null && isUnchanged(existing, stats)) return;
    throw new Refusal(409, "the file changed during the request");
  };
  const changedDirectories = await retryReplace(() =>
    root.rename(oldNames!, newNames!, checkUnchanged)
  );
  return { isRenamed: true, changedDirectories };
}
