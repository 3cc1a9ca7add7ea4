import type { TreeEntry } from "@degu/degu/files";
import { type Context, STDIO } from "../machine/context.ts";
import { checkDeletedInbox, checkDeleting } from "../peer/deletions.ts";
import { openDevice } from "../machine/open_device.ts";
import { findPeer } from "../peer/peer_client.ts";
import { Failure } from "../failure.ts";
import { IgnoreList, isIgnoreFile } from "../copy/ignore_list.ts";
import { checkOutsideInbox } from "../machine/inbox_marker.ts";
import {
  checkMirrorTarget,
  describeDirectoryObstacle,
  describeMissingDirectory,
  findDeviceDirectory,
  ignoreNotFound,
  toLocalPath,
} from "../machine/local_paths.ts";
import {
  checkNotReserved,
  describeUncopiedEntry,
  parseRemotePath,
  parseSyncOperands,
  RemoteFiles,
  type RemotePath,
} from "../peer/remote_files.ts";
import type { Output } from "../terminal/output.ts";
import { isDirectory } from "../copy/tree_copy.ts";
import { Transfers } from "../copy/transfers.ts";

export interface SyncOptions {
  readonly checksum?: boolean;
  readonly create?: boolean;
  readonly delete?: boolean;
  readonly deleteAll?: boolean;
  readonly dryRun?: boolean;
  readonly every?: number;
  readonly exclude?: readonly string[];
  /** Gets the patterns that have matched nothing; `null` after the first run. */
  readonly firstOutput?: Output | null;
  readonly inbox?: boolean;
  readonly keep?: number;
  readonly move?: boolean;
  readonly settled?: number;
}

export async function sync(
  context: Context,
  from: string,
  to: string,
  options: SyncOptions,
): Promise<number> {
  if (from === STDIO || to === STDIO) {
    throw new Failure("- is no directory: sync copies directories; use put or get", "USAGE");
  }
  const { isDownload, remote, local } = parseSyncOperands(from, to);
  const remotePath = parseRemotePath(remote);
  const root = toLocalPath(local);
  const { delete: mayDelete = false, deleteAll = false, dryRun = false, every } = options;
  if (deleteAll && !mayDelete) {
    throw new Failure("--delete-all has an effect only with --delete: leave it out", "USAGE");
  }
  if (options.delete) checkDeleting("--delete");
  if (options.move) checkDeleting("--move");
  checkMove(options, remotePath.peer, isDownload);
  if (!isDownload) checkDeletedInbox(remotePath, options);
  const localUse = options.keep !== undefined
    ? "--keep is for what sync replaces and deletes"
    : options.create === false
    ? "--no-create is for a directory"
    : null;
  if (localUse !== null && !isDownload) {
    const { peer } = remotePath;
    const advice = options.keep === undefined ? "" : `: use degu serve --keep on ${peer}`;
    throw new Failure(`${localUse} on this device, and not on ${peer}${advice}`, "USAGE");
  }
  if (every === undefined) return await syncOnce(context, remotePath, root, isDownload, options);
  if (dryRun) throw new Failure("--dry-run is for a single run: leave out --every", "USAGE");
  const { repeatRuns } = await import("../copy/repeat_runs.ts");
  // A later run may need these modules when an upgrade has replaced or removed their files.
  await import("../copy/exclude_pattern.ts");
  {
    // A missing device or peer would fail in every run.
    await using device = await openDevice(context);
    await findPeer(device, remotePath.peer);
  }
  const deletion = mayDelete ? `, deleting what ${from} doesn't have` : "";
  context.output.note(
    `${options.move ? "moving the" : "copying new and changed"} files of ${from} to ${to}` +
      `${deletion}: the next run begins ${every} s after each run, until Ctrl-C`,
  );
  let firstInfo: Deno.FileInfo | null = null;
  let firstOutput: Output | null = context.output;
  const runOnce = async (runContext: Context) => {
    const info = await ignoreNotFound(Deno.stat(root));
    firstInfo ??= info;
    // A disk that is mounted again may have another device, but it has the same inodes.
    if (info !== null && info.dev !== firstInfo!.dev && info.ino !== firstInfo!.ino) {
      const problem = `${JSON.stringify(root)} is on another disk than in the first run`;
      throw new Failure(`${problem}: is its disk mounted?`, "NOT_FOUND", { path: root });
    }
    const exitCode = await syncOnce(runContext, remotePath, root, isDownload, {
      ...options,
      create: false,
      firstOutput,
    });
    firstOutput = null;
    return exitCode;
  };
  return await repeatRuns(context, every, runOnce);
}

