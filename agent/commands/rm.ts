/**
 * `degu rm`: removes from the inbox of a peer.
 *
 * @module
 */

import type { Command } from "npm:commander@^15.1.0";
import { deleteFile, TransferError } from "../../files.ts";
import { addExamples, addPeerOptions, type Run } from "../commands.ts";
import { type Context, openDevice } from "../context.ts";
import { explainTransfer, FAILED, Failure, USAGE } from "../failure.ts";
import { openPeerFiles, type PeerFiles } from "../peer_files.ts";
import { formatRemotePath, parseRemotePath, type RemotePath } from "../remote_path.ts";

/** Adds `degu rm`. */
export function addRm(program: Command, run: Run): void {
  const command = program.command("rm")
    .summary("remove files from the inbox of a peer")
    .description("Removes files or empty directories from the inbox of a peer.")
    .argument("<peer:path...>", "what to remove")
    .action((paths: string[], _options: unknown, command: Command) =>
      run(command, (context) => rm(context, paths.map(readArgument)))
    );
  addPeerOptions(command);
  addExamples(command, [
    ["degu rm laptop:report.pdf", "what was put there"],
    ["degu rm laptop:photos/1.jpg laptop:photos/", "a file, and then the empty directory"],
  ]);
}

function readArgument(text: string): RemotePath {
  const path = parseRemotePath(text);
  if (path.names.length > 0) return path;
  throw new Failure(USAGE, `${shown(path)}: the inbox itself stays; name a file`);
}

function shown({ peer, names, directory }: RemotePath): string {
  return formatRemotePath(peer, names, directory);
}

async function rm(context: Context, paths: readonly RemotePath[]): Promise<number> {
  const { output } = context;
  let exitCode = 0;
  await using device = await openDevice(context);
  for (const [peerName, some] of Map.groupBy(paths, ({ peer }) => peer)) {
    using peer = await openPeerFiles(context, device, peerName, "inbox", { retries: 0 });
    for (const path of some) {
      try {
        await remove(context, peer, path);
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

async function remove(context: Context, peer: PeerFiles, path: RemotePath): Promise<void> {
  const { signal, output } = context;
  const name = shown(path);
  const uri = peer.files.uri(path.directory ? [...path.names, ""] : path.names);
  try {
    await peer.connections.call((connection) => deleteFile(connection, uri, { signal }));
  } catch (error) {
    if (!(error instanceof TransferError)) throw error;
    if (error.status === 404) throw await peer.files.missing(path);
    throw new Failure(FAILED, `${name}: ${explainTransfer(error, "delete")}`, { cause: error });
  }
  output.result(name, { removed: name });
}
