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
import { parseRemotePath, type RemotePath } from "../remote_path.ts";

/** Adds `degu rm`. */
export function addRm(program: Command, run: Run): void {
  const command = program.command("rm")
    .summary("remove files from the inbox of a peer")
    .description(
      "Removes files, empty directories, and with -r all directories from the inbox of a peer.",
    )
    .argument("<peer:path...>", "what to remove")
    .option("-r, --recursive", "remove directories with everything in them")
    .action(run(rm));
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
    `the inbox itself stays: name what is in it, as "degu ls --inbox ${path.peer}:" lists it`,
    USAGE,
  );
}

async function rm(
  context: Context,
  given: readonly string[],
  { recursive = false },
): Promise<number> {
  const { output } = context;
  const paths = given.map(readArgument);
  let exitCode = 0;
  await using device = await openDevice(context);
  for (const [peer, some] of Map.groupBy(paths, ({ peer }) => peer)) {
    // What is removed already would be missing for the second attempt.
    using files = await RemoteFiles.open(context, device, peer, "inbox", recursive ? undefined : 0);
    for (const { names, directory } of some) {
      try {
        const isTree = recursive && (await files.get(names)).kind === "directory";
        if (isTree) await removeTree(context, files, names);
        else await remove(context, files, names, directory);
      } catch (error) {
        // The others can still be removed.
        if (!(error instanceof Failure) || paths.length === 1) throw error;
        const { message } = error;
        output.error(message);
        if (output.json) output.result("", { path: files.name(names, directory), error: message });
        exitCode = FAILED;
      }
    }
  }
  return exitCode;
}

async function remove(
  { output, signal }: Context,
  files: RemoteFiles,
  names: readonly string[],
  directory: boolean,
): Promise<void> {
  const name = files.name(names, directory);
  const uri = files.uri(directory ? [...names, ""] : names);
  try {
    await files.connections.call((connection) => deleteFile(connection, uri, { signal }));
  } catch (error) {
    if (!(error instanceof TransferError)) throw error;
    if (error.status === 404) throw await files.missing(names);
    const problem = error.status === 409
      ? "the directory is not empty: -r removes it with everything in it"
      : explainTransfer(error, "delete");
    throw new Failure(`${name}: ${problem}`, FAILED, { cause: error });
  }
  output.result(name, { removed: name });
}

/** Why a directory stays from which everything was removed that a list shows. */
const IN_USE =
  "there is something new in it, or an upload to it is under way: run the same command again later";

/** Removes a directory with everything in it, the innermost first; what can't be removed stays with its directories. */
async function removeTree(
  { output, signal }: Context,
  files: RemoteFiles,
  top: readonly string[],
): Promise<void> {
  const { connections } = files;
  const entries = await connections.call((connection) =>
    Array.fromAsync(listTree(connection, files.uri([...top, ""]), { signal }))
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
    { path, kind, reason }: Pick<TreeEntry, "path" | "kind" | "reason">,
  ) => {
    const names = [...top, ...path];
    const name = files.name(names, kind === "directory");
    if (kind === "other") return fail(path, name, `it stays, as it is ${REASONS[reason!]}`);
    if (staying.has(path.join("/"))) return;
    const uri = files.uri(kind === "directory" ? [...names, ""] : names);
    try {
      await connections.call((connection) => deleteFile(connection, uri, { signal }));
    } catch (error) {
      if (!(error instanceof TransferError)) throw error;
      // With 404 it is gone, most likely by an attempt whose answer was lost.
      if (error.status !== 404) {
        const isInUse = error.status === 409;
        return fail(path, name, isInUse ? IN_USE : explainTransfer(error, "delete"));
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
  const stays = `${files.name(top, true)} stays, with what is named above`;
  throw new Failure(`${counted(failed, "error")}: ${stays}`);
}
