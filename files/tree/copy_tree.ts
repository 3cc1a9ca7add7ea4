/**
 * The copying of a tree between a local directory and a directory of a server, in either direction.
 *
 * First, source and target are listed and compared. The resulting plan has an action for each path.
 * Then the files are copied: small files in bundles, each large file in its own request. Each
 * request has a condition that protects files that the target's list did not show. If the condition
 * fails, the name is looked up, and the file is sent again or fails. Last, superfluous entries of
 * the target are deleted, and received files that need the names of deleted entries are renamed.
 *
 * An error of a single file is reported, and the other files are still copied. An error that
 * concerns all files rejects the call: the connection is lost, the server fails, the signal is
 * aborted, or a callback throws. If the disk of the target is full, the files that still fit are
 * copied one at a time.
 */

import {
  type Connector,
  isTransient,
  type Requester,
  retry,
  type RetryEvent,
} from "../../client.ts";
import type { TreeEntry } from "../wire/entries.ts";
import { TransferError, type TreeResult } from "../errors.ts";
import { pathOf } from "../options.ts";
import type { UnsetProperty } from "../wire/metadata.ts";
import { isConnectionLoss, unexpectedResponseError } from "../transfer_error.ts";
import { TreeAttempt } from "./attempt.ts";
import { TreeDeletions } from "./deletions.ts";
import { FileCopier } from "./file_copier.ts";
import {
  checkTreeOptions,
  type DownloadTreeOptions,
  type TreeSettings,
  type UploadTreeOptions,
} from "./options.ts";
import { MAX_SKEW_MILLISECONDS } from "./outbox.ts";
import { NameConflicts, type ReplaceableFiles } from "./name_conflicts.ts";
import { findBasisFiles } from "./basis_files.ts";
import { type CopyTask, isBundled, Plan } from "./plan.ts";
import { treeUriOf } from "./remote_list.ts";
import { TreeReport } from "./report.ts";
import type { ListedTree } from "./sides.ts";
import { findDirectoryAbove, isWithin, TreeNode } from "./tree.ts";
import {
  differsAtTargetError,
  incompleteError,
  overHalfError,
  parentNotCreatedError,
} from "./tree_errors.ts";

/**
 * Copies a directory of a `FilesApp` with `list: true` to a local directory. After any error or
 * interruption, make the same call to continue: complete files are not copied again. With `retries`
 * the call itself continues after a transient error.
 *
 * Files that differ are copied over several connections, many small files in one request. As with
 * {@linkcode download}, each file is verified and synced to the disk before it is renamed to its
 * target.
 *
 * If a file can't be copied, the call copies all other files, and then rejects, unless `partial` is
 * true. Symbolic links and special files are skipped and don't count as failed. The call doesn't
 * write or delete through links; `dir` itself may be a link.
 *
 * Needs `--allow-read` and `--allow-write` of the directory, and the permissions of the client.
 *
 * @param from A client or a connection.
 * @param uri The path segments of the directory, `[]` for the root; or the URI of the directory,
 * which ends with `/`.
 * @param dir The path, or a `file:` URL, of the local directory. A missing directory is created.
 * @param options The options of the copy.
 * @returns The numbers of files and bytes, and whether the copy is complete.
 * @throws {TypeError} if an argument or option has the wrong type, or an option is unknown.
 * @throws {RangeError} if a value is not allowed, or the URI does not end with `/`.
 * @throws {Deno.errors.NotCapable} if the program may not write the directory.
 * @throws {StatusError} if the directory does not exist on the server.
 * @throws {TransferError} if the list is not valid or was cut, or the disk is full; `"INCOMPLETE"`,
 * with the result, if an entry could not be copied or deleted.
 * @throws the errors of `filter`, `onEvent`, `connect` and `request`; the reason of the signal.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { downloadTree, FilesApp } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const remote = await Deno.makeTempDir();
 * const local = await Deno.makeTempDir();
 * await Deno.mkdir(`${remote}/sub`);
 * await Deno.writeTextFile(`${remote}/sub/a b.txt`, "hello");
 * await using server = await Server.start(["127.0.0.1", 0], new FilesApp(remote, { list: true }));
 * const client = new Client(server.address);
 *
 * const { files, bytes } = await downloadTree(client, [], `${local}/copy`);
 * assertEquals([files, bytes], [1, 5]);
 * assertEquals(await Deno.readTextFile(`${local}/copy/sub/a b.txt`), "hello");
 * assertEquals((await downloadTree(client, "/", `${local}/copy`)).unchanged, 1);
 * await Deno.remove(remote, { recursive: true });
 * await Deno.remove(local, { recursive: true });
 * ```
 */
