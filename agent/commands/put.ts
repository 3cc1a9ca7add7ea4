/**
 * `degu put`: files to the inbox of a peer.
 *
 * @module
 */

import { basename, dirname, join } from "node:path";
import type { Command } from "npm:commander@^15.1.0";
import { upload, uploadTree } from "../../files.ts";
import { addExamples, addPeerOptions, type Run } from "../commands.ts";
import { type Context, nearNames, openDevice } from "../context.ts";
import { alreadyThere, explain, FAILED, Failure, NotMoved, USAGE } from "../failure.ts";
import { statIfThere } from "../local_target.ts";
import { OWN_DIRECTORY, OwnDirectory } from "../own_directory.ts";
import { RemoteFiles } from "../remote_files.ts";
import {
  formatRemotePath,
  isRemotePath,
  parseRemotePath,
  type RemotePath,
} from "../remote_path.ts";
import { type Job, Transfers, type TreeJob } from "../transfers.ts";

interface PutOptions {
  readonly recursive?: boolean;
  readonly force?: boolean;
}

/** Adds `degu put`. */
export function addPut(program: Command, run: Run): void {
  const command = program.command("put")
    .summary("put files into the inbox of a peer")
    .description(
      `Puts files, and with -r directories, into the inbox of a peer.

A file goes into PATH if that is a directory or ends with a slash; else PATH is its new name. A directory always goes \
into PATH, and keeps its name. Without PATH that is the inbox itself. Another file of the same name stays, unless \
--force is given. What was cut is continued by the same command, also after Ctrl-C.`,
    )
    .usage("[OPTION]... FILE... PEER:[PATH]")
    .argument("<path...>", "what to put; the last one is where")
    .option("-r, --recursive", "put directories with everything in them")
    .option("--force", "replace other files of the same name")
    .action((paths: string[], options: PutOptions, command: Command) =>
      run(command, (context) => put(context, readArguments(paths), options))
    );
  addPeerOptions(command);
  addExamples(command, [
    ["degu put report.pdf laptop:", "into its inbox"],
    ["degu put report.pdf laptop:report-2.pdf", "with another name"],
    ["degu put -r photos laptop:", "a directory"],
  ]);
}

interface Arguments {
  readonly sources: readonly string[];
  readonly target: RemotePath;
}

function readArguments(paths: readonly string[]): Arguments {
  const last = paths.at(-1)!;
  const sources = paths.slice(0, -1);
  if (!isRemotePath(last)) {
    throw new Failure(USAGE, `where to? write PEER: behind ${JSON.stringify(last)}`);
  }
  if (sources.length === 0) throw new Failure(USAGE, `what to put? write it before ${last}`);
  const remote = sources.find(isRemotePath);
  if (remote === undefined) return { sources, target: parseRemotePath(last) };
  throw new Failure(
    USAGE,
    `${JSON.stringify(remote)} is on another device: get it first; for a file of this name write ` +
      JSON.stringify(`./${remote}`),
  );
}

async function put(context: Context, args: Arguments, options: PutOptions): Promise<number> {
  const { sources: paths, target } = args;
  await using device = await openDevice(context);
  const own = await OwnDirectory.at(context.home);
  using transfers = new Transfers(context, "put");
  const attempt = async (path: string, step: () => Promise<void>) => {
    try {
      await step();
    } catch (error) {
      // The others can still be moved.
      if (!(error instanceof Failure) || paths.length === 1) throw error;
      transfers.fail(path, explain(error));
    }
  };
  const sources: Source[] = [];
  // What is wrong here is known without the peer.
  for (const path of paths) {
    await attempt(path, async () => void sources.push(await findSource(path, own, options)));
  }
  if (sources.length === 0) return transfers.finish();
  const note = (text: string) => transfers.note(text);
  using files = await RemoteFiles.open(context, device, target.peer, "inbox", { note });
  const found = await findRemoteTarget(files, target, paths.length > 1);
  const putting = new Putting(target.peer, files, found, own, transfers, options.force === true);
  const jobs: Job[] = [];
  const trees: TreeJob[] = [];
  for (const source of sources) {
    await attempt(source.path, async () => {
      if (source.info.isFile) jobs.push(await putting.planFile(source));
      else trees.push(await putting.planTree(source.path));
    });
  }
  await transfers.files(files.connections, jobs);
  for (const tree of trees) await transfers.tree(files.connections, tree);
  return transfers.finish();
}

/** What is to be put. */
interface Source {
  readonly path: string;
  readonly info: Deno.FileInfo;
}

/** Looks at what the command line names; a link is followed. */
async function findSource(
  path: string,
  own: OwnDirectory,
  { recursive }: PutOptions,
): Promise<Source> {
  const info = await statIfThere(path);
  if (info === null) throw await nothingAt(path);
  await own.check(path);
  if (!info.isFile && !info.isDirectory) {
    throw new Failure(FAILED, `${path} is neither a file nor a directory`);
  }
  if (info.isFile || recursive === true) return { path, info };
  throw new Failure(FAILED, `${path} is a directory: put it with -r`);
}

