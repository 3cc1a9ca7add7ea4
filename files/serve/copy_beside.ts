/**
 * Copying a complete file to a reserved directory beside its target. A rename between two
 * directories of one device can fail with EXDEV: on a file system that joins several disks, and
 * between two mounts of one file system. A rename from a directory to its own parent never does.
 */

import { rmdirSync } from "node:fs";
import { open } from "node:fs/promises";
import type { Session } from "../../server.ts";
import { fileErrorCodeOf } from "../../internal/caught_errors.ts";
import { ignoreRefusal, setMode } from "../disk/files.ts";
import { dirname } from "../../internal/paths.ts";
import type { TemporaryFile } from "../disk/temporary.ts";
import { makeHash } from "../wire/digest.ts";
import { READ_FLAGS, statOpenFile } from "../disk/file_pieces.ts";
import { inUseRefusal } from "../refusal.ts";
import { copyPrefix } from "../wire/reuse.ts";
import type { FileCopy } from "../small_files.ts";
import { checkTrust, type FileRequest } from "./file_request.ts";
import type { UnfinishedUploads } from "./unfinished_uploads.ts";

/**
 * Copies the file after its rename has failed, and syncs the copy; later files of the directory are
 * written beside their targets. The caller names and disposes the copy.
 *
 * @param error The error of the rename.
 * @throws the error of the rename if another reason has caused it.
 */
export async function copyBeside(
  { root, session, uploadDisks }: Pick<FileRequest, "root" | "session" | "uploadDisks">,
  error: unknown,
  { names, modified, digest }: {
    readonly names: readonly string[];
    readonly modified: Date | null;
    /** The SHA-256 of the file; `null` if it is unknown. */
    readonly digest: string | null;
  },
  source: TemporaryFile,
): Promise<FileCopy> {
  if (fileErrorCodeOf(error) !== "EXDEV") throw error;
  const directoryNames = names.slice(0, -1);
  const { existingDirectory, missingDirectories } = root.findParent(directoryNames);
  const { dev } = Deno.lstatSync(dirname(source.path));
  if (dev !== Deno.lstatSync(existingDirectory).dev) throw error;
  const { changedDirectories } = root.makeDirectory(directoryNames);
  const unfinishedUploads = uploadDisks.separate(root.findParent(directoryNames));
  try {
    const copy = await copyTo(unfinishedUploads, source, session, { modified, digest });
    return { temporaryFile: copy, changedDirectories };
  } catch (copyError) {
    for (const path of [unfinishedUploads.path, ...missingDirectories.toReversed()]) {
      // Another request may use the directory.
      ignoreRefusal(() => rmdirSync(path));
    }
    throw copyError;
  }
}

async function copyTo(
  unfinishedUploads: UnfinishedUploads,
  source: TemporaryFile,
  session: Session | undefined,
  { modified, digest }: { readonly modified: Date | null; readonly digest: string | null },
): Promise<TemporaryFile> {
  const { mode } = Deno.lstatSync(source.path);
  // The file may already have a final mode that its owner can't read.
  setMode(source.path, 0o600);
  await using handle = await open(source.path, READ_FLAGS);
  const stats = statOpenFile(handle.fd);
  const { size: length } = stats;
  unfinishedUploads.checkSpace(session, null, length, 0);
  unfinishedUploads.makeDirectory();
  const { newMode, hasOwnMode } = source;
  const copy = unfinishedUploads.create({
    newMode,
    hasOwnMode,
    mode: newMode === null ? (mode ?? 0o600) & 0o777 : 0o600,
    isLocked: true,
  });
  try {
    const hash = makeHash();
    const readError = (cause?: unknown) =>
      cause instanceof Error ? cause : inUseRefusal(`${source.path} has changed`);
    const { signal } = session ?? {};
    await copyPrefix(handle, copy, { length, hash, signal, readError });
    if (digest !== null && hash.digest("hex") !== digest) throw readError();
    if (modified !== null) await copy.setModified(modified);
    await copy.sync();
    await checkTrust(session);
    return copy;
  } catch (error) {
    copy[Symbol.dispose]();
    throw error;
  }
}
