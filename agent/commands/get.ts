import { resolve } from "../paths.ts";
import { checkSettled, type Context, STDIO } from "../command.ts";
import { formatShellCommand, formatSpaceAdvice } from "../shell_command.ts";
import { openDevice } from "../open_device.ts";
import { Failure } from "../failure.ts";
import { findDirectoryPath, findTarget, makeDownloadJob } from "../download_target.ts";
import { findDeviceDirectory, toLocalPath } from "../local_paths.ts";
import {
  checkPeerHasColon,
  findColonAdvice,
  findLeadingSlashNote,
  hasEnding,
  isRemotePath,
  parseRemotePath,
  parseRemotePaths,
  RemoteFiles,
  type RemotePath,
} from "../remote_files.ts";
import { checkStdoutSource, makeStdoutJob } from "../stream_jobs.ts";
import { type FileJob, type PeerJobs, Transfers } from "../transfers.ts";
import type { TreeJob } from "../tree_copy.ts";

export async function runGet(
  context: Context,
  paths: string[],
  { recursive = false, force = false, inbox = false, settled }: {
    recursive?: boolean;
    force?: boolean;
    inbox?: boolean;
    settled?: number;
  },
): Promise<number> {
  checkSettled(settled, recursive);
  const replace = force;
  const area = inbox ? "inbox" : "either";
  const lastOperand = paths.at(-1)!;
  const hasTarget = !isRemotePath(lastOperand);
  const sourceOperands = hasTarget ? paths.slice(0, -1) : paths;
  if (!hasTarget) checkNoLocalSource(paths);
  if (lastOperand === "/dev/stdout") {
    throw new Failure('"/dev/stdout" is stdout: write -', "USAGE");
  }
  const [source] = sourceOperands;
  if (source !== undefined && hasTarget && paths.length === 2) {
    checkPeerHasColon(source, lastOperand);
  }
  const sources = parseRemotePaths(sourceOperands, hasTarget);
  if (!hasTarget && !recursive && sources.length > 1 && sources.at(-1)!.names.length === 0) {
    throw new Failure(
      `${
        JSON.stringify(lastOperand)
      } is on another device: get the files first, and then put them there`,
      "USAGE",
    );
  }
  if (lastOperand === STDIO) {
    return await getToStdout(context, checkStdoutSource(context, sources, recursive), area);
  }
  if (sources.length === 0) {
    const colonAdvice = findColonAdvice(lastOperand);
    const advice = colonAdvice === null
      ? `write PEER:PATH before ${JSON.stringify(lastOperand)}`
      : `${colonAdvice}; otherwise write PEER:PATH before it`;
    throw new Failure(`what to get? ${advice}`, "USAGE");
  }
  await using device = await openDevice(context);
  const isSingleSource = sources.length === 1;
  // The shell may have split the path of the last source.
  const lastSource = sources.at(-1)!;
  const lastSourceOperand = sourceOperands.at(-1)!;
  const spaceAdvice = hasTarget && /^\w/.test(lastOperand)
    ? formatSpaceAdvice(lastSourceOperand, lastOperand)
    : null;
  const target = await findTarget(
    hasTarget ? toLocalPath(lastOperand) : ".",
    !isSingleSource,
    spaceAdvice === null || !hasEnding(lastSourceOperand)
      ? spaceAdvice
      : `for another path on ${lastSource.peer}, write ${lastSource.peer}:${lastOperand}`,
  );
  const deviceDirectory = await findDeviceDirectory(context.home);
  using transfers = new Transfers(context, "get", deviceDirectory);
  await deviceDirectory.check(target.path);
  transfers.report.note = findLeadingSlashNote(sourceOperands, inbox ? "inbox" : "share");
  using stack = new DisposableStack();
  const peerJobs: PeerJobs[] = [];
  const sourcesByPeer = Map.groupBy(sources, ({ peer }) => peer);
  const isSinglePeer = sourcesByPeer.size === 1;
  // A peer that is offline doesn't count: the others are copied.
  let hasFailedSource = false;
  const addPeerJobs = async (peer: string, peerSources: readonly RemotePath[]) => {
    const files = stack.use(
      await RemoteFiles.open(context, device, peer, area),
    );
    const formatPath = ({ names, mustBeDirectory }: RemotePath) =>
      files.formatName(names, mustBeDirectory);
    const jobs = await transfers.prepare(peerSources, isSingleSource, formatPath, async (
      remotePath,
    ): Promise<FileJob | TreeJob> => {
      const { names, mustBeDirectory } = remotePath;
      const isSplit = spaceAdvice !== null && remotePath === lastSource &&
        await files.find(names) === null &&
        await files.find(parseRemotePath(`${lastSourceOperand} ${lastOperand}`).names) !== null;
      if (isSplit) {
        hasFailedSource = true;
        throw new Failure(`${files.quoteName(names)} does not exist: ${spaceAdvice}`, "USAGE");
      }
      const entry = await files.findOrFail(names, mustBeDirectory);
      const sourceName = files.formatName(entry.names, entry.kind === "directory");
      if (entry.kind === "file") {
        if (mustBeDirectory) {
          throw new Failure(
            `${JSON.stringify(sourceName)} is a file: leave out the slash at the end`,
          );
        }
        const job = makeDownloadJob(files, entry, target, { replace });
        transfers.claimTarget(resolve(job.to), sourceName);
        return job;
      }
      if (!recursive) {
        throw new Failure(`${JSON.stringify(sourceName)} is a directory: get it with -r`);
      }
      const root = await findDirectoryPath(target, entry.names.at(-1));
      transfers.claimTarget(resolve(root), sourceName);
      await deviceDirectory.check(root);
      return { names: entry.names, root, listsUnchanged: true, options: { settled, replace } };
    });
    if (jobs.length < peerSources.length) hasFailedSource = true;
    peerJobs.push([files, jobs]);
  };
  for (const [peer, peerSources] of sourcesByPeer) {
    await transfers.runForPeer(peer, isSinglePeer, () => addPeerJobs(peer, peerSources));
  }
  // Look up every argument before the first copy.
  if (target.isNew && hasFailedSource && peerJobs.some(([, jobs]) => jobs.length > 0)) {
    const directory = formatShellCommand(`${lastOperand}/`);
    throw new Failure(
      `no file is copied into the new directory ${JSON.stringify(lastOperand)}, because a source ` +
        `can't be copied; to copy the others, write ${directory}`,
    );
  }
  await transfers.copy(peerJobs, isSinglePeer);
  const { output } = context;
  // As in `degu get desk:file > file`.
  const mayMeanStdout = isSingleSource && !hasTarget && !recursive && !output.json &&
    !output.streams.stdout.isTerminal();
  if (mayMeanStdout && transfers.report.isUpToDate) {
    output.note("to write the file to stdout, add -");
  }
  return transfers.report.finish();
}

