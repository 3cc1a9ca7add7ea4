import { Failure } from "../failure.ts";
import { formatRemotePath, type RemotePath } from "./remote_files.ts";

/** Set `areTested` together with the switch in `files/disk/names.ts`. */
export const windowsDeletions = { areTested: false };

/** Refuses a command or an option before its first request. */
export function checkDeleting(name: string): void {
  if (Deno.build.os !== "windows" || windowsDeletions.areTested) return;
  throw new Failure(`${name}: not tested on Windows yet: no file is deleted`);
}

/** Refuses to delete what other commands, or in an inbox for all other devices, have put there. */
export function checkDeletedInbox(
  { peer, names }: RemotePath,
  options: { readonly delete?: boolean; readonly deleteAll?: boolean },
): void {
  if (!options.delete || options.deleteAll || names.length > 0) return;
  const inbox = JSON.stringify(formatRemotePath(peer, names));
  throw new Failure(
    `--delete: ${inbox} is the whole inbox, and everything in it that this device doesn't have ` +
      "would be deleted: this needs --delete-all",
    "USAGE",
  );
}
