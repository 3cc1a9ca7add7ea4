/** `degu ls`: lists the files that a peer shares. */

import { printable } from "../../base/printable.ts";
import type { DirectoryEntry } from "../../files.ts";
import { type AgentCommand, type Context, openDevice } from "../commands.ts";
import { formatBytes, Output } from "../output.ts";
import { parseRemotePath, REASONS, RemoteFiles, type RemotePath } from "../remote_files.ts";

export function addLs(program: AgentCommand): void {
  program.command("ls")
    .summary("list what a peer shares")
    .description(
      "Lists a directory that a peer shares, by name; directories end with a slash. For a file, prints its name. " +
        "If the peer shares nothing, lists its inbox.",
    )
    .argument("<peer:path>", "the directory; PEER: is all of it")
    .option("--inbox", "list its inbox, if it has both")
    .option("-l, --long", "print sizes and times, too")
    .option(
      "--complete",
      "print how the path may go on, for shells; nothing after a second",
    )
    .connects()
    .example("degu ls laptop:", "what it shares")
    .example("degu ls -l laptop:photos/2025", "with sizes and times")
    .example("degu ls --inbox laptop:", "what has been put to a peer that also shares a directory")
    .does(ls);
}

async function ls(
  context: Context,
  given: string,
  { inbox = false, long = false, complete = false },
): Promise<void> {
  if (complete) return await printCompletions(context, given, inbox).catch(() => {});
  const path = parseRemotePath(given);
  await using device = await openDevice(context);
  using files = await RemoteFiles.open(context, device, path.peer, inbox ? "inbox" : "either", 0);
  const entries = await find(files, path);
  const width = entries.reduce((most, { size }) => Math.max(most, formatBytes(size).length), 0);
  for (const { name, kind, size, modified, reason } of entries) {
    if (kind === "other" && !context.output.json) {
      context.output.warn(`${name} is ${REASONS[reason!]}`);
      continue;
    }
    const shown = kind === "directory" ? `${name}/` : name;
    const sizeText = (kind === "directory" ? "" : formatBytes(size)).padStart(width);
    const text = long ? `${sizeText}  ${formatTime(modified)}  ${shown}` : shown;
    context.output.result(text, { name, kind, size, modified: modified.toISOString(), reason });
  }
}

/** Lists the directory that a path leads to, in the order of the names, or the file. */
async function find(files: RemoteFiles, path: RemotePath): Promise<DirectoryEntry[]> {
  let listed = await files.list(path.names);
  if (listed === null) {
    const found = await files.get(path.names);
    if (found.kind === "file") {
      if (!path.directory) return [found];
      throw await files.missing(path.names);
    }
    // The peer may spell the name in another Unicode normalization.
    listed = await files.list(found.names);
  }
  return [...listed?.values() ?? []].sort((a, b) => a.name < b.name ? -1 : 1);
}

const COMPLETION_MILLISECONDS = 1000;

/**
 * Prints the paths that begin like this one, for a shell. Names with control or format characters
 * are left out: a shell could show another name than it types.
 */
async function printCompletions(context: Context, given: string, inbox: boolean): Promise<void> {
  const { output } = context;
  const colon = given.indexOf(":");
  const slash = Math.max(given.lastIndexOf("/"), colon);
  const [dir, start] = [given.slice(0, slash + 1), given.slice(slash + 1)];
  const path = parseRemotePath(dir);
  await using device = await openDevice(context);
  const limit = AbortSignal.timeout(COMPLETION_MILLISECONDS);
  const signal = AbortSignal.any([context.signal, limit]);
  const quiet = { ...context, output: new Output({ quiet: true }, output.streams), signal };
  const area = inbox ? "inbox" : "either";
  using files = await RemoteFiles.open(quiet, device, path.peer, area, 0);
  for (const { name, kind } of (await files.list(path.names))?.values() ?? []) {
    if (kind === "other" || !name.startsWith(start) || printable(name) !== name) continue;
    const text = `${dir}${name}${kind === "directory" ? "/" : ""}`;
    output.result(text, { path: text });
  }
}

/** A time in the local time zone, to the minute. */
function formatTime(time: Date): string {
  const local = new Date(time.getTime() - time.getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 16).replace("T", " ");
}
