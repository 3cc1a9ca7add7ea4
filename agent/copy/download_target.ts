import { dirname } from "node:path";
import { describeNameProblem, download, type DownloadOptions } from "@degu/degu/files/client";
import { join, resolve } from "../machine/paths.ts";
import { Failure } from "../failure.ts";
import { describeDirectoryObstacle, ignoreNotFound } from "../machine/local_paths.ts";
import type { RemoteEntry, RemoteFiles } from "../peer/remote_files.ts";
import { formatShellCommand } from "../terminal/shell_command.ts";
import type { FileJob } from "./transfers.ts";

interface LocalTarget {
  readonly path: string;
  readonly isDirectory: boolean;
}

export async function findTarget(
  path: string,
  hasSeveralSources: boolean,
): Promise<LocalTarget> {
  // With all permissions, Deno passes a trailing slash to the system, which then finds no file.
  const info = await ignoreNotFound(Deno.stat(resolve(path)));
  if (info === null && (await ignoreNotFound(Deno.lstat(resolve(path))))?.isSymlink) {
    throw new Failure(
      `${JSON.stringify(path)} is a symbolic link to a file that does not exist`,
      "ALREADY_EXISTS",
    );
  }
  if (info !== null && !info.isFile && !info.isDirectory) {
    throw new Failure(`${JSON.stringify(path)} is not a regular file`, "ALREADY_EXISTS");
  }
  const isDirectory = info?.isDirectory || hasSeveralSources || path.endsWith("/");
  if (isDirectory && info?.isDirectory === false) throw notDirectoryFailure(path);
  const parent = dirname(path);
  const parentInfo = info === null ? await ignoreNotFound(Deno.stat(parent)) : null;
  if (parentInfo?.isDirectory === false) throw notDirectoryFailure(parent);
  if (info === null && parentInfo === null) throw await makeMissingTargetFailure(parent);
  return { path, isDirectory };
}

export async function makeMissingTargetFailure(path: string): Promise<Failure> {
  const problem = await describeDirectoryObstacle(path) ??
    `there is no directory ${JSON.stringify(path)} on this device: ` +
      formatShellCommand("mkdir", "-p", path);
  return new Failure(problem, "NOT_FOUND", { path });
}

/**
 * The copy is always below the target, so repeating a command has the same result. The target can
 * be a link; a directory below the target can't.
 */
export async function findDirectoryPath(
  { path }: LocalTarget,
  name: string | undefined, // `undefined` for the whole share
): Promise<string> {
  const targetPath = name === undefined ? path : makeEntryPath(path, name);
  if (name !== undefined && (await ignoreNotFound(Deno.lstat(targetPath)))?.isSymlink) {
    throw new Failure(
      `${JSON.stringify(targetPath)} is a symbolic link, which is not followed below the target`,
      "ALREADY_EXISTS",
    );
  }
  for (const checkedPath of new Set([path, targetPath])) {
    if ((await ignoreNotFound(Deno.stat(checkedPath)))?.isDirectory === false) {
      throw notDirectoryFailure(checkedPath);
    }
  }
  return targetPath;
}

export function makeEntryPath(directory: string, name: string): string {
  const problem = describeNameProblem(name, directory);
  if (problem === null) return join(directory, name);
  throw new Failure(
    `the disk can't hold the name ${JSON.stringify(name)}: it ${problem}`,
    "BAD_NAME",
  );
}

function notDirectoryFailure(path: string): Failure {
  return new Failure(`${JSON.stringify(path)} is not a directory`, "ALREADY_EXISTS");
}

export function makeDownloadJob(
  files: RemoteFiles,
  { names, size }: Pick<RemoteEntry, "names" | "size">,
  target: LocalTarget,
  downloadOptions: Pick<DownloadOptions, "replace" | "serverName" | "modeMask">,
): FileJob {
  const path = target.isDirectory ? makeEntryPath(target.path, names.at(-1)!) : target.path;
  // Don't follow a link in a directory: a peer may have chosen the name.
  const followLink = !target.isDirectory;
  const uri = files.makeUri(names);
  return {
    from: files.formatName(names),
    to: path,
    size,
    copy: async (pool, options) => {
      await Deno.mkdir(dirname(path), { recursive: true });
      const info = await ignoreNotFound(Deno.stat(path));
      if (info?.isDirectory && (followLink || !(await Deno.lstat(path)).isSymlink)) {
        throw new Failure(`${JSON.stringify(path)} is a directory`, "ALREADY_EXISTS");
      }
      const result = await download(pool, uri, path, {
        ...options,
        ...downloadOptions,
        followLink,
      });
      return { ...result, isUnchanged: info?.size === size && result.bytes === 0 };
    },
  };
}
