/** `degu get`: files from the share or the inbox of a peer. */

import { dirname } from "node:path";
import { resolve } from "../paths.ts";
import { type AgentCommand, checkSettled, type Context } from "../command.ts";
import { openDevice } from "../own_device.ts";
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
  const given = hasTarget ? paths.slice(0, -1) : paths;
  const local = given.find((each) => !isRemotePath(each));
  if (local !== undefined && !hasTarget) {
    throw new Failure(
      `${JSON.stringify(local)} is on this device: to send it, type degu put ${paths.join(" ")}`,
      "USAGE",
    );
  }
  const sources = given.map(parseRemotePath);
  if (sources.length === 0) {
    throw new Failure(`what to get? write PEER:PATH before ${JSON.stringify(last)}`, "USAGE");
  }
  await using device = await openDevice(context);
  const target = await findTarget(hasTarget ? last : ".", sources.length > 1);
  const own = await findDeviceDirectory(context.home);
  using transfers = new Transfers(context, "get", own);
  await own.check(target.isDirectory ? target.path : dirname(target.path));
  using opened = new DisposableStack();
  const found: PeerJobs[] = [];
  const byPeer = Map.groupBy(sources, ({ peer }) => peer);
  const isOnlyPeer = byPeer.size === 1;
  const find = async (peer: string, some: readonly RemotePath[]) => {
    const files = opened.use(
      await RemoteFiles.open(context, device, peer, inbox ? "inbox" : "either"),
    );
    const isOnly = sources.length === 1;
    const nameOf = ({ names, directory }: RemotePath) => files.name(names, directory);
    const jobs = await transfers.prepare(some, isOnly, nameOf, async (
      { names, directory },
    ): Promise<FileJob | TreeJob> => {
      const found = await files.findOrFail(names);
      const shown = files.name(found.names, found.kind === "directory");
      if (found.kind === "file") {
        if (directory) throw new Failure(`${shown} is a file: leave out the slash at the end`);
        const path = target.isDirectory ? pathIn(target.path, found.name) : target.path;
        transfers.take(resolve(path), shown);
        return downloadJobOf(files, found, path);
      }
      if (!recursive) throw new Failure(`${shown} is a directory: get it with -r`);
      const root = await directoryPathIn(target, found.names.at(-1));
      transfers.take(resolve(root), shown);
      await own.check(root);
      return { names: found.names, root, listsUnchanged: true, options: { settled } };
    });
    found.push([files, jobs]);
  };
  for (const [peer, some] of byPeer) {
    await transfers.forPeer(peer, isOnlyPeer, () => find(peer, some));
  }
  // Files are copied only when every argument was looked up.
  await transfers.copy(found, isOnlyPeer);
  return transfers.finish();
}
