/**
 * `degu put`: files to the inbox of a peer.
 *
 * @module
 */

import { basename, dirname, join } from "node:path";
import type { Command } from "npm:commander@^15.1.0";
import { makeDirectory } from "../../files.ts";
import { addExamples, addPeerOptions, type Run } from "../commands.ts";
import { type Context, nearNames, openDevice } from "../context.ts";
import { endsAll, explain, explainTransfer, FAILED, Failure, USAGE } from "../failure.ts";
import { statIfThere } from "../local_target.ts";
import { pathBelow, readLocalTree } from "../local_tree.ts";
import { OwnDirectory } from "../own_directory.ts";
import { openPeerFiles, type PeerFiles } from "../peer_files.ts";
import {
  formatRemotePath,
  isRemotePath,
  parseRemotePath,
  type RemotePath,
} from "../remote_path.ts";
import { type Job, Transfers } from "../transfers.ts";
import { keyOf, leafDirectories } from "../tree.ts";
import { uploadJob } from "../upload_job.ts";

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
  using peer = await openPeerFiles(context, device, target.peer, "inbox", { note });
  const found = await findRemoteTarget(peer, target, paths.length > 1);
  const putting = new Putting(context.signal, peer, found, own, transfers, options);
  const jobs: Job[] = [];
  for (const source of sources) {
    await attempt(source.path, async () => {
      for (const job of await putting.plan(source)) jobs.push(job);
    });
  }
  await transfers.run(peer.connections, jobs);
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
  { files }: PeerFiles,
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
  readonly #signal: AbortSignal;
  readonly #peer: PeerFiles;
  readonly #target: RemoteTarget;
  readonly #own: OwnDirectory;
  readonly #transfers: Transfers;
  readonly #options: PutOptions;
  /** What is written by this command: two sources must not have the same name. */
  readonly #taken = new Map<string, string>();

  constructor(
    signal: AbortSignal,
    peer: PeerFiles,
    target: RemoteTarget,
    own: OwnDirectory,
    transfers: Transfers,
    options: PutOptions,
  ) {
    this.#signal = signal;
    this.#peer = peer;
    this.#target = target;
    this.#own = own;
    this.#transfers = transfers;
    this.#options = options;
  }

  /** The jobs for one source. */
  async plan({ path, info: { isFile, size, mtime } }: Source): Promise<Job[]> {
    if (!isFile) return await this.#planDirectory(path);
    const [root, name] = [dirname(path), basename(path)];
    const source = { names: [name], kind: "file", size, modified: mtime ?? new Date(0) } as const;
    return [await this.#job(root, source, this.#placeFile(name), false)];
  }

  async #planDirectory(root: string): Promise<Job[]> {
    const tree = await readLocalTree(root, this.#own, this.#signal);
    const top = this.#placeDirectory(root);
    for (const { names, problem } of tree.failed) {
      this.#transfers.fail(pathBelow(root, names), problem);
    }
    for (const { names, problem } of tree.skipped) {
      this.#transfers.warn(`${pathBelow(root, names)}: skipped: ${problem}`);
    }
    for (const names of leafDirectories(tree)) await this.#make([...top, ...names]);
    const jobs: Job[] = [];
    for (const entry of tree.entries) {
      if (entry.kind === "directory") continue;
      jobs.push(await this.#job(root, entry, [...top, ...entry.names], true));
    }
    return jobs;
  }

  /** The names of a file at the peer. */
  #placeFile(name: string): readonly string[] {
    const { names, isDirectory } = this.#target;
    return isDirectory ? [...names, name] : names;
  }

  /** The names of a directory at the peer: always below the target, so that the command means the same when repeated. */
  #placeDirectory(path: string): readonly string[] {
    const { names, isFile } = this.#target;
    if (!isFile) return [...names, ...nameOf(path)];
    const shown = formatRemotePath(this.#peer.peer, names);
    throw new Failure(FAILED, `${shown} is a file: name a directory`);
  }

  /** Makes a directory with nothing in it. */
  async #make(names: readonly string[]): Promise<void> {
    const { peer, files, connections } = this.#peer;
    if (names.length === 0 || await files.listIfListed(names) !== null) return;
    const signal = this.#signal;
    try {
      const uri = files.uri([...names, ""]);
      await connections.call((connection) => makeDirectory(connection, uri, { signal }));
    } catch (error) {
      signal.throwIfAborted();
      if (endsAll(error)) throw error;
      this.#transfers.fail(formatRemotePath(peer, names, true), explainTransfer(error, "put"));
    }
  }

  async #job(
    root: string,
    source: Parameters<typeof uploadJob>[0]["source"],
    names: readonly string[],
    trustsTime: boolean,
  ): Promise<Job> {
    const { peer, files } = this.#peer;
    const name = formatRemotePath(peer, names);
    const path = pathBelow(root, source.names);
    const other = this.#taken.get(keyOf(names));
    if (other !== undefined) {
      throw new Failure(
        FAILED,
        `${path}: ${other} has the same name: put the two into different directories`,
      );
    }
    this.#taken.set(keyOf(names), path);
    const there = (await files.listIfListed(names.slice(0, -1)))?.get(names.at(-1)!) ?? null;
    const replace = this.#options.force === true;
    return uploadJob({ files, source, root, names, name, there, replace, trustsTime });
  }
}

/** The name of a directory, if it has one: not that which a path like `.` or `/` leads to. */
function nameOf(path: string): string[] {
  const name = basename(path);
  return name === "" || name === "." || name === ".." ? [] : [name];
}