export async function downloadTree(
  from: Requester | Connector,
  uri: string | readonly string[],
  dir: string | URL,
  options: DownloadTreeOptions = {},
): Promise<TreeResult> {
  return await copyTree("from", from, dir, uri, options);
}

/**
 * Copies a local directory to a directory of a `FilesApp` with `write: true` and `list: true`, as
 * {@linkcode downloadTree} copies in the other direction.
 *
 * With `move`, each local file is removed after the target has it. If the call is interrupted, each
 * file is still at the source, at the target, or at both.
 *
 * Needs `--allow-read` of the directory, with `move` also `--allow-write`, and the permissions of
 * the client.
 *
 * @param to A client or a connection.
 * @param dir The path, or a `file:` URL, of the local directory.
 * @param uri The path segments of the remote directory, `[]` for the root; or its URI, which ends
 * with `/`. A missing directory is created.
 * @param options The options of the copy.
 * @returns The numbers of files and bytes, and whether the copy is complete.
 * @throws {StatusError} if the server doesn't accept files in this directory.
 * @throws {Deno.errors.NotFound} if the local directory is missing; `Deno.errors.NotADirectory` if
 * it is not a directory.
 * @throws the other errors of {@linkcode downloadTree}.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { FilesApp, uploadTree } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const remote = await Deno.makeTempDir();
 * const local = await Deno.makeTempDir();
 * await Deno.mkdir(`${local}/sub`);
 * await Deno.writeTextFile(`${local}/sub/a b.txt`, "hello");
 * const app = new FilesApp(remote, { list: true, write: true });
 * await using server = await Server.start(["127.0.0.1", 0], app);
 * const client = new Client(server.address);
 *
 * const { files, bytes } = await uploadTree(client, local, "/copy/");
 * assertEquals([files, bytes], [1, 5]);
 * assertEquals(await Deno.readTextFile(`${remote}/copy/sub/a b.txt`), "hello");
 * assertEquals((await uploadTree(client, local, "/copy/")).unchanged, 1);
 * await Deno.remove(remote, { recursive: true });
 * await Deno.remove(local, { recursive: true });
 * ```
 */
export async function uploadTree(
  to: Requester | Connector,
  dir: string | URL,
  uri: string | readonly string[],
  options: UploadTreeOptions = {},
): Promise<TreeResult> {
  return await copyTree("to", to, dir, uri, options);
}

