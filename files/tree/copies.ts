/**
 * The copying of files of a tree: small ones many in a request, larger ones alone, and with `move`
 * the removal here of those that have arrived.
 */

import { StatusError } from "../../client.ts";
import { Refusal } from "../refusal.ts";
import type { TransferResult, TransferSettings } from "../options.ts";
import type { TransferClient } from "../transfer/client.ts";
import { endsAll, hasChanged, isCut, TransferError } from "../transfer_error.ts";
import type { TreeAttempt } from "./attempt.ts";
import type { DeferredPart } from "./ends.ts";
import { type BasisFiles, type CopyTask, UNSETTLED } from "./plan.ts";
import { compareContents, isSmall, uriOfNode } from "./requests.ts";
import type { TreeNode } from "./tree.ts";

/** The most files and directories of a request. */
export const BATCH_FILES = 512;
/** The most files of a request with `move`, since each is open until it is removed here. */
const MOVED_FILES = 32;
/** The most bytes of files in a request, by their sizes in the list. */
const BATCH_BYTES = 4_194_304;

/** A file whose name is taken by something that the list of the target did not have. */
export interface NameConflict {
  readonly copy: CopyTask;
  readonly sha256: string | null;
}

/** Counts the bytes of a file, as the report has made it. */
type Meter = (bytes: number, reused?: number) => void;

/** A file that is at the target, and has no name yet. */
export interface ReceivedPart {
  readonly part: DeferredPart;
  readonly meter: Meter;
}

export class TreeCopies {
  readonly #attempt: TreeAttempt;
  /** Files about which nobody has decided yet. */
  readonly taken: NameConflict[] = [];
  /** The files of the target that may have the basisFiles of files. */
  basisFiles: BasisFiles = new Map();
  /** With `move`: the files that are at the target and not yet removed here. */
  readonly #arrived = new Map<TreeNode, TransferResult>();

  constructor(attempt: TreeAttempt) {
    this.#attempt = attempt;
  }

