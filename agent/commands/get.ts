import { dirname } from "node:path";
import { resolve } from "../machine/paths.ts";
import { type Context, STDIO } from "../machine/context.ts";
import { checkSettled, type FileCopyOptions } from "../command.ts";
import { openDevice } from "../machine/open_device.ts";
import { Failure } from "../failure.ts";
import { findDirectoryPath, findTarget, makeDownloadJob } from "../copy/download_target.ts";
import { checkOutsideInbox } from "../machine/inbox_marker.ts";
import { findDeviceDirectory, toLocalPath } from "../machine/local_paths.ts";
import {
  checkNotReserved,
  isRemotePath,
  makeWrongSideFailure,
  parseRemotePaths,
  RemoteFiles,
  type RemotePath,
} from "../peer/remote_files.ts";
import { checkStdoutSource, makeStdoutJob } from "../copy/stream_jobs.ts";
import { type FileJob, Transfers } from "../copy/transfers.ts";
import type { TreeJob } from "../copy/tree_copy.ts";

export async function runGet(
  context: Context,
  paths: string[],
  { recursive = false, force: replace = false, inbox = false, settled }: FileCopyOptions,
): Promise<number> {
  checkSettled(settled, recursive);
  const area = inbox ? "inbox" : "either";
  const lastOperand = paths.at(-1)!;
  const hasTarget = !isRemotePath(lastOperand);
  const sourceOperands = hasTarget ? paths.slice(0, -1) : paths;
  const local = hasTarget ? undefined : paths.find((each) => !isRemotePath(each));
  if (local !== undefined) throw makeWrongSideFailure(local, "degu put copies to a peer");
  const sources = parseRemotePaths(sourceOperands);
  if (lastOperand === STDIO) {
    return await getToStdout(context, checkStdoutSource(context, sources, recursive), area);
  }
  if (sources.length === 0) {
    throw new Failure(
      `what to get? write PEER:PATH before ${JSON.stringify(lastOperand)}`,
      "USAGE",
    );
  }
  await using device = await openDevice(context);
  const isSingleSource = sources.length === 1;
  const target = await findTarget(hasTarget ? toLocalPath(lastOperand) : ".", !isSingleSource);
  const deviceDirectory = await findDeviceDirectory(context.home);
  using transfers = new Transfers(context, "get", deviceDirectory);
  await deviceDirectory.check(target.path);
  await checkOutsideInbox(target.isDirectory ? target.path : dirname(target.path));
  using files = await RemoteFiles.open(context, device, sources[0]!.peer, area);
  const formatPath = ({ names, mustBeDirectory }: RemotePath) =>
    files.formatName(names, mustBeDirectory);
  const findJob = async ({ names, mustBeDirectory }: RemotePath): Promise<FileJob | TreeJob> => {
    const entry = await files.findOrFail(names, mustBeDirectory);
    const sourceName = files.formatName(entry.names, entry.kind === "directory");
    if (entry.kind === "file") {
      if (mustBeDirectory) throw await files.makeMissingFailure(names, true);
      const job = makeDownloadJob(files, entry, target, { replace });
      transfers.claimTarget(resolve(job.to), sourceName);
      return job;
    }
    if (!recursive) {
      throw new Failure(`${JSON.stringify(sourceName)} is a directory: get it with -r`);
    }
    checkNotReserved(entry.names.slice(-1), sourceName);
    const root = await findDirectoryPath(target, entry.names.at(-1));
    transfers.claimTarget(resolve(root), sourceName);
    await deviceDirectory.check(root);
    await checkOutsideInbox(root);
    return { names: entry.names, root, listsUnchanged: true, options: { settled, replace } };
  };
  await transfers.copy(
    files,
    await transfers.prepare(sources, isSingleSource, formatPath, findJob),
  );
  return transfers.report.finish();
}

async function getToStdout(
  outerContext: Context,
  source: RemotePath,
  area: "inbox" | "either",
): Promise<number> {
  const { output } = outerContext;
  const context: Context = { ...outerContext, output: output.withResultsOnStderr() };
  try {
    await using device = await openDevice(context);
    const deviceDirectory = await findDeviceDirectory(context.home);
    using transfers = new Transfers(context, "get", deviceDirectory);
    using files = await RemoteFiles.open(context, device, source.peer, area);
    const entry = await files.findOrFail(source.names, source.mustBeDirectory);
    const name = files.quoteName(entry.names);
    if (entry.kind === "directory") {
      throw new Failure(
        `${name} is a directory: name a file, or a directory to copy it to, with -r`,
      );
    }
    if (source.mustBeDirectory) throw await files.makeMissingFailure(source.names, true);
    await transfers.copy(files, [makeStdoutJob(files, entry, output)]);
    return transfers.report.finish();
  } finally {
    // The error that ends the command names this peer.
    if (context.peer !== undefined) outerContext.peer = context.peer;
  }
}
