/** `degu get`: files from the share or the inbox of a peer. */

import { dirname } from "node:path";
import { resolve } from "../paths.ts";
import { type AgentCommand, checkSettled, type Context } from "../command.ts";
import { openDevice } from "../open_device.ts";
import { Failure } from "../failure.ts";
import { directoryPathIn, downloadJobOf, findTarget, pathIn } from "../download_target.ts";
import { findDeviceDirectory } from "../local_paths.ts";
import { isRemotePath, parseRemotePath, RemoteFiles, type RemotePath } from "../remote_files.ts";
import { type FileJob, type PeerJobs, Transfers } from "../transfers.ts";
import type { TreeJob } from "../tree_copy.ts";

export function addGet(program: AgentCommand): void {
  program.command("get")
    .summary("get files from what a peer shares")
    .description(
      `Gets files, and with -r directories, from what a peer shares, or from its inbox if it shares nothing.

A file goes into TARGET if that is a directory or ends with a slash; else TARGET is its new name. A directory \
always goes into TARGET, and keeps its name. Without TARGET, files go into the current directory. A file of the same name is \
replaced, unless it is the same one (with -r: of the same size and time): then nothing is copied. The same command \
continues what was cut, even after Ctrl-C.`,
    )
    .usage("[OPTION]... PEER:PATH... [TARGET]")
    .argument("<path...>", "PEER:PATH of what to get; the last one may be the target")
    .option("-r, --recursive", "get directories with everything in them")
    .option("--inbox", "get them from its inbox, if it has both")
    .addVerboseOption()
    .addSettledOption()
    .addWaitOption()
    .addPeerOptions()
    .addExample("degu get laptop:report.pdf", "into the current directory")
    .addExample("degu get -r laptop:photos/2025 pictures", "a directory, as pictures/2025")
    .addExample("degu get laptop:a.txt laptop:b.txt texts/", "several; the directory is made")
    .addExample(
      "degu get --inbox laptop:report.pdf",
      "what was put to a peer that also shares a directory",
    )
    .setHandler(runGet);
}

async function runGet(
  context: Context,
  paths: string[],
  { recursive = false, inbox = false, settled }: {
    recursive?: boolean;
    inbox?: boolean;
    settled?: number;
  },
): Promise<number> {
  checkSettled(settled, recursive);
  const last = paths.at(-1)!;
  const hasTarget = !isRemotePath(last);
  const sourceOperands = hasTarget ? paths.slice(0, -1) : paths;
  const localOperand = sourceOperands.find((each) => !isRemotePath(each));
  if (localOperand !== undefined && !hasTarget) {
    throw new Failure(
      `${JSON.stringify(localOperand)} is on this device: to send it, type degu put ${
        paths.join(" ")
      }`,
      "USAGE",
    );
  }
  const sources = sourceOperands.map(parseRemotePath);
  if (sources.length === 0) {
    throw new Failure(`what to get? write PEER:PATH before ${JSON.stringify(last)}`, "USAGE");
  }
  await using device = await openDevice(context);
  const target = await findTarget(hasTarget ? last : ".", sources.length > 1);
  const deviceDirectory = await findDeviceDirectory(context.home);
  using transfers = new Transfers(context, "get", deviceDirectory);
  await deviceDirectory.check(target.isDirectory ? target.path : dirname(target.path));
  using stack = new DisposableStack();
  const peerJobs: PeerJobs[] = [];
  const byPeer = Map.groupBy(sources, ({ peer }) => peer);
  const isOnlyPeer = byPeer.size === 1;
  const findJobs = async (peer: string, peerSources: readonly RemotePath[]) => {
    const files = stack.use(
      await RemoteFiles.open(context, device, peer, inbox ? "inbox" : "either"),
    );
    const isOnly = sources.length === 1;
    const nameOf = ({ names, directory }: RemotePath) => files.name(names, directory);
    const jobs = await transfers.prepare(peerSources, isOnly, nameOf, async (
      { names, directory },
    ): Promise<FileJob | TreeJob> => {
      const entry = await files.findOrFail(names);
      const sourceName = files.name(entry.names, entry.kind === "directory");
      if (entry.kind === "file") {
        if (directory) throw new Failure(`${sourceName} is a file: leave out the slash at the end`);
        const path = target.isDirectory ? pathIn(target.path, entry.name) : target.path;
        transfers.claimTarget(resolve(path), sourceName);
        return downloadJobOf(files, entry, path);
      }
      if (!recursive) throw new Failure(`${sourceName} is a directory: get it with -r`);
      const root = await directoryPathIn(target, entry.names.at(-1));
      transfers.claimTarget(resolve(root), sourceName);
      await deviceDirectory.check(root);
      return { names: entry.names, root, listsUnchanged: true, options: { settled } };
    });
    peerJobs.push([files, jobs]);
  };
  for (const [peer, peerSources] of byPeer) {
    await transfers.forPeer(peer, isOnlyPeer, () => findJobs(peer, peerSources));
  }
  // Files are copied only when every argument was looked up.
  await transfers.copy(peerJobs, isOnlyPeer);
  return transfers.finish();
}
