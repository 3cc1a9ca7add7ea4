/**
 * `degu get`: files from the share of a peer.
 *
 * @module
 */

import { basename, dirname } from "node:path";
import type { Command } from "npm:commander@^15.1.0";
import { addExamples, addPeerOptions, type Run } from "../commands.ts";
import { type Context, openDevice } from "../context.ts";
import { downloadJob } from "../download_job.ts";
import { explain, FAILED, Failure, USAGE } from "../failure.ts";
import {
  directoryPathIn,
  filePathIn,
  findLocalTarget,
  LocalDirectories,
  type LocalTarget,
} from "../local_target.ts";
import { OwnDirectory } from "../own_directory.ts";
import { openPeerFiles } from "../peer_files.ts";
import type { RemoteFiles } from "../remote_files.ts";
import {
  formatRemotePath,
  isRemotePath,
  parseRemotePath,
  type RemotePath,
} from "../remote_path.ts";
import { type Job, Transfers } from "../transfers.ts";
import type { TreeEntry } from "../tree.ts";

interface GetOptions {
  readonly recursive?: boolean;
}

/** Adds `degu get`. */
export function addGet(program: Command, run: Run): void {
  const command = program.command("get")
    .summary("get files from what a peer shares")
    .description(
      `Gets files, and with -r directories, from what a peer shares.

A file goes into TARGET if that is a directory or ends with a slash; else TARGET is its new name. A directory \
always goes into TARGET, and keeps its name. Without TARGET that is the current directory. A file of the same name is \
replaced, unless it is the same one (with -r: of the same size and time): then nothing is copied. What was cut is continued by the same command, \
also after Ctrl-C.`,
    )
    .usage("[OPTION]... PEER:PATH... [TARGET]")
    .argument("<path...>", "PEER:PATH of what to get; the last one may be the target")
    .option("-r, --recursive", "get directories with everything in them")
    .action((paths: string[], options: GetOptions, command: Command) =>
      run(command, (context) => get(context, readArguments(paths), options))
    );
  addPeerOptions(command);
  addExamples(command, [
    ["degu get laptop:report.pdf", "into the current directory"],
    [
      "degu get -r laptop:photos/2025 pictures",
      "a directory, as pictures/2025",
    ],
    ["degu get laptop:a.txt laptop:b.txt texts/", "several; the directory is made"],
  ]);
}

interface Arguments {
  readonly sources: readonly RemotePath[];
  readonly target: string;
}

function readArguments(paths: readonly string[]): Arguments {
  const last = paths.at(-1)!;
  const hasTarget = !isRemotePath(last);
  const sources = (hasTarget ? paths.slice(0, -1) : paths).map(parseRemotePath);
  if (sources.length > 0) return { sources, target: hasTarget ? last : "." };
  throw new Failure(USAGE, `what to get? write PEER:PATH before ${JSON.stringify(last)}`);
}

async function get(context: Context, args: Arguments, options: GetOptions): Promise<number> {
  const { sources, target: path } = args;
  await using device = await openDevice(context);
  const target = await findLocalTarget(path, sources.length > 1);
  const own = await OwnDirectory.at(context.home);
  await own.check(target.isDirectory ? target.path : dirname(target.path));
  using transfers = new Transfers(context, "get");
  const isRecursive = options.recursive === true;
  const getting = new Getting(context.signal, target, own, transfers, isRecursive);
  for (const [peerName, paths] of Map.groupBy(sources, ({ peer }) => peer)) {
    const note = (text: string) => transfers.note(text);
    using peer = await openPeerFiles(context, device, peerName, "share", { note });
    const jobs: Job[] = [];
    for (const source of paths) {
      try {
        for (const job of await getting.plan(peer.files, source)) jobs.push(job);
      } catch (error) {
        // The others can still be moved.
        if (!(error instanceof Failure) || sources.length === 1) throw error;
        const { peer: name, names, directory } = source;
        transfers.fail(formatRemotePath(name, names, directory), explain(error));
      }
    }
    await transfers.run(peer.connections, jobs);
  }
  return transfers.finish();
}

/** Decides what goes where. */
class Getting {
  readonly #signal: AbortSignal;
  readonly #target: LocalTarget;
  readonly #own: OwnDirectory;
  readonly #transfers: Transfers;
  readonly #isRecursive: boolean;
  /** What is written by this command: two sources must not have the same name. */
  readonly #taken = new Map<string, string>();

  constructor(
    signal: AbortSignal,
    target: LocalTarget,
    own: OwnDirectory,
    transfers: Transfers,
    isRecursive: boolean,
  ) {
    this.#signal = signal;
    this.#target = target;
    this.#own = own;
    this.#transfers = transfers;
    this.#isRecursive = isRecursive;
  }

  /** The jobs for one source. */
  async plan(files: RemoteFiles, path: RemotePath): Promise<Job[]> {
    const source = await files.find(path.names);
    if (source === null) throw await files.missing(path);
    const shown = formatRemotePath(path.peer, source.names, source.kind === "directory");
    if (source.kind === "file") {
      if (!path.directory) return this.#planFile(files, source, shown);
      throw new Failure(FAILED, `${shown} is a file: leave out the slash at the end`);
    }
    if (this.#isRecursive) return await this.#planDirectory(files, source, path.peer);
    throw new Failure(FAILED, `${shown} is a directory: get it with -r`);
  }

  #planFile(files: RemoteFiles, source: TreeEntry, name: string): Job[] {
    const path = filePathIn(this.#target, source.names.at(-1)!);
    this.#take(path, name);
    const root = dirname(path);
    const directories = new LocalDirectories(root, this.#own);
    const names = [basename(path)];
    const trustsTime = false;
    return [downloadJob({ files, source, name, root, directories, names, trustsTime })];
  }

  async #planDirectory(files: RemoteFiles, source: TreeEntry, peer: string): Promise<Job[]> {
    const root = await directoryPathIn(this.#target, source.names.at(-1));
    await this.#own.check(root);
    const tree = await files.readTree(source.names);
    this.#signal.throwIfAborted();
    const nameOf = (names: readonly string[]) =>
      formatRemotePath(peer, [...source.names, ...names]);
    for (const { names, problem } of tree.failed) this.#transfers.fail(nameOf(names), problem);
    const directories = new LocalDirectories(root, this.#own);
    await this.#make(directories, [], root);
    const jobs: Job[] = [];
    for (const entry of tree.entries) {
      const { names } = entry;
      const name = nameOf(names);
      if (entry.kind === "directory") {
        await this.#make(directories, names, name);
        continue;
      }
      this.#take([root, ...names].join("/"), name);
      const from = { ...entry, names: [...source.names, ...names] };
      const trustsTime = true;
      jobs.push(downloadJob({ files, source: from, name, root, directories, names, trustsTime }));
    }
    return jobs;
  }

  async #make(directories: LocalDirectories, names: readonly string[], name: string) {
    try {
      await directories.make(names);
    } catch (error) {
      this.#transfers.fail(name, explain(error));
    }
  }

  #take(path: string, name: string): void {
    const other = this.#taken.get(path);
    if (other !== undefined) {
      throw new Failure(
        FAILED,
        `${other} has the same name: get the two into different directories`,
      );
    }
    this.#taken.set(path, name);
  }
}
