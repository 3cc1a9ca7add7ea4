/**
 * The copying of files of a tree: small ones many in a request, larger ones alone, and with `move`
 * the removal here of those that have arrived.
 */

import { Refusal } from "../refusal.ts";
import type { TransferResult, TransferSettings } from "../options.ts";
import type { TransferClient } from "../transfer/client.ts";
import { endsAll, hasChanged, hasStatus, isCut, TransferError } from "../transfer_error.ts";
import type { TreeEnds } from "./ends.ts";
import type { TransferClients } from "./clients.ts";
import type { TreeSettings } from "./options.ts";
import { type Copy, UNSETTLED } from "./plan.ts";
import type { TreeReport } from "./report.ts";
import { compareContents, isSmall, uriOfNode } from "./requests.ts";
import type { Beginnings } from "./beginnings.ts";
import type { TreeNode } from "./tree.ts";

/** The most files and directories of a request. */
export const BATCH_FILES = 512;
/** The most files of a request with `move`, since each is open until it is removed here. */
const MOVED_FILES = 32;
/** The most bytes of files in a request, by their sizes in the list. */
const BATCH_BYTES = 4_194_304;

/** A file whose name is taken by something that the list of the target did not have. */
export interface TakenName {
  readonly copy: Copy;
  readonly sha256: string | null;
}

/** A file whose part is complete at the target. */
export interface ReceivedFile {
  readonly part: TransferResult;
  readonly meter: (bytes: number, reused?: number) => void;
}

export class TreeCopies {
  readonly #settings: TreeSettings;
  readonly #clients: TransferClients;
  readonly #ends: TreeEnds;
  readonly #report: TreeReport;
  /** The directories of the source that are there at the target. */
  readonly made = new Set<TreeNode>();
  /** Files about which nobody has decided yet. */
  readonly taken: TakenName[] = [];
  /** Files that were received, and get their names after deletions. */
  readonly received = new Map<Copy, ReceivedFile>();
  /** The files of the target that may have the beginnings of files. */
  beginnings: Beginnings = new Map();
  /** With `move`: the files that are at the target and not yet removed here. */
  readonly #arrived = new Map<TreeNode, TransferResult>();

  constructor(
    settings: TreeSettings,
    clients: TransferClients,
    ends: TreeEnds,
    report: TreeReport,
  ) {
    this.#settings = settings;
    this.#clients = clients;
    this.#ends = ends;
    this.#report = report;
  }

