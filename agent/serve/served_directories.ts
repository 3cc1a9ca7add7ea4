import { findHomeDirectory, join, mayRead, realPath } from "../machine/paths.ts";
import { basename, dirname } from "node:path";
import { explain } from "../words/explain.ts";
import { DEFAULT_INBOX } from "../machine/context.ts";
import { codeOf } from "../words/error_codes.ts";
import { Failure } from "../failure.ts";
import { hasPeerDirectories } from "../machine/inbox_marker.ts";
import { Inbox } from "./inbox.ts";
import {
  arePathsNested,
  checkWritable,
  describeMissingDirectory,
  findDeviceDirectory,
  ignoreNotFound,
  toExplainedFailure,
  toLocalPath,
} from "../machine/local_paths.ts";
import type { Output } from "../terminal/output.ts";

export interface DirectoryOptions {
  readonly share?: string;
  readonly inbox?: string;
  readonly inboxForAll?: string;
  readonly newOnly?: boolean;
  readonly keep?: number;
  /** False if a missing inbox is an error, because its disk may not be mounted. */
  readonly create?: boolean;
}

export function checkServesAny(
  { share, inbox, inboxForAll, newOnly, keep }: DirectoryOptions,
): void {
  if (keep !== undefined && newOnly) {
    throw new Failure(
      "with --new-only, peers replace and delete no files: leave out --keep or --new-only",
      "USAGE",
    );
  }
  if (inbox !== undefined || inboxForAll !== undefined) return;
  const option = newOnly ? "--new-only" : keep !== undefined ? "--keep" : null;
  if (option !== null) throw new Failure(`${option} is for an inbox: add --inbox`, "USAGE");
  if (share !== undefined) return;
  throw new Failure(
    "there is no directory to serve: add --share DIR, which peers can read, or --inbox, into which they can put files",
    "USAGE",
  );
}

function resolveInboxPath(inboxOption: string): string {
  if (inboxOption !== DEFAULT_INBOX) return toLocalPath(inboxOption);
  const home = findHomeDirectory();
  if (home !== null) return join(home, "Inbox");
  const variable = Deno.build.os === "windows" ? "USERPROFILE" : "HOME";
  const problem = Deno.env.get(variable) ? "is no absolute path" : "is not set";
  throw new Failure(`${variable} ${problem}: name the directory, as in --inbox DIR`);
}

/**
 * @param mayCreate False if a missing inbox is not created.
 * @returns The real paths.
 */
export async function checkDirectories(
  { share: shareOption, inbox: separateInboxOption, inboxForAll: sharedInboxOption, create }:
    DirectoryOptions,
  home: string,
  output: Output,
  mayCreate = true,
): Promise<{ readonly share: string | null; readonly inbox: string | null }> {
  const inboxOption = sharedInboxOption ?? separateInboxOption;
  const checkShare = async () =>
    shareOption === undefined ? null : await checkServedDirectory(toLocalPath(shareOption), home);
  if (inboxOption === undefined) return { share: await checkShare(), inbox: null };
  const dir = resolveInboxPath(inboxOption);
  const isUncreated = !mayCreate && await ignoreNotFound(Deno.lstat(dir)) === null;
  if (sharedInboxOption !== undefined) {
    const option = "--inbox-for-all";
    const inbox = isUncreated
      ? await checkUncreated(dir, home, option)
      : await checkInbox(dir, home, output, { option, create, check: checkNotOfPeers });
    // If the share is also the inbox, `checkInbox()` may have just created the directory.
    return { share: await checkShare(), inbox };
  }
  const share = await checkShare();
  const checkOverlap = (path: string) => {
    if (share !== null && arePathsNested(share, path)) {
      throw new Failure(
        `--share: ${JSON.stringify(share)} contains the inbox, ${
          JSON.stringify(path)
        }, or is in it, so peers could read the files of other peers`,
        "USAGE",
      );
    }
  };
  if (isUncreated) {
    const inbox = await checkUncreated(dir, home, "--inbox");
    checkOverlap(inbox);
    return { share, inbox };
  }
  const check = async (path: string) => {
    checkOverlap(path);
    await new Inbox(path).check();
  };
  return { share, inbox: await checkInbox(dir, home, output, { check, create }) };
}

