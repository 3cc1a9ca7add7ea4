/**
 * `degu rm`: removes from the inbox of a peer.
 *
 * @module
 */

import type { Command } from "npm:commander@^15.1.0";
import { deleteFile, listTree, TransferError, type TreeEntry } from "../../files.ts";
import { addExamples, addPeerOptions, type Run } from "../commands.ts";
import { type Context, openDevice } from "../context.ts";
import { explainTransfer, FAILED, Failure, USAGE } from "../failure.ts";
import { counted } from "../output.ts";
import { REASONS, RemoteFiles } from "../remote_files.ts";
import { formatRemotePath, parseRemotePath, type RemotePath } from "../remote_path.ts";

interface RmOptions {
  readonly recursive?: boolean;
}

/** Adds `degu rm`. */
export function addRm(program: Command, run: Run): void {
  const command = program.command("rm")
    .summary("remove files from the inbox of a peer")
    .description(
      "Removes files, empty directories, and with -r all directories from the inbox of a peer.",
    )
    .argument("<peer:path...>", "what to remove")
    .option("-r, --recursive", "remove directories with everything in them")
    .action((paths: string[], options: RmOptions, command: Command) =>
      run(command, (context) => rm(context, paths.map(readArgument), options))
    );
  addPeerOptions(command);
  addExamples(command, [
    ["degu rm laptop:report.pdf", "what was put there"],
    ["degu rm laptop:photos/1.jpg laptop:photos/", "a file, and then the empty directory"],
    ["degu rm -r laptop:photos", "a directory with everything in it"],
  ]);
}

function readArgument(text: string): RemotePath {
  const path = parseRemotePath(text);
  if (path.names.length > 0) return path;
  throw new Failure(
    USAGE,
    `the inbox itself stays: name what is in it, as "degu ls --inbox ${shown(path)}" lists it`,
  );
}

function shown({ peer, names, directory }: RemotePath): string {
  return formatRemotePath(peer, names, directory);
}

async function rm(
  context: Context,
  paths: readonly RemotePath[],
  { recursive }: RmOptions,
): Promise<number> {
  const { output } = context;
  let exitCode = 0;
  await using device = await openDevice(context);
  for (const [peerName, some] of Map.groupBy(paths, ({ peer }) => peer)) {
    using files = await RemoteFiles.open(context, device, peerName, "inbox", {
      // What is removed already would be missing for the second attempt.
      ...(recursive === true ? {} : { retries: 0 }),
    });
    for (const path of some) {
      try {
        const isTree = recursive === true && (await files.get(path)).kind === "directory";
        if (isTree) await removeTree(context, files, path);
        else await remove(context, files, path);
      } catch (error) {
        // The others can still be removed.
        if (!(error instanceof Failure) || paths.length === 1) throw error;
        const { message } = error;
        output.error(message);
        if (output.json) output.result("", { path: shown(path), error: message });
        exitCode = FAILED;
      }
    }
  }
  return exitCode;
}

async function remove(context: Context, files: RemoteFiles, path: RemotePath): Promise<void> {
  const { signal, output } = context;
  const name = shown(path);
  const uri = files.uri(path.directory ? [...path.names, ""] : path.names);
  try {
    await files.connections.call((connection) => deleteFile(connection, uri, { signal }));
  } catch (error) {
    if (!(error instanceof TransferError)) throw error;
    if (error.status === 404) throw await files.missing(path);
    const problem = error.status === 409
      ? "the directory is not empty: -r removes it with everything in it"
      : explainTransfer(error, "delete");
    throw new Failure(FAILED, `${name}: ${problem}`, { cause: error });
  }
  output.result(name, { removed: name });
}

/** Why a directory stays from which everything was removed that a list shows. */
const IN_USE =
  "there is something new in it, or an upload to it is under way: run the same command again later";

/** Removes a directory with everything in it, the innermost first; what can't be removed stays with its directories. */
async function removeTree(context: Context, files: RemoteFiles, path: RemotePath): Promise<void> {
  const { signal, output } = context;
  const { connections } = files;
  const root = files.uri([...path.names, ""]);
  const entries = await connections.call((connection) =>
    Array.fromAsync(listTree(connection, root, { signal }))
  );
  const staying = new Set<string>();
  let failed = 0;
  const fail = (path: readonly string[], name: string, problem: string) => {
    failed++;
    for (let depth = 0; depth < path.length; depth++) staying.add(path.slice(0, depth).join("/"));
    output.error(`${name}: ${problem}`);
    if (output.json) output.result("", { path: name, error: problem });
  };
  const removeOne = async (
    { path: below, kind, reason }: Pick<TreeEntry, "path" | "kind" | "reason">,
  ) => {
    const names = [...path.names, ...below];
    const name = formatRemotePath(path.peer, names, kind === "directory");
    if (kind === "other") return fail(below, name, `it stays, as it is ${REASONS[reason!]}`);
    if (staying.has(below.join("/"))) return;
    const uri = files.uri(kind === "directory" ? [...names, ""] : names);
    try {
      await connections.call((connection) => deleteFile(connection, uri, { signal }));
    } catch (error) {
      if (!(error instanceof TransferError)) throw error;
      // With 404 it is gone, most likely by an attempt whose answer was lost.
      if (error.status !== 404) {
        const isInUse = error.status === 409;
        return fail(below, name, isInUse ? IN_USE : explainTransfer(error, "delete"));
      }
    }
    output.result(name, { removed: name });
  };
  const levels: (typeof entries)[] = [];
  for (const entry of entries) {
    (levels[entry.kind === "directory" ? entry.path.length : 0] ??= []).push(entry);
  }
  const [rest = [], ...directories] = levels;
  for (const level of [rest, ...directories.reverse()]) {
    await connections.each(level ?? [], removeOne);
  }
  await removeOne({ path: [], kind: "directory" });
  if (failed === 0) return;
  const stays = `${formatRemotePath(path.peer, path.names, true)} stays, with what is named above`;
  throw new Failure(FAILED, `${counted(failed, "error")}: ${stays}`);
}
