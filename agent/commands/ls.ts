/**
 * `degu ls`: what a peer shares.
 *
 * @module
 */

import type { Command } from "npm:commander@^15.1.0";
import { addExamples, addPeerOptions, type Run } from "../commands.ts";
import { type Context, openDevice } from "../context.ts";
import { formatBytes } from "../output.ts";
import { openPeerFiles } from "../peer_files.ts";
import type { RemoteFiles } from "../remote_files.ts";
import { parseRemotePath, type RemotePath } from "../remote_path.ts";
import type { TreeEntry } from "../tree.ts";

interface LsOptions {
  readonly inbox?: boolean;
  readonly long?: boolean;
}

/** Adds `degu ls`. */
export function addLs(program: Command, run: Run): void {
  const command = program.command("ls")
    .summary("list what a peer shares")
    .description(
      "Lists a directory that a peer shares, by name; directories end with a slash. For a file, prints its name.",
    )
    .argument("<peer:path>", "the directory; PEER: is all of it")
    .option("--inbox", "list its inbox instead")
    .option("-l, --long", "print sizes and times, too")
    .action((path: string, options: LsOptions, command: Command) =>
      run(command, (context) => ls(context, parseRemotePath(path), options))
    );
  addPeerOptions(command);
  addExamples(command, [
    ["degu ls laptop:", "what it shares"],
    ["degu ls -l laptop:photos/2025", "with sizes and times"],
    ["degu ls --inbox laptop:", "what has been put there"],
  ]);
}

async function ls(context: Context, path: RemotePath, options: LsOptions): Promise<void> {
  await using device = await openDevice(context);
  const area = options.inbox === true ? "inbox" : "share";
  using peer = await openPeerFiles(context, device, path.peer, area, { retries: 0 });
  const entries = await find(peer.files, path);
  const width = entries.reduce((most, { size }) => Math.max(most, formatBytes(size).length), 0);
  for (const { names, kind, size, modified } of entries) {
    const name = names.at(-1)!;
    const shown = kind === "directory" ? `${name}/` : name;
    const sizeText = (kind === "directory" ? "" : formatBytes(size)).padStart(width);
    const text = options.long === true ? `${sizeText}  ${formatTime(modified)}  ${shown}` : shown;
    context.output.result(text, { name, kind, size, modified: modified.toISOString() });
  }
}

/** What a path leads to: what is in a directory, in the order of the names; or a file. */
async function find(files: RemoteFiles, path: RemotePath): Promise<TreeEntry[]> {
  const { names, directory } = path;
  let listed = await files.list(names);
  if (listed === null) {
    const found = await files.find(names);
    if (found?.kind === "file" && !directory) return [found];
    if (found?.kind !== "directory") throw await files.missing(path);
    // The same name in another Unicode normalization.
    listed = await files.list(found.names);
  }
  const entries = [...listed?.values() ?? []].map((entry) => ({ ...entry, names: [entry.name] }));
  return entries.sort((a, b) => a.name < b.name ? -1 : 1);
}

/** A time in the local time zone, to the minute. */
function formatTime(time: Date): string {
  const local = new Date(time.getTime() - time.getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 16).replace("T", " ");
}