function checkNoLocalSource(operands: readonly string[]): void {
  const { remotePaths = [], localPaths = [] } = Object.groupBy(
    operands,
    (operand) => isRemotePath(operand) ? "remotePaths" : "localPaths",
  );
  const [localPath, ...otherLocalPaths] = localPaths;
  if (localPath === undefined) return;
  const [remotePath] = remotePaths;
  const isUpload = operands.length === 2 && remotePath !== undefined && remotePath.endsWith(":") &&
    !/^\.{1,2}$|\/$/.test(localPath);
  const command = isUpload
    ? formatShellCommand("degu", "put", localPath, remotePath)
    : formatShellCommand("degu", "get", ...remotePaths, localPath);
  const advice = isUpload
    ? `to copy it to ${remotePath.slice(0, -1)}, run "${command}"`
    : otherLocalPaths.length === 0
    ? `the target comes last: "${command}"`
    : "write PEER:PATH for each source, and the target last";
  throw new Failure(`${JSON.stringify(localPath)} is on this device: ${advice}`, "USAGE");
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
    await transfers.copy([[files, [makeStdoutJob(files, entry, output)]]]);
    return transfers.report.finish();
  } finally {
    // The error that ends the command names this peer.
    if (context.peer !== undefined) outerContext.peer = context.peer;
  }
}