  /** Compares the contents of files at both ends. */
  async compareEach(
    copies: readonly Copy[],
    compared: (copy: Copy, isSame: boolean) => void,
  ): Promise<void> {
    await this.#clients.run(queuesOf(copies), async (client, batch) => {
      const same = await compareContents(client, this.#settings, batch, this.#ends);
      for (const [i, copy] of batch.entries()) compared(copy, same[i]!);
    });
  }

  /** Copies files over all connections. */
  async copyAll(copies: readonly Copy[]): Promise<void> {
    // A file of which another one reuses the bytes may itself be replaced, so that comes later.
    const isMoved = ({ node, target }: Copy) => (this.beginnings.get(node) ?? target) !== target;
    const moved = copies.filter(isMoved);
    const others = copies.filter((copy) => !isMoved(copy));
    for (const some of [moved, others]) {
      await this.#clients.run(this.#queuesOf(some), (client, batch) => this.#copy(client, batch));
    }
  }

  /** Copies files, one request after the other. */
  async copyInTurn(copies: readonly Copy[]): Promise<void> {
    for (const batch of this.#queuesOf(copies).flat()) await this.#copy(this.#clients.first, batch);
  }

  #queuesOf(copies: readonly Copy[]): [Copy[][], Copy[][]] {
    return queuesOf(copies, this.#settings.move ? MOVED_FILES : BATCH_FILES);
  }

  async #copy(client: TransferClient, copies: readonly Copy[]): Promise<void> {
    const [first] = copies;
    try {
      if (copies.length > 1 || isSmall(first!)) await this.#copySmall(client, copies);
      else await this.copyAlone(client, first!);
    } catch (error) {
      // Files that have arrived before the error need not be sent again.
      await this.#removeArrived().catch(() => {});
      throw error;
    }
    await this.#removeArrived();
  }

  /** Copies small files in one request, and some of them in a second one. */
  async #copySmall(client: TransferClient, copies: readonly Copy[]): Promise<void> {
    const left = new Map<Copy, unknown>(copies.map((copy) => [copy, null]));
    const alone: Copy[] = [];
    for (let attempt = 1; left.size > 0 && attempt <= 2; attempt++) {
      try {
        for await (const [copy, outcome] of this.#ends.copySmall(client, [...left.keys()])) {
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
          else this.#report.failed(copy.node, outcome.error);
        }
      } catch (error) {
        for (const { node } of left.keys()) this.#report.began(node, 0, 0);
        // Files that were in place before the connection broke off stay; the rest is requested once
        // more.
        if (attempt === 2 || !client.canReconnect || !isCut(error)) throw error;
      }
    }
    for (const [{ node }, error] of left) this.#report.failed(node, error);
    for (const copy of alone) await this.copyAlone(client, copy);
  }

  /** Notes a file that is at the target; with `move`, it is told when it was removed here. */
  copied(node: TreeNode, last: TransferResult, meter = this.#report.meter(node)): void {
    for (let { parent } = node; parent !== null && !this.made.has(parent); { parent } = parent) {
      this.made.add(parent);
    }
    const result = this.#report.resultOf(node, last);
    meter(node.size - result.reused, result.reused);
    const { move, dryRun } = this.#settings;
    if (move && !dryRun) return void this.#arrived.set(node, result);
    this.#report.copied(node, result);
    if (move) this.#report.event({ type: "removed", path: node.path });
  }

  /** Removes the files of the source that have arrived, and reports them. */
  async #removeArrived(): Promise<void> {
    const arrived = new Map(this.#arrived);
    this.#arrived.clear();
    if (arrived.size === 0) return;
    const outcomes = this.#ends.removeSources!([...arrived.keys()]);
    for await (const [node, removed] of outcomes) {
      const { path } = node;
      if (removed.is === "failed") this.#report.failed(node, removed.error);
      // A file that stays may still be being written: what was copied is perhaps its beginning.
      else if (removed.is === "kept") {
        this.#report.event({ type: "skipped", path, reason: UNSETTLED });
      } else this.#report.copied(node, arrived.get(node)!);
      if (removed.is === "removed") this.#report.event({ type: "removed", path });
    }
  }

  /** Copies a file; false if it has failed, alone. */
  async copyAlone(client: TransferClient, copy: Copy): Promise<boolean> {
    const meter = this.#report.meter(copy.node);
    let { size } = copy.node;
    let resumedFrom = 0;
    let reused = 0;
    let furthest = 0;
    let vainAttempts = 0;
    const beginning = this.beginnings.get(copy.node) ?? null;
    const { replace, modes, signal } = this.#settings;
    const settings: TransferSettings = {
      resume: true,
      replace,
      modes,
      modified: new Date(copy.node.modified),
      onProgress(progress) {
        ({ resumedFrom } = progress);
        meter(resumedFrom + progress.reused + progress.bytes - reused, reused);
      },
      onBegin: (from, now) => reused = this.#report.began(copy.node, from, now),
      signal,
    };
    while (true) {
      try {
        const result = await this.#ends.copyAlone(client, copy, settings, size, beginning);
        if (copy.late !== null) this.received.set(copy, { part: result, meter });
        else this.copied(copy.node, result, meter);
        return true;
      } catch (error) {
        signal.throwIfAborted();
        if (endsAll(error) || !client.isUsable) throw error;
        if (isTaken(error) && !copy.isSame) {
          meter(0);
          // What was refused at once has not arrived.
          if (vainAttempts === 0 && furthest === 0) this.#report.refused(copy.node);
          this.taken.push({ copy, sha256: null });
          return false;
        }
        // How far a file has got with a connection that broke off, the next attempt shows.
        const hasGotFurther = isCut(error) && resumedFrom > furthest;
        furthest = Math.max(furthest, resumedFrom);
        vainAttempts = hasGotFurther ? 0 : vainAttempts + 1;
        if (isCut(error) || hasChanged(error)) {
          const sizeNow = await this.#sizeNow(client, copy.node, size);
          signal.throwIfAborted();
          // A peer that does not answer either is gone.
          if (sizeNow === null) throw error;
          size = sizeNow;
          if (vainAttempts < 2) continue;
        }
        meter(0);
        this.#report.failed(copy.node, error);
        return false;
      }
    }
  }

  /** The size of a file at the other end now, or else the known size; `null` without an answer. */
  async #sizeNow(client: TransferClient, node: TreeNode, known: number): Promise<number | null> {
    try {
      const response = await client.request("HEAD", uriOfNode(this.#settings.uri, node), {});
      await response.discard();
      const { status, headers: { "content-length": length } } = response;
      return status === 200 && typeof length === "number" ? length : known;
    } catch {
      return null;
    }
  }
}

/** Whether something else than was seen has the name of a file. */
function isTaken(error: unknown): boolean {
  if (!(error instanceof TransferError)) return hasStatus(error, 412);
  return error.cause instanceof Refusal && error.cause.status === 412;
}

/** Two queues: of small files in batches, and of the other files alone. */
function queuesOf(copies: readonly Copy[], most = BATCH_FILES): [Copy[][], Copy[][]] {
  const small: Copy[][] = [];
  const large: Copy[][] = [];
  let batch: Copy[] = [];
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
