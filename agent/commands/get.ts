/**
 * `degu get`: files from the share or the inbox of a peer.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import type { Command } from "npm:commander@^15.1.0";
import { download, downloadTree, remoteDigest } from "../../files.ts";
import { addExamples, addPeerOptions, type Run } from "../commands.ts";
import { type Context, openDevice } from "../context.ts";
import { explain, FAILED, Failure, USAGE } from "../failure.ts";
import {
  directoryPathIn,
  filePathIn,
  findLocalTarget,
  type LocalTarget,
  statIfThere,
} from "../local_target.ts";
import { OWN_DIRECTORY, OwnDirectory } from "../own_directory.ts";
import { type RemoteEntry, RemoteFiles } from "../remote_files.ts";
import {
  formatRemotePath,
  isRemotePath,
  parseRemotePath,
  type RemotePath,
} from "../remote_path.ts";
import { type Job, Transfers, type TreeJob } from "../transfers.ts";

interface GetOptions {
  readonly recursive?: boolean;
  readonly inbox?: boolean;
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
    .option("--inbox", "get them from its inbox instead")
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
    ["degu get --inbox laptop:report.pdf", "what was put there"],
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
  const getting = new Getting(target, own, transfers, options.recursive === true);
  const area = options.inbox === true ? "inbox" : "share";
  const note = (text: string) => transfers.note(text);
  for (const [peer, paths] of Map.groupBy(sources, ({ peer }) => peer)) {
    using files = await RemoteFiles.open(context, device, peer, area, { note });
    const jobs: Job[] = [];
    const trees: TreeJob[] = [];
    for (const source of paths) {
      try {
        const found = await files.get(source);
        if (found.kind === "file") jobs.push(getting.planFile(files, source, found));
        else trees.push(await getting.planTree(files, source, found));
      } catch (error) {
        // The others can still be moved.
        if (!(error instanceof Failure) || sources.length === 1) throw error;
        transfers.fail(formatRemotePath(peer, source.names, source.directory), explain(error));
      }
    }
    await transfers.files(files.connections, jobs);
    for (const tree of trees) await transfers.tree(files.connections, tree);
  }
  return transfers.finish();
}

/** Decides what goes where. */
class Getting {
  readonly #target: LocalTarget;
  readonly #own: OwnDirectory;
  readonly #transfers: Transfers;
  readonly #isRecursive: boolean;
  /** What is written by this command: two sources must not have the same name. */
  readonly #taken = new Map<string, string>();

  constructor(
    target: LocalTarget,
    own: OwnDirectory,
    transfers: Transfers,
    isRecursive: boolean,
  ) {
    this.#target = target;
    this.#own = own;
    this.#transfers = transfers;
    this.#isRecursive = isRecursive;
  }

  /** Plans to get a file, unless it is there already. */
  planFile(files: RemoteFiles, source: RemotePath, found: RemoteEntry): Job {
    const { names, size, modified } = found;
    const name = formatRemotePath(source.peer, names);
    if (source.directory) {
      throw new Failure(FAILED, `${name} is a file: leave out the slash at the end`);
    }
    const path = filePathIn(this.#target, names.at(-1)!);
    this.#take(path, name);
    const uri = files.uri(names);
    return {
      name,
      size,
      result: path,
      object: { from: name, to: path },
      move: async (from, options) => {
        await Deno.mkdir(dirname(path), { recursive: true });
        const info = await statIfThere(path);
        if (info?.isFile && info.size === size && info.mtime?.getTime() === modified.getTime()) {
          const { signal } = options;
          if (await remoteDigest(from, uri, { signal }) === await digestOf(path, signal)) {
            return null;
          }
        }
        return await download(from, uri, path, { ...options, modified });
      },
    };
  }

  /** Plans to get a directory. */
  async planTree(files: RemoteFiles, { peer }: RemotePath, found: RemoteEntry): Promise<TreeJob> {
    const { names } = found;
    const sourceName = (path: readonly string[]) => formatRemotePath(peer, [...names, ...path]);
    if (!this.#isRecursive) {
      const shown = formatRemotePath(peer, names, true);
      throw new Failure(FAILED, `${shown} is a directory: get it with -r`);
    }
    const root = await directoryPathIn(this.#target, names.at(-1));
    this.#take(root, sourceName([]));
    await this.#own.check(root);
    return {
      sourceName,
      targetName: (path) => join(root, ...path),
      listsUnchanged: true,
      options: {
        filter: await this.#own.filter(root, (path) => {
          this.#transfers.skip(join(root, ...path), OWN_DIRECTORY);
        }),
      },
      copy: (client, options) => downloadTree(client, files.uri([...names, ""]), root, options),
    };
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

/** The SHA-256 of a file of this device, as 64 lower-case hexadecimal digits. */
async function digestOf(path: string, signal: AbortSignal | undefined): Promise<string> {
  const hash = createHash("sha256");
  using file = await Deno.open(path);
  const buffer = new Uint8Array(524288);
  for (let count; (count = await file.read(buffer)) !== null;) {
    signal?.throwIfAborted();
    hash.update(buffer.subarray(0, count));
  }
  return hash.digest("hex");
}