async function copyTree(
  label: "from" | "to",
  peer: Requester | Connector,
  dir: string | URL,
  uri: string | readonly string[],
  options: UploadTreeOptions,
): Promise<TreeResult> {
  const path = pathOf("dir", dir);
  const checkedUri = treeUriOf(uri);
  const callOptions = checkTreeOptions(options, label === "to");
  const { retries, signal } = callOptions;
  const makeSettings = (): TreeSettings => {
    const controller = new AbortController();
    return {
      ...callOptions,
      dir: path,
      uri: checkedUri,
      signal: AbortSignal.any([...signal === undefined ? [] : [signal], controller.signal]),
      abort: (reason) => controller.abort(reason),
    };
  };
  const report = new TreeReport(makeSettings(), signal);
  const replaceableFiles: ReplaceableFiles = new Map();
  const filter = callOptions.filter &&
    ((entry: TreeEntry) => report.callCallback(() => callOptions.filter!(entry)));
  let isClientUsable = true;
  const onRetry = (event: RetryEvent) => report.reportRetry(event);
  let deletionsSkipped: TreeResult["deletionsSkipped"] = null;
  const runAttempt = async (
    onProgress: (progress?: { readonly done: number }) => void,
    onResponse: () => void,
  ): Promise<void> => {
    const settings = { ...makeSettings(), filter };
    report.beginAttempt(settings, onProgress);
    using attempt = new TreeAttempt(label, peer, settings, report);
    settings.signal.throwIfAborted();
    try {
      deletionsSkipped = await new TreeCopy(attempt, replaceableFiles).run();
    } finally {
      isClientUsable = attempt.firstWorker.client.isUsable;
      await attempt.local.outbox?.[Symbol.asyncDispose]();
    }
    // Throw the error of the interrupted file, because another attempt may copy the file.
    if (report.firstInterruption === null) return;
    onResponse();
    throw report.firstInterruption.error;
  };
  const isRetriable = (error: unknown) =>
    isClientUsable && !report.hasThrown && (isTransient(error) || isListChangedError(error));
  try {
    await retry(runAttempt, { when: isRetriable, retries, signal, onRetry });
  } catch (error) {
    const isAborted = report.hasThrown || signal?.aborted === true;
    if (isAborted || report.firstInterruption?.error !== error) {
      if (!isAborted) report.reportDeferred();
      throw error;
    }
  }
  report.reportDeferred();
  report.reportProgress();
  const result = report.makeResult(deletionsSkipped);
  const hasFailed = result.failed > 0 || deletionsSkipped !== null;
  if (!hasFailed || callOptions.partial || callOptions.dryRun) return result;
  throw incompleteError(result, report);
}

class TreeCopy {
  readonly #attempt: TreeAttempt;
  readonly #copier: FileCopier;
  readonly #nameConflicts: NameConflicts;

  constructor(attempt: TreeAttempt, replaceableFiles: ReplaceableFiles) {
    this.#attempt = attempt;
    this.#copier = new FileCopier(attempt);
    this.#nameConflicts = new NameConflicts(attempt, this.#copier, replaceableFiles);
  }

