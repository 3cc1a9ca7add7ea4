import type { DirectoryEntry } from "@degu/degu/files";
import type { Context } from "../machine/context.ts";
import { openDevice } from "../machine/open_device.ts";
import { formatBytes, formatTime } from "../terminal/output.ts";
import {
  describeUncopiedEntry,
  parseRemotePath,
  RemoteFiles,
  type RemotePath,
} from "../peer/remote_files.ts";

export async function ls(
  context: Context,
  operand: string,
  { inbox = false, long = false },
): Promise<void> {
  const path = parseRemotePath(operand);
  await using device = await openDevice(context);
  const area = inbox ? "inbox" : "either";
  using files = await RemoteFiles.open(context, device, path.peer, area, 0);
  const entries = await listEntries(files, path);
  const width = entries.reduce(
    (maxLength, { size }) => Math.max(maxLength, formatBytes(size).length),
    0,
  );
  for (const { name, kind, size, modified, reason } of entries) {
    if (kind === "other" && !context.output.json) {
      context.output.warn(`${name} is ${describeUncopiedEntry(reason, files.connections.peer)}`);
      continue;
    }
    const shownName = kind === "directory" ? `${name}/` : name;
    const sizeText = (kind === "directory" ? "" : formatBytes(size)).padStart(width);
    const text = long ? `${sizeText}  ${formatTime(modified)}  ${shownName}` : shownName;
    context.output.printResult(text, {
      name,
      kind,
      size,
      modified: modified.toISOString(),
      reason,
    });
  }
  const isTop = path.names.length === 0 && !context.output.json && !context.output.quiet;
  if (!isTop || files.area === "inbox") return;
  const inboxFiles = new RemoteFiles(files.connections, "inbox", context.signal);
  // Users look for the files that they have just put there. An inbox that can't be listed is no
  // problem of the share.
  const inboxEntries = await inboxFiles.list([]).catch(() => null);
  if (inboxEntries !== null && inboxEntries.size > 0) {
    context.output.note("this is its share; --inbox lists its inbox");
  }
}

async function listEntries(files: RemoteFiles, path: RemotePath): Promise<DirectoryEntry[]> {
  let entries = await files.list(path.names);
  if (entries === null) {
    const entry = await files.findOrFail(path.names, path.mustBeDirectory);
    if (entry.kind === "file") {
      if (!path.mustBeDirectory) return [entry];
      throw await files.makeMissingFailure(path.names, true);
    }
    // The peer may spell the name in another Unicode normalization.
    entries = await files.list(entry.names);
  }
  return [...entries?.values() ?? []].sort((a, b) => a.name < b.name ? -1 : 1);
}