/** In an inbox for all, each peer could read and change the files of the others. */
async function checkNotOfPeers(path: string): Promise<void> {
  if (!await hasPeerDirectories(path) && !await hasPeerDirectories(dirname(path))) return;
  const problem = "has a directory for each peer, or is one";
  throw new Failure(`--inbox-for-all: ${JSON.stringify(path)} ${problem}`, "USAGE", { path });
}

/** @returns The real path that a missing inbox will have. */
async function checkUncreated(dir: string, home: string, option: string): Promise<string> {
  const parent = await withOptionName(option, ignoreNotFound(realPath(dirname(dir))));
  // Reports that the directory above the inbox is missing.
  if (parent === null) return await checkServedDirectory(dir, home, option);
  const path = join(parent, basename(dir));
  const deviceDirectory = await findDeviceDirectory(home);
  deviceDirectory.checkServed(path, `${option}: ${JSON.stringify(dir)}`);
  return path;
}

/** The directory must neither contain the directory of the device nor be inside it. */
export async function checkServedDirectory(
  dir: string,
  home: string,
  option = "--share",
): Promise<string> {
  const path = await withOptionName(option, ignoreNotFound(realPath(dir)));
  if (path === null) {
    const parent = dirname(dir);
    const hasParent = !mayRead(parent) || await ignoreNotFound(Deno.stat(parent)) !== null;
    const problem = await describeMissingDirectory(hasParent ? dir : parent, true);
    throw new Failure(`${option}: ${problem}`, "NOT_FOUND", { path: dir });
  }
  if (!(await Deno.stat(path)).isDirectory) {
    throw new Failure(
      `${option}: ${JSON.stringify(dir)} is not a directory`,
    );
  }
  // Report a missing permission before the first request of a peer.
  await withOptionName(option, checkUsable(path));
  const deviceDirectory = await findDeviceDirectory(home);
  deviceDirectory.checkServed(path, `${option}: ${JSON.stringify(dir)}`);
  return path;
}

async function checkUsable(dir: string): Promise<void> {
  for await (const { name } of Deno.readDir(dir)) {
    // Permission to list a directory doesn't include permission to use its files.
    await ignoreNotFound(Deno.lstat(join(dir, name)));
    return;
  }
}

function withOptionName<T>(option: string, result: Promise<T>): Promise<T> {
  return result.catch((error) => {
    throw toExplainedFailure(error, `${option}: `);
  });
}

/**
 * Creates a missing directory that only its owner can access, but not its parents: a typing error
 * in a path should not create a tree.
 */
export async function checkInbox(
  dir: string,
  home: string,
  output: Output,
  { option = "--inbox", create = true, check }: {
    readonly option?: string;
    readonly create?: boolean | undefined;
    readonly check?: (path: string) => Promise<void>;
  } = {},
): Promise<string> {
  // Creating the directory finds a missing permission before the first upload.
  const isCreated = create && await Deno.mkdir(dir, { mode: 0o700 }).then(() => true, (error) => {
    const { AlreadyExists, NotFound, NotADirectory } = Deno.errors;
    const isReportedLater = [AlreadyExists, NotFound, NotADirectory].some((errorClass) =>
      error instanceof errorClass
    );
    if (!isReportedLater) throw toExplainedFailure(error, `${option}: `);
    return false; // `checkServedDirectory()` reports these errors
  });
  try {
    const path = await checkServedDirectory(dir, home, option);
    await checkWritable(path).catch((error) => {
      // Serve the inbox also if a peer has filled the disk.
      if (codeOf(error) !== "FULL") throw toExplainedFailure(error, `${option}: `);
      output.warn(`${option}: ${explain(error)}`);
    });
    await check?.(path);
    if (isCreated) output.note(`created ${path}`);
    return path;
  } catch (error) {
    if (isCreated) await Deno.remove(dir);
    throw error;
  }
}