  /** Compares the contents of files at both ends. */
  async compareEach(
    copies: readonly CopyTask[],
    compared: (copy: CopyTask, isSame: boolean) => void,
  ): Promise<void> {
    const { settings, ends } = this.#attempt;
    await this.#attempt.run(queuesOf(copies), async (client, batch) => {
      const same = await compareContents(client, settings, batch, ends);
      for (const [i, copy] of batch.entries()) compared(copy, same[i]!);
    });
  }

  /** Copies files over all connections. */
  async copyAll(copies: readonly CopyTask[]): Promise<void> {
    // A file of which another one reuses the bytes may itself be replaced, so that comes later.
    const isFirst = ({ node, target }: CopyTask) =>
      (this.basisFiles.get(node) ?? target) !== target;
    const others = copies.filter((copy) => !isFirst(copy));
    for (const some of [copies.filter(isFirst), others]) {
      await this.#attempt.run(this.#queuesOf(some), (client, batch) => this.#copy(client, batch));
    }
  }

  /** Copies files, one request after the other. */
  async copyInTurn(copies: readonly CopyTask[]): Promise<void> {
    for (const batch of this.#queuesOf(copies).flat()) await this.#copy(this.#attempt.first, batch);
  }

  #queuesOf(copies: readonly CopyTask[]): [CopyTask[][], CopyTask[][]] {
    return queuesOf(copies, this.#attempt.settings.move ? MOVED_FILES : BATCH_FILES);
  }

  async #copy(client: TransferClient, copies: readonly CopyTask[]): Promise<void> {
    const [first] = copies;
    try {
      if (copies.length > 1 || isSmall(first!)) await this.#copySmall(client, copies);
      else await this.copySingle(client, first!);
    } catch (error) {
      // Files that have arrived before the error need not be sent again.
      await this.#removeArrived().catch(() => {});
      throw error;
    }
    await this.#removeArrived();
  }

  /** Copies small files in one request, and some of them in a second one. */
  async #copySmall(client: TransferClient, copies: readonly CopyTask[]): Promise<void> {
    const { ends, report } = this.#attempt;
    const left = new Map<CopyTask, unknown>(copies.map((copy) => [copy, null]));
    const alone: CopyTask[] = [];
    for (let attempt = 1; left.size > 0 && attempt <= 2; attempt++) {
      try {
        for await (const [copy, outcome] of ends.copySmall(client, [...left.keys()])) {
          if (outcome.is === "again") {
            left.set(copy, outcome.error);
            continue;
          }
          left.delete(copy);
          if (outcome.is === "copied") {
            const { bytes, sha256 } = outcome;
            this.copied(copy.node, { bytes, total: bytes, resumedFrom: 0, reused: 0, sha256 });
          } else if (outcome.is === "taken") {
            this.taken.push({ copy, sha256: outcome.sha256 });
          } else if (outcome.is === "alone") alone.push(copy);
          else report.failed(copy.node, outcome.error);
        }
      } catch (error) {
        for (const { node } of left.keys()) report.began(node, 0, 0);
        // Files that were in place before the connection broke off stay; the rest is requested once
        // more.
        if (attempt === 2 || !client.canReconnect || !isCut(error)) throw error;
      }
    }
    for (const [{ node }, error] of left) report.failed(node, error);
    for (const copy of alone) await this.copySingle(client, copy);
  }

  /** Notes a file that is at the target; with `move`, it is told when it was removed here. */
  copied(node: TreeNode, last: TransferResult, meter?: Meter): void {
    const { report, settings: { move, dryRun } } = this.#attempt;
    const result = report.resultOf(node, last);
    (meter ?? report.meter(node))(node.size - result.reused, result.reused);
    if (move && !dryRun) return void this.#arrived.set(node, result);
    report.copied(node, result);
    if (move) report.event({ type: "removed", path: node.path });
  }

  /** Reports files as if they had been copied. */
  reportDryRun(copies: readonly CopyTask[]): void {
    for (const { node } of copies) {
      const { size } = node;
      const reused = this.basisFiles.get(node)?.size ?? 0;
      const bytes = size - reused;
      this.copied(node, { bytes, total: size, resumedFrom: 0, reused, sha256: null });
    }
  }

  /** Removes the files of the source that have arrived, and reports them. */
  async #removeArrived(): Promise<void> {
    const arrived = new Map(this.#arrived);
    this.#arrived.clear();
    if (arrived.size === 0) return;
    const { ends, report } = this.#attempt;
    for await (const [node, removed] of ends.outbox!.remove([...arrived.keys()])) {
      const { path } = node;
      if (removed.is === "failed") report.failed(node, removed.error);
      // A file that stays may still be being written: what was copied is perhaps its beginning.
      else if (removed.is === "kept") report.event({ type: "skipped", path, reason: UNSETTLED });
      else report.copied(node, arrived.get(node)!);
      if (removed.is === "removed") report.event({ type: "removed", path });
    }
  }

  /** Copies a file by itself, or reports why it could not be copied. */
  async copySingle(client: TransferClient, copy: CopyTask): Promise<void> {
    const { ends } = this.#attempt;
    const beginning = this.basisFiles.get(copy.node) ?? null;
    const meter = this.#attempt.report.meter(copy.node);
    const result = await this.#moveWithAttempts(client, copy, meter, (settings) => {
      return ends.copySingle(client, copy, settings, beginning);
    });
    if (result !== null) this.copied(copy.node, result, meter);
  }

  /** Copies a file that gets its name later; `null` if that has failed, which was reported. */
  async copyPart(client: TransferClient, copy: CopyTask): Promise<ReceivedPart | null> {
    const { ends, report } = this.#attempt;
    const meter = report.meter(copy.node);
    const part = await this.#moveWithAttempts(client, copy, meter, (settings) => {
      return ends.copyPart(client, copy, settings);
    });
    return part && { part, meter };
  }

  /**
   * Moves a file, and once more if the connection broke off or the file changed meanwhile, and as
   * long as it gets further.
   *
   * @returns `null` if the file has failed, alone, or its name is taken.
   */
  async #moveWithAttempts<T>(
    client: TransferClient,
    copy: CopyTask,
    meter: Meter,
    move: (settings: TransferSettings) => Promise<T>,
  ): Promise<T | null> {
    const { report, settings: { replace, modes, signal } } = this.#attempt;
    let resumedFrom = 0;
    let reused = 0;
    let furthest = 0;
    let vainAttempts = 0;
    const settings: TransferSettings = {
      resume: true,
      replace,
      modes,
      modified: new Date(copy.node.modified),
      onProgress(progress) {
        ({ resumedFrom } = progress);
        meter(resumedFrom + progress.reused + progress.bytes - reused, reused);
      },
      onBegin: (from, now) => reused = report.began(copy.node, from, now),
      signal,
    };
    while (true) {
      try {
        return await move(settings);
      } catch (error) {
        signal.throwIfAborted();
        if (endsAll(error) || !client.isUsable) throw error;
        if (isTaken(error) && copy.late === null && copy.replaces !== "same") {
          meter(0);
          // The first attempt has sent no byte: nothing of the file has arrived.
          if (vainAttempts === 0 && furthest === 0) report.refused(copy.node);
          this.taken.push({ copy, sha256: null });
          return null;
        }
        // How far a file has got with a connection that broke off, the next attempt shows.
        const hasGotFurther = isCut(error) && resumedFrom > furthest;
        furthest = Math.max(furthest, resumedFrom);
        vainAttempts = hasGotFurther ? 0 : vainAttempts + 1;
        if (isCut(error) || hasChanged(error)) {
          const isThere = await this.#isThere(client, copy.node);
          signal.throwIfAborted();
          if (!isThere) throw error;
          if (vainAttempts < 2) continue;
        }
        meter(0);
        if (isCut(error)) report.brokenOff ??= { error };
        report.failed(copy.node, error);
        return null;
      }
    }
  }

  /** Whether the other end still answers: else it is gone, and not the file alone is bad. */
  async #isThere(client: TransferClient, node: TreeNode): Promise<boolean> {
    const uri = uriOfNode(this.#attempt.settings.uri, node);
    try {
      await (await client.request("HEAD", uri, {})).discard();
      return true;
    } catch {
      return false;
    }
  }
}

/** Whether something else than was seen has the name of a file. */
function isTaken(error: unknown): boolean {
  if (!(error instanceof TransferError)) return false;
  const { cause } = error;
  return (cause instanceof Refusal || cause instanceof StatusError) && cause.status === 412;
}

/** Two queues: of small files in batches, and of the other files alone. */
function queuesOf(copies: readonly CopyTask[], most = BATCH_FILES): [CopyTask[][], CopyTask[][]] {
  const small: CopyTask[][] = [];
  const large: CopyTask[][] = [];
  let batch: CopyTask[] = [];
  // No batch has room for the first file.
  let bytes = Infinity;
  for (const copy of copies) {
    if (!isSmall(copy)) {
      large.push([copy]);
      continue;
    }
    if (batch.length === most || bytes > BATCH_BYTES) {
      small.push(batch = []);
      bytes = 0;
    }
    batch.push(copy);
    bytes += copy.node.size;
  }
  return [small, large];
}
