import { deleteEntry, listTree, TransferError, type TreeEntry } from "@degu/degu/files/client";
import { StatusError } from "@degu/degu/client";
import { type Context, KEPT_DIRECTORY } from "../machine/context.ts";
import { openDevice } from "../machine/open_device.ts";
import { codeOf, hasStatus, isTransferError } from "../words/error_codes.ts";
import { FAILED, Failure } from "../failure.ts";
import { checkDeleting } from "../peer/deletions.ts";
import { explainTransfer } from "../words/explain.ts";
import { formatCount } from "../terminal/output.ts";
import { requestInfo } from "../peer/peer_client.ts";
import {
  checkNotReserved,
  describeUncopiedEntry,
  parseRemotePaths,
  RemoteFiles,
  type RemotePath,
} from "../peer/remote_files.ts";

function checkNotInbox({ names }: RemotePath): void {
  if (names.length > 0) return;
  throw new Failure("degu rm keeps the inbox itself: name its entries", "USAGE");
}

export async function rm(
  context: Context,
  operands: readonly string[],
  { recursive = false },
): Promise<number> {
  const { output } = context;
  checkDeleting("rm");
  const paths = parseRemotePaths(operands);
  paths.forEach(checkNotInbox);
  let exitCode = 0;
  let hasRemoved = false;
  const fail = (name: string, message: string, error: unknown) => {
    exitCode = FAILED;
    output.error(message);
    if (output.json) {
      output.printResult("", { path: name, error: { code: codeOf(error), message } });
    }
  };
  await using device = await openDevice(context);
  // A retry would not find a file that the first attempt has removed.
  const retries = recursive ? undefined : 0;
  using files = await RemoteFiles.open(context, device, paths[0]!.peer, "inbox", retries);
  for (const { names, mustBeDirectory } of paths) {
    const name = files.formatName(names, mustBeDirectory);
    try {
      if (names.includes(KEPT_DIRECTORY)) {
        const problem = "peers can't remove earlier versions";
        throw new Failure(`${JSON.stringify(name)}: ${problem}`, "USAGE");
      }
      checkNotReserved(names, name);
      if (recursive) await files.findTarget(names);
      const isTree = recursive &&
        (await files.findOrFail(names, mustBeDirectory)).kind === "directory";
      if (isTree) await removeTree(context, files, names, fail);
      else await removeEntry(context, files, names, mustBeDirectory);
      hasRemoved = true;
    } catch (thrown) {
      // The refusal doesn't name the link, and a special file is refused without a reason.
      const refusal = thrown instanceof TransferError ? thrown.cause : thrown;
      const error = hasStatus(refusal, 403)
        ? await files.findTarget(names).then(() => thrown, (failure) => failure)
        : thrown;
      // After a failure of one path, continue with the other paths.
      if (error instanceof Failure) fail(name, error.message, error);
      else if (!isTransferError(error)) throw error;
      else if (hasStatus(error, 404)) {
        fail(name, (await files.makeMissingFailure(names, mustBeDirectory)).message, error);
      } else {
        const problem = isNotEmptyError(error)
          ? NOT_EMPTY_PROBLEM
          : explainTransfer(error, "delete", files.connections.peer);
        fail(name, `${name}: ${problem}`, error);
      }
    }
  }
  if (!hasRemoved || output.quiet) return exitCode;
  const { connections } = files;
  const { peer } = connections;
  const noteSignal = AbortSignal.any([context.signal, AbortSignal.timeout(NOTE_MILLISECONDS)]);
  // Not repeated: without the note, the files are removed as well.
  const info = await connections.call((pool) =>
    requestInfo(pool, peer, noteSignal).catch(() => null)
  );
  if (info?.keep !== undefined) {
    const days = formatCount(info.keep, "day");
    output.note(
      `${peer} keeps removed files for at least ${days}, and no space is freed until then`,
    );
  }
  return exitCode;
}

async function removeEntry(
  { output, signal }: Context,
  files: RemoteFiles,
  names: readonly string[],
  isDirectory: boolean,
): Promise<void> {
  const uri = files.makeUri(isDirectory ? [...names, ""] : names);
  await files.connections.call((client) => deleteEntry(client, uri, { signal }));
  const name = files.formatName(names, isDirectory);
  output.printResult(`removed ${name}`, { removed: name });
}

function isNotEmptyError(error: unknown): boolean {
  const cause = error instanceof TransferError ? error.cause : error;
  return cause instanceof StatusError && cause.status === 409 && cause.uri?.endsWith("/") === true;
}

/** The maximum time to find out whether the peer keeps what it has removed. */
const NOTE_MILLISECONDS = 2000;

const NOT_EMPTY_PROBLEM = "the directory is not empty: -r removes it with all its contents";

const STILL_NOT_EMPTY_PROBLEM =
  "it has a new entry, or an upload to it is under way: run the same command again";

async function removeTree(
  context: Context,
  files: RemoteFiles,
  rootNames: readonly string[],
  onFailed: (name: string, message: string, error: unknown) => void,
): Promise<void> {
  const { connections } = files;
  const { signal } = context;
  const uri = files.makeUri([...rootNames, ""]);
  const entries = await connections.call(async (client, onProgress) => {
    const entries: Pick<TreeEntry, "path" | "kind" | "reason">[] = [];
    for await (const entry of listTree(client, uri, { signal })) {
      onProgress({ done: entries.push(entry) });
    }
    return entries;
  });
  entries.push({ path: [], kind: "directory" });
  const keptDirectories = new Set<string>();
  const removeTreeEntry = async ({ path, kind, reason }: typeof entries[number]) => {
    if (keptDirectories.has(path.join("/"))) return;
    const names = [...rootNames, ...path];
    const name = files.formatName(names, kind === "directory");
    const fail = (problem: string, error?: unknown) => {
      for (let depth = 0; depth < path.length; depth++) {
        keptDirectories.add(path.slice(0, depth).join("/"));
      }
      onFailed(name, `${name}: ${problem}`, error);
    };
    if (kind === "other") {
      return fail(
        `it is kept, because it is ${describeUncopiedEntry(reason, files.connections.peer)}`,
      );
    }
    try {
      await removeEntry(context, files, names, kind === "directory");
    } catch (error) {
      // With these errors, the peer refuses every removal.
      const isFinal = hasStatus(error, 405) ||
        error instanceof TransferError && error.code === "ONLY_ADDS";
      if (!isTransferError(error) || isFinal) throw error;
      // A 404 most likely means that the response to the first attempt was lost.
      if (hasStatus(error, 404)) {
        return context.output.printResult(`removed ${name}`, { removed: name });
      }
      const problem = isNotEmptyError(error)
        ? STILL_NOT_EMPTY_PROBLEM
        : explainTransfer(error, "delete", connections.peer);
      fail(problem, error);
    }
  };
  const depthOf = ({ kind, path }: typeof entries[number]) =>
    kind === "directory" ? path.length : Infinity;
  const levels = [...Map.groupBy(entries, depthOf)].sort(([a], [b]) => b - a);
  for (const [, levelEntries] of levels) {
    await connections.forEachConcurrently(levelEntries, removeTreeEntry);
  }
}