async function syncOnce(
  context: Context,
  remotePath: RemotePath,
  root: string,
  isDownload: boolean,
  syncOptions: SyncOptions,
): Promise<number> {
  const { checksum = false, delete: mayDelete = false, dryRun = false, exclude = [] } = syncOptions;
  const { deleteAll = false, inbox = false, move = false, settled } = syncOptions;
  const { create = true, firstOutput = context.output, keep } = syncOptions;
  await using device = await openDevice(context);
  const deviceDirectory = await findDeviceDirectory(context.home);
  await deviceDirectory.check(root);
  if (isDownload) await checkOutsideInbox(root);
  if (mayDelete && isDownload) await checkMirrorTarget(root, context.home);
  using transfers = new Transfers(context, isDownload ? "get" : "put", deviceDirectory, {
    isDryRun: dryRun,
  });
  await checkLocal(root, isDownload, create);
  const ignoreList = await IgnoreList.read(root, exclude);
  if (ignoreList.ignoredPeerFile !== null) {
    const problem = "has no effect, because peers can write it: use --exclude";
    context.output.warn(`${JSON.stringify(ignoreList.ignoredPeerFile)} ${problem}`);
  }
  const area = isDownload && !inbox ? "share" : "inbox";
  using files = await RemoteFiles.open(context, device, remotePath.peer, area);
  if (!isDownload && await files.list([]) === null) {
    throw await files.makeMissingFailure(remotePath.names);
  }
  if (!isDownload) checkNotReserved(remotePath.names, files.formatName(remotePath.names));
  const remoteEntry = isDownload
    ? await files.findOrFail(remotePath.names, remotePath.mustBeDirectory)
    : await files.findTarget(remotePath.names);
  const names = remoteEntry?.names ?? remotePath.names;
  if (remoteEntry !== null && remoteEntry.kind !== "directory") {
    const kindText = remoteEntry.kind === "file"
      ? "a file, not a directory"
      : describeUncopiedEntry(remoteEntry.reason, files.connections.peer);
    const code = isDownload ? null : "ALREADY_EXISTS";
    throw new Failure(`${files.quoteName(names)} is ${kindText}`, code);
  }
  const isIncluded = (entry: TreeEntry) => {
    const { path } = entry;
    // Keep the ignore list: without it, the next run would move the files that this run skips.
    const isKeptList = move && path.length === 1 && isIgnoreFile(path[0]!);
    return !isKeptList && !ignoreList.isIgnored(path, isDirectory(entry));
  };
  const compare = checksum ? "digest" : "time";
  const options = {
    dryRun,
    settled,
    ...isDownload ? { keep } : {},
    ...move ? { move } : { compare, delete: mayDelete, deleteAll } as const,
  };
  const onPlan = () => ignoreList.checkUnchanged();
  const job = { names, root, listsUnchanged: false, onPlan, isIncluded, options };
  await transfers.copy(files, [job]);
  const exitCode = transfers.report.finish();
  const patterns = ignoreList.unusedPatterns.map((pattern) => JSON.stringify(pattern));
  if (patterns.length > 0) {
    firstOutput?.hint(`patterns without effect in this run: ${patterns.join(", ")}`);
  }
  return exitCode;
}

/** Refuses options that need a list of the second directory, which `--move` does not request. */
function checkMove(options: SyncOptions, peer: string, isDownload: boolean): void {
  if (options.move !== true) return;
  if (isDownload) {
    throw new Failure("--move removes files of this device: write DIR PEER:DIR", "USAGE");
  }
  const [option, reason] = options.delete
    ? ["--delete", `the next run would delete the moved files from ${peer}`]
    : options.checksum
    ? ["--checksum", `--move doesn't compare the files of ${peer}`]
    : [];
  if (option === undefined) return;
  const problem = `--move and ${option} can't be combined, because ${reason}`;
  throw new Failure(`${problem}: leave out one of the two`, "USAGE");
}

async function checkLocal(root: string, isTarget: boolean, mayCreate: boolean): Promise<void> {
  const info = await ignoreNotFound(Deno.stat(root));
  if (info === null) {
    const problem = isTarget && mayCreate
      ? await describeDirectoryObstacle(root)
      : await describeMissingDirectory(root, !mayCreate);
    if (problem === null) return;
    throw new Failure(problem, "NOT_FOUND", { path: root });
  }
  if (info.isDirectory) return;
  const code = isTarget ? "ALREADY_EXISTS" : null;
  throw new Failure(`${JSON.stringify(root)} is not a directory`, code);
}