/** The error if there is nothing of a name here: suggests similar names, as far as they may be looked at. */
async function nothingAt(path: string): Promise<Failure> {
  const [parent, name] = [dirname(path), basename(path)];
  const { state } = Deno.permissions.querySync({ name: "read", path: parent });
  const listed = state === "granted" && (await statIfThere(parent))?.isDirectory === true
    ? await Array.fromAsync(Deno.readDir(parent), (entry) => entry.name)
    : [];
  const near = nearNames(name, listed).map((each) => JSON.stringify(join(parent, each)));
  const hint = near.length > 0
    ? `did you mean ${near.join(" or ")}?`
    : "check the name, and the directory that you are in";
  return new Failure(FAILED, `${JSON.stringify(path)} is not there: ${hint}`);
}

/** Where things go at the peer. */
interface RemoteTarget {
  readonly names: readonly string[];
  /** Whether files go into the directory of this name, and keep theirs. */
  readonly isDirectory: boolean;
  /** Whether a file has the name. */
  readonly isFile: boolean;
}

async function findRemoteTarget(
  files: RemoteFiles,
  path: RemotePath,
  several: boolean,
): Promise<RemoteTarget> {
  const { peer, names, directory } = path;
  // Says so if the peer takes no files.
  if (await files.list([]) === null) throw await files.missing(path);
  const there = await files.find(names);
  const isDirectory = directory || several || there?.kind === "directory";
  const isFile = there?.kind === "file";
  if (!isDirectory || !isFile) return { names: there?.names ?? names, isDirectory, isFile };
  throw new Failure(FAILED, `${formatRemotePath(peer, names)} is a file: name a directory`);
}

/** Decides what goes where. */
class Putting {
  readonly #peer: string;
  readonly #files: RemoteFiles;
  readonly #target: RemoteTarget;
  readonly #own: OwnDirectory;
  readonly #transfers: Transfers;
  readonly #replace: boolean;
  /** What is written by this command: two sources must not have the same name. */
  readonly #taken = new Map<string, string>();

  constructor(
    peer: string,
    files: RemoteFiles,
    target: RemoteTarget,
    own: OwnDirectory,
    transfers: Transfers,
    replace: boolean,
  ) {
    this.#peer = peer;
    this.#files = files;
    this.#target = target;
    this.#own = own;
    this.#transfers = transfers;
    this.#replace = replace;
  }

  /** Plans to put a file, unless it is there already. */
  async planFile({ path, info: { size, mtime } }: Source): Promise<Job> {
    const names = this.#target.isDirectory
      ? [...this.#target.names, basename(path)]
      : this.#target.names;
    const name = formatRemotePath(this.#peer, names);
    this.#take(names, path);
    const there = (await this.#files.list(names.slice(0, -1)))?.get(names.at(-1)!) ?? null;
    const replace = this.#replace;
    return {
      name: path,
      size,
      result: name,
      object: { from: path, to: name },
      move: async (to, options) => {
        if (there?.kind === "directory") throw new NotMoved(`a directory is there: ${name}/`);
        const isOther = there !== null && there.size !== size;
        if (isOther && !replace) throw alreadyThere();
        const modified = mtime ?? new Date(0);
        const uri = this.#files.uri(names);
        const result = await upload(to, path, uri, { ...options, replace, modified });
        const wasThere = there !== null && (!replace || (!isOther && result.bytes === 0));
        return wasThere ? null : result;
      },
    };
  }

  /** Plans to put a directory: always below the target, so that the command means the same when it is repeated. */
  async planTree(root: string): Promise<TreeJob> {
    const { names, isFile } = this.#target;
    if (isFile) {
      throw new Failure(
        FAILED,
        `${formatRemotePath(this.#peer, names)} is a file: name a directory`,
      );
    }
    const top = [...names, ...nameOf(root)];
    this.#take(top, root);
    return {
      sourceName: (path) => join(root, ...path),
      targetName: (path) => formatRemotePath(this.#peer, [...top, ...path]),
      listsUnchanged: true,
      options: {
        replace: this.#replace,
        filter: await this.#own.filter(root, (path) => {
          this.#transfers.skip(join(root, ...path), OWN_DIRECTORY);
        }),
      },
      copy: (client, options) => uploadTree(client, root, this.#files.uri([...top, ""]), options),
    };
  }

  #take(names: readonly string[], path: string): void {
    const key = names.join("/");
    const other = this.#taken.get(key);
    if (other !== undefined) {
      throw new Failure(
        FAILED,
        `${path}: ${other} has the same name: put the two into different directories`,
      );
    }
    this.#taken.set(key, path);
  }
}

/** The name of a directory, if it has one: not that which a path like `.` or `/` leads to. */
function nameOf(path: string): string[] {
  const name = basename(path);
  return name === "" || name === "." || name === ".." ? [] : [name];
}
