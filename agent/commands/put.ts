import { basename } from "node:path";
import { upload } from "@degu/degu/files/client";
import { type Context, STDIO } from "../machine/context.ts";
import { checkSettled, type FileCopyOptions } from "../command.ts";
import { openDevice } from "../machine/open_device.ts";
import { Failure } from "../failure.ts";
import { isInbox } from "../machine/inbox_marker.ts";
import {
  type DeviceDirectory,
  findDeviceDirectory,
  ignoreNotFound,
  makeMissingSourceFailure,
  toLocalPath,
} from "../machine/local_paths.ts";
import {
  checkNotReserved,
  isRemotePath,
  makeWrongSideFailure,
  parseRemotePath,
  RemoteFiles,
  type RemotePath,
} from "../peer/remote_files.ts";
import { checkStreamSources, findStreamSource, makeStreamUploadJob } from "../copy/stream_jobs.ts";
import { type FileJob, Transfers } from "../copy/transfers.ts";

export async function runPut(
  context: Context,
  paths: string[],
  { recursive = false, force = false, settled }: FileCopyOptions,
): Promise<number> {
  checkSettled(settled, recursive);
  const target = await parseTarget(paths);
  const sourceOperands = paths.slice(0, -1);
  checkStreamSources(sourceOperands, target, paths.at(-1)!);
  const isSingleSource = sourceOperands.length === 1;
  await using device = await openDevice(context);
  const deviceDirectory = await findDeviceDirectory(context.home);
  using transfers = new Transfers(context, "put", deviceDirectory);
  // A progress bar would be drawn over the text that the user types.
  const { stdin } = context.output.streams;
  if (sourceOperands.includes(STDIO) && stdin.isTerminal()) transfers.report.hideProgress();
  // Check the local arguments before the first request.
  const findLocalSource = async (operand: string) => {
    const path = toLocalPath(operand);
    const streamSource = await findStreamSource(context.output, path);
    if (streamSource !== null) return streamSource;
    const source = await findSource(path, deviceDirectory, recursive);
    // A shell also writes the inbox in place of a wildcard.
    if (!isSingleSource && source.info.isDirectory && await isInbox(path)) {
      const problem = "is an inbox, whose files of other devices are also sent";
      context.output.warn(`${JSON.stringify(path)} ${problem}`);
    }
    return source;
  };
  const sources = await transfers.prepare(sourceOperands, isSingleSource, String, findLocalSource);
  if (sources.length === 0) return transfers.report.finish();
  using files = await RemoteFiles.open(context, device, target.peer, "inbox");
  // Report that the peer has no inbox, not that the directory is missing.
  if (await files.list([]) === null) throw await files.makeMissingFailure(target.names);
  const targetEntry = await files.findTarget(target.names);
  const targetNames = targetEntry?.names ?? target.names;
  const isTargetFile = targetEntry?.kind === "file";
  const notDirectoryFailure = new Failure(
    `${files.quoteName(targetNames)} is a file, not a directory`,
    "ALREADY_EXISTS",
  );
  const isTargetDirectory = target.mustBeDirectory || !isSingleSource ||
    targetEntry?.kind === "directory";
  if (isTargetDirectory && isTargetFile) throw notDirectoryFailure;
  const jobs = await transfers.prepare(
    sources,
    isSingleSource,
    ({ path }) => path,
    async (source) => {
      const { path } = source;
      const isDirectory = "info" in source && source.info.isDirectory;
      if (isDirectory && isTargetFile) throw notDirectoryFailure;
      const fileName = "info" in source ? basename(path) : source.name;
      // The copy of a directory is always below the target, so repeating has the same result.
      const addedNames = isDirectory
        ? listBaseName(path)
        : isTargetDirectory && fileName !== null
        ? [fileName]
        : [];
      const names = [...targetNames, ...addedNames];
      checkNotReserved(names, files.formatName(names));
      transfers.claimTarget(`/${names.join("/")}`, path);
      const existingEntry = await files.findTarget(names);
      if ("open" in source) {
        return makeStreamUploadJob(context, files, source, names, existingEntry, force);
      }
      if (isDirectory) {
        if (existingEntry?.kind === "file") {
          throw new Failure(
            `${files.quoteName(existingEntry.names)} is a file: copy the directory to another path`,
            "ALREADY_EXISTS",
          );
        }
        if (targetNames.length > 0 && names.at(-1) === targetNames.at(-1)) {
          context.output.note(`copying ${path} to ${files.formatName(names, true)}`);
        }
        const options = { replace: force, settled };
        return { names, root: path, listsUnchanged: true, options };
      }
      return await makeUploadJob(files, source, names, force);
    },
  );
  await transfers.copy(files, jobs);
  return transfers.report.finish();
}

async function parseTarget(paths: readonly string[]): Promise<RemotePath> {
  const target = paths.at(-1)!;
  const sources = paths.slice(0, -1);
  const remote = sources.find(isRemotePath);
  if (remote !== undefined) {
    if (await Deno.lstat(remote).catch(() => null) !== null) {
      const problem = `is read as PEER:PATH, and ./${remote} as a file`;
      throw new Failure(`${JSON.stringify(remote)} ${problem}`, "USAGE");
    }
    const hasSeveralTargets = isRemotePath(target) && !sources.every(isRemotePath);
    const advice = hasSeveralTargets
      ? "run degu put once for each"
      : "write it last; degu get copies from a peer";
    throw makeWrongSideFailure(remote, advice);
  }
  if (sources.length > 0 || !isRemotePath(target)) return parseRemotePath(target);
  throw new Failure(`what to put? write it before ${target}, or - for stdin`, "USAGE");
}

interface Source {
  readonly path: string;
  readonly info: Deno.FileInfo;
}

async function findSource(
  path: string,
  deviceDirectory: DeviceDirectory,
  recursive: boolean,
): Promise<Source> {
  const info = await ignoreNotFound(Deno.stat(path));
  if (info === null) throw await makeMissingSourceFailure(path);
  await deviceDirectory.check(path);
  if (!info.isFile && !info.isDirectory) {
    throw new Failure(`${JSON.stringify(path)} is neither a file nor a directory`);
  }
  if (info.isFile || recursive) return { path, info };
  throw new Failure(`${JSON.stringify(path)} is a directory: put it with -r`);
}

async function makeUploadJob(
  files: RemoteFiles,
  { path, info: { size } }: Source,
  names: readonly string[],
  force: boolean,
): Promise<FileJob> {
  const name = files.formatName(names);
  const existingEntry = (await files.list(names.slice(0, -1)))?.get(names.at(-1)!) ?? null;
  let attempts = 0;
  return {
    from: path,
    to: name,
    size,
    copy: async (pool, options) => {
      if (existingEntry?.kind === "directory") {
        const problem = `a directory has this name: ${JSON.stringify(`${name}/`)}`;
        throw new Failure(problem, "ALREADY_EXISTS");
      }
      attempts++;
      const result = await upload(pool, path, files.makeUri(names), {
        ...options,
        replace: force,
      });
      // After a lost response, the peer may have the file because an earlier attempt has sent it.
      const isUnchanged = attempts === 1 && existingEntry?.size === size && result.bytes === 0;
      return { ...result, isUnchanged };
    },
  };
}

function listBaseName(path: string): string[] {
  const name = basename(path);
  return name === "" || name === "." || name === ".." ? [] : [name];
}