  async run(): Promise<TreeResult["deletionsSkipped"]> {
    const { firstWorker: { source, target }, local, report, settings } = this.#attempt;
    const [sourceTree, targetTree] = await this.#attempt.runAll<ListedTree | null>([
      () => source.list(),
      () => target.list(),
    ]) as [ListedTree, ListedTree | null];
    report.reportAnsweredDeletions(targetTree?.root ?? null);
    // If the server only adds files, plan as with `replace: false`.
    const { refusesReplacement } = this.#attempt;
    const replace = refusesReplacement ? false : settings.replace;
    const rules = { ...settings, replace, refusesReplacement };
    const isFileUnsettled = this.#makeUnsettledCheck(sourceTree);
    const plan = new Plan(sourceTree.root, targetTree?.root ?? null, rules, isFileUnsettled);
    const willDelete = settings.delete && !plan.isIncomplete;
    const majorLoss = willDelete && !settings.deleteAll ? plan.describeMajorLoss() : null;
    if (majorLoss !== null) {
      report.reportFailed(TreeNode.makeRoot(), overHalfError(majorLoss), "target");
      await local.finish();
      return "over half";
    }
    await this.#copier.compareContents(plan.compareTasks, (task, isSame, sha256) => {
      if (isSame) plan.addUnchanged({ ...task, sha256 });
      else if (replace) plan.copies.push(task);
      else plan.addFailure(task.node, differsAtTargetError(task.node, refusesReplacement));
    });
    const server = sourceTree.server ?? targetTree?.server ?? null;
    if (targetTree !== null && server !== null && server.rootPath !== null) {
      this.#copier.basisFiles = findBasisFiles(plan.copies, sourceTree.root, targetTree.root);
    }
    this.#reportPlan(plan);
    if (settings.dryRun) this.#copier.reportDryRun(plan.copies);
    else await this.#copyFiles(plan, targetTree === null);
    await this.#setMetadata(plan.metadataChanges);
    let deletionsSkipped: TreeResult["deletionsSkipped"] = null;
    if (settings.delete) {
      deletionsSkipped = await new TreeDeletions(this.#attempt, plan).run();
    }
    await local.finish();
    return deletionsSkipped;
  }

  #makeUnsettledCheck({ listPeriod }: ListedTree): (file: TreeNode) => boolean {
    const { local: { outbox }, settings: { settled, uri } } = this.#attempt;
    if (settled === 0) return () => false;
    if (listPeriod !== null) {
      const periodStart = listPeriod.start - settled * 1000;
      const periodEnd = outbox === null ? listPeriod.end : listPeriod.end + MAX_SKEW_MILLISECONDS;
      const isRecent = (time: number) => isWithin(time, periodStart, periodEnd);
      return (file) =>
        isRecent(file.modified) || outbox !== null && isRecent(outbox.findChangeTime(file));
    }
    throw unexpectedResponseError("GET", uri, "the list has no date, which `settled` needs");
  }

  #reportPlan(plan: Plan): void {
    const { report } = this.#attempt;
    report.reportPlan(plan.copies.map(({ node }) => node), this.#copier.basisFiles);
    for (const node of plan.unchangedNodes) {
      if (node.kind === "directory") report.reportUnchangedFiles(node);
      else report.reportUnchanged(node);
    }
    for (const { path } of plan.pendingFiles) report.reportEvent({ type: "pending", path });
    for (const { node: { path }, reason } of plan.skippedEntries) {
      report.reportEvent({ type: "skipped", path, reason });
    }
    for (const { node, error } of plan.failedEntries) report.reportFailed(node, error);
  }

  async #copyFiles(plan: Plan, isTargetMissing: boolean): Promise<void> {
    const { firstWorker: { target }, report, settings } = this.#attempt;
    // Don't send a request for an empty outbox.
    const isPlanEmpty = plan.copies.length + plan.newDirectories.length === 0;
    if (isPlanEmpty && settings.move) return;
    this.#nameConflicts.isUnlisted = await target.prepareDirectory(isTargetMissing);
    const failedDirectories = await this.#nameConflicts.makeDirectories(plan.newDirectories);
    const tasks: CopyTask[] = [];
    for (const task of plan.copies) {
      const { node } = task;
      const failedParent = findDirectoryAbove(node, failedDirectories);
      if (failedParent !== null) {
        report.reportFailed(node, parentNotCreatedError(node, failedDirectories.get(failedParent)));
      } else if (this.#nameConflicts.isUnlisted && !isBundled(task)) {
        // The upload of a large file looks up the target's file itself.
        tasks.push({ ...task, condition: "any" });
      } else {
        tasks.push(task);
      }
    }
    const mayReplace = settings.move && settings.replace;
    const conflicts = await this.#copier.copyAll(
      mayReplace ? await this.#nameConflicts.determineReplacements(tasks) : tasks,
    );
    await this.#nameConflicts.resolve(conflicts);
  }

  async #setMetadata(tasks: readonly CopyTask[]): Promise<void> {
    const { report, settings } = this.#attempt;
    if (settings.dryRun) return tasks.forEach(({ node }) => report.reportUnchanged(node));
    await this.#attempt.run([tasks], async ({ client, target }, task) => {
      const { node } = task;
      let unset: readonly UnsetProperty[];
      try {
        unset = await target.setMetadata(task);
      } catch (error) {
        await this.#attempt.rethrowIfFatal(error, client);
        return report.reportFailed(node, error);
      }
      report.reportUnchanged(node, unset);
    });
  }
}

function isListChangedError(error: unknown): boolean {
  if (!(error instanceof TransferError)) return false;
  return error.code === "BAD_LIST" ? isConnectionLoss(error.cause) : error.code === "CHANGED";
}
