/**
 * `degu rm`: removes from the inbox of a peer.
 *
 * @module
 */

import type { Command } from "npm:commander@^15.1.0";
import { deleteFile, TransferError } from "../../transfer.ts";
import { addExamples, addPeerOptions, type Run } from "../commands.ts";
import { type Context, openDevice } from "../context.ts";
import { FAILED, Failure, USAGE } from "../failure.ts";
import { openPeerFiles } from "../peer_files.ts";
import { formatRemotePath, parseRemotePath, type RemotePath } from "../remote_path.ts";
import { explainTransfer } from "../transfer_problems.ts";

/** Adds `degu rm`. */
export function addRm(program: Command, run: Run): void {
  const command = program.command("rm")
    .summary("remove a file from the inbox of a peer")
    .description("Removes a file or an empty directory from the inbox of a peer.")
    .argument("<peer:path>", "what to remove")
    .action((path: string, _options: unknown, command: Command) =>
      run(command, (context) => rm(context, parseRemotePath(path)))
    );
  addPeerOptions(command);
  addExamples(command, [
    ["degu rm laptop:report.pdf", "what was put there"],
    ["degu rm laptop:photos/", "an empty directory"],
  ]);
}

async function rm(context: Context, path: RemotePath): Promise<void> {
  const { peer: peerName, names, directory } = path;
  const shown = formatRemotePath(peerName, names, directory);
  if (names.length === 0) throw new Failure(USAGE, `${shown}: the inbox itself stays; name a file`);
  await using device = await openDevice(context);
  using peer = await openPeerFiles(context, device, peerName, "inbox", { retries: 0 });
  const { signal, output } = context;
  const uri = peer.files.uri(directory ? [...names, ""] : names);
  try {
    await peer.connections.call((connection) => deleteFile(connection, uri, { signal }));
  } catch (error) {
    if (!(error instanceof TransferError)) throw error;
    if (error.status === 404) throw await peer.files.missing(path);
    throw new Failure(FAILED, `${shown}: ${explainTransfer(error, "delete")}`, { cause: error });
  }
  output.result(shown, { removed: shown });
}
