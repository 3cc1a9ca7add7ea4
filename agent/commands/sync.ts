/**
 * `degu sync`: makes a directory match one on another device.
 *
 * @module
 */

import type { Command } from "npm:commander@^15.1.0";
import { addExamples, addPeerOptions, type Run } from "../commands.ts";
import { type Context, openDevice } from "../context.ts";
import { Failure, USAGE } from "../failure.ts";
import { OwnDirectory } from "../own_directory.ts";
import { openPeerFiles } from "../peer_files.ts";
import { isRemotePath, parseRemotePath } from "../remote_path.ts";
import { sidesToHere, sidesToPeer } from "../sync_sides.ts";
import { Synchronization, type SyncOptions } from "../synchronization.ts";
import { Transfers } from "../transfers.ts";

/** Adds `degu sync`. */
export function addSync(program: Command, run: Run): void {
  const command = program.command("sync")
    .summary("make one directory match another, one way")
    .description(
      `Copies what is new or differs in size or time: from the share of a peer to a directory here, or from here to \
the inbox of a peer. What is in the one directory is put into the other one; files that differ are replaced.`,
    )
    .usage("[OPTION]... PEER:DIR DIR | DIR PEER:DIR")
    .argument("<from>", "the directory to copy: PEER:DIR, or DIR")
    .argument("<to>", "the other one: DIR, or PEER:DIR")
    .option(
      "--checksum",
      "compare files of the same size by SHA-256 instead of time",
    )
    .option("--delete", "delete what the first directory does not have")
    .option("--dry-run", "say what would be done, and change nothing")
    .action((from: string, to: string, given: Partial<SyncOptions>, command: Command) => {
      const options = { checksum: false, delete: false, dryRun: false, ...given };
      return run(command, (context) => sync(context, from, to, options));
    });
  addPeerOptions(command);
  addExamples(command, [
    ["degu sync laptop:photos photos", "from there to here"],
    ["degu sync --dry-run --delete photos laptop:photos", "what would be copied and deleted there"],
  ]);
}

async function sync(
  context: Context,
  from: string,
  to: string,
  options: SyncOptions,
): Promise<number> {
  if (isRemotePath(from) === isRemotePath(to)) {
    throw new Failure(
      USAGE,
      isRemotePath(from)
        ? "one of the two directories has to be on this device"
        : "one of the two directories has to be on another device: write PEER:DIR",
    );
  }
  const remote = parseRemotePath(isRemotePath(from) ? from : to);
  const { signal } = context;
  await using device = await openDevice(context);
  const own = await OwnDirectory.at(context.home);
  using transfers = new Transfers(context, isRemotePath(from) ? "get" : "put");
  const area = isRemotePath(from) ? "share" : "inbox";
  const note = (text: string) => transfers.note(text);
  using peer = await openPeerFiles(context, device, remote.peer, area, { note });
  const sides = isRemotePath(from)
    ? await sidesToHere(peer, remote, to, own, signal)
    : await sidesToPeer(peer, from, remote, own, signal);
  const synchronization = new Synchronization(sides, peer.connections, transfers, options, signal);
  return transfers.finish(await synchronization.run(), options.dryRun);
}
