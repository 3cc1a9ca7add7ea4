/**
 * The two sides of a synchronization: what is read, and what is changed.
 *
 * @module
 */

import { deleteFile, makeDirectory } from "../files.ts";
import { downloadJob } from "./download_job.ts";
import { type Direction, FAILED, Failure } from "./failure.ts";
import { LocalDirectories, statIfThere } from "./local_target.ts";
import { pathBelow, readLocalTree } from "./local_tree.ts";
import type { PeerFiles } from "./peer_files.ts";
import type { OwnDirectory } from "./own_directory.ts";
import { formatRemotePath, type RemotePath } from "./remote_path.ts";
import type { Job } from "./transfers.ts";
import type { Tree, TreeEntry } from "./tree.ts";
import { uploadJob } from "./upload_job.ts";

/** What a synchronization reads and changes. */
export interface SyncSides {
  readonly direction: Exclude<Direction, "delete">;
  readonly source: Tree;
  readonly target: Tree;
  /** What something is called in messages about the source, or the target. */
  sourceName(names: readonly string[]): string;
  targetName(names: readonly string[]): string;
  /** Where two files are: the URI of the one at the peer, and the path of the one here. */
  places(names: readonly string[]): { readonly uri: string; readonly path: string };
  makeDirectory(names: readonly string[]): Promise<void>;
  remove(entry: TreeEntry): Promise<void>;
  copyJob(entry: TreeEntry): Job;
}

const NOTHING: Tree = { entries: [], skipped: [], failed: [] };

/** From a peer to here. */
export async function sidesToHere(
  { files }: PeerFiles,
  from: RemotePath,
  root: string,
  own: OwnDirectory,
  signal: AbortSignal,
): Promise<SyncSides> {
  const found = await files.find(from.names);
  if (found === null) throw await files.missing(from);
  const sourceName = (names: readonly string[]) =>
    formatRemotePath(from.peer, [...found.names, ...names]);
  if (found.kind === "file") {
    throw new Failure(FAILED, `${sourceName([])} is a file: get it with "degu get"`);
  }
  const target = await readLocalRoot(root, own, signal) ?? NOTHING;
  const directories = new LocalDirectories(root, own);
  return {
    direction: "get",
    source: await files.readTree(found.names),
    target,
    sourceName,
    targetName: (names) => pathBelow(root, names),
    places: (names) => ({
      uri: files.uri([...found.names, ...names]),
      path: pathBelow(root, names),
    }),
    makeDirectory: (names) => directories.make(names),
    remove: ({ names }) => Deno.remove(pathBelow(root, names)),
    copyJob: (entry) => {
      const source = { ...entry, names: [...found.names, ...entry.names] };
      const { names } = entry;
      const name = sourceName(names);
      // The plan has compared what there is.
      const trustsTime = false;
      return downloadJob({ files, source, name, root, directories, names, trustsTime });
    },
  };
}

/** From here to a peer. */
export async function sidesToPeer(
  { files, connections, peer }: PeerFiles,
  root: string,
  to: RemotePath,
  own: OwnDirectory,
  signal: AbortSignal,
): Promise<SyncSides> {
  const source = await readLocalRoot(root, own, signal);
  if (source === null) throw new Failure(FAILED, `there is no directory ${JSON.stringify(root)}`);
  if (await files.list([]) === null) throw await files.missing(to);
  const found = await files.find(to.names);
  const top = found?.names ?? to.names;
  const targetName = (names: readonly string[]) => formatRemotePath(peer, [...top, ...names]);
  if (found?.kind === "file") {
    throw new Failure(FAILED, `${targetName([])} is a file: name a directory`);
  }
  const target = found === null ? NOTHING : await files.readTree(top);
  return {
    direction: "put",
    source,
    target,
    sourceName: (names) => pathBelow(root, names),
    targetName,
    places: (names) => ({ uri: files.uri([...top, ...names]), path: pathBelow(root, names) }),
    makeDirectory: async (names) => {
      const uri = files.uri([...top, ...names, ""]);
      await connections.call((connection) => makeDirectory(connection, uri, { signal }));
    },
    remove: async ({ names, kind }) => {
      const all = [...top, ...names, ...(kind === "directory" ? [""] : [])];
      await connections.call((connection) => deleteFile(connection, files.uri(all), { signal }));
    },
    copyJob: (entry) => {
      const names = [...top, ...entry.names];
      const name = targetName(entry.names);
      return uploadJob({
        files,
        source: entry,
        root,
        names,
        name,
        there: null,
        replace: true,
        trustsTime: false,
      });
    },
  };
}

/** Lists a directory that a person has named; `null` if there is none. */
async function readLocalRoot(
  root: string,
  own: OwnDirectory,
  signal: AbortSignal,
): Promise<Tree | null> {
  await own.check(root);
  const info = await statIfThere(root);
  if (info === null) return null;
  if (!info.isDirectory) {
    throw new Failure(FAILED, `${JSON.stringify(root)} is not a directory: sync takes directories`);
  }
  return await readLocalTree(root, own, signal);
}
