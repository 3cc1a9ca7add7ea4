/**
 * A one-way synchronization, step by step.
 *
 * @module
 */

import { remoteDigest } from "../files.ts";
import type { PeerConnections } from "./peer_connections.ts";
import { localDigest } from "./local_digest.ts";
import { counted } from "./output.ts";
import { planSync, type SyncPlan, type SyncRules, type SyncStep } from "./sync_plan.ts";
import type { SyncSides } from "./sync_sides.ts";
import type { Transfers } from "./transfers.ts";
import { type Direction, endsAll, explainTransfer } from "./failure.ts";

/** How to synchronize. */
export interface SyncOptions extends SyncRules {
  /** Whether to say only what would be done. */
  readonly dryRun: boolean;
}

/** Why nothing is deleted if the source is empty. */
const EMPTY =
  "it is empty, so nothing is deleted: is its disk mounted? To delete everything anyway, put a " +
  "file into it first";

/** Makes one side match the other. */
export class Synchronization {
  readonly #sides: SyncSides;
  readonly #connections: PeerConnections;
  readonly #transfers: Transfers;
  readonly #options: SyncOptions;
  readonly #signal: AbortSignal;
  #deleted = 0;

  /** Changes nothing yet. */
  constructor(
    sides: SyncSides,
    connections: PeerConnections,
    transfers: Transfers,
    options: SyncOptions,
    signal: AbortSignal,
  ) {
    this.#sides = sides;
    this.#connections = connections;
    this.#transfers = transfers;
    this.#options = options;
    this.#signal = signal;
  }

  /** Carries it out; resolves to the summary to print at the end. */
  async run(): Promise<string[]> {
    const { source, target } = this.#sides;
    const plan = planSync(source, target, this.#options);
    this.#report(plan);
    this.#transfers.addUnchanged(plan.unchanged);
    for (const step of plan.clear) await this.#remove(step);
    const copies: SyncStep[] = [];
    for (const step of plan.steps) {
      this.#signal.throwIfAborted();
      if (step.action === "make") await this.#make(step);
      else if (step.action === "copy" || await this.#differs(step)) copies.push(step);
    }
    await this.#copy(copies);
    await this.#delete(plan.deletions);
    const would = this.#options.dryRun ? "would be " : "";
    return [
      ...(this.#options.dryRun ? [`${counted(copies.length, "file")} would be copied`] : []),
      ...(this.#deleted === 0 ? [] : [`${this.#deleted} ${would}deleted`]),
    ];
  }

  /** Says what is left out, and what can't be done. */
  #report({ conflicts, keeps }: SyncPlan): void {
    const { source, target, sourceName, targetName } = this.#sides;
    for (const { names, problem } of source.skipped) {
      this.#transfers.warn(`${sourceName(names)}: skipped: ${problem}`);
    }
    for (const { names, problem } of source.failed) {
      this.#transfers.fail(sourceName(names), problem);
    }
    for (const { names, problem } of target.failed) {
      this.#transfers.fail(targetName(names), problem);
    }
    for (const { names, problem } of conflicts) this.#transfers.fail(targetName(names), problem);
    if (keeps === "empty") this.#transfers.fail(sourceName([]), EMPTY);
    if (keeps === "unlisted") {
      this.#transfers.warn(
        "nothing is deleted, as not everything could be listed: what seems to be missing may be there",
      );
    }
  }

  /** Deletes what is superfluous once all that the source has is at the target: it may be the same by another name. */
  async #delete(steps: readonly SyncStep[]): Promise<void> {
    if (steps.length > 0 && this.#transfers.failed > 0) {
      this.#transfers.warn("nothing more is deleted, as not everything could be copied");
      return;
    }
    for (const step of steps) await this.#remove(step);
  }

  async #make({ entry: { names } }: SyncStep): Promise<void> {
    const name = `${this.#sides.targetName(names)}/`;
    const make = () => this.#sides.makeDirectory(names);
    await this.#try(name, this.#sides.direction, { action: "make", path: name }, make);
  }

  async #remove({ entry }: SyncStep): Promise<void> {
    const { names, kind } = entry;
    const name = this.#sides.targetName(names) + (kind === "directory" ? "/" : "");
    const remove = async () => {
      await this.#sides.remove(entry);
    };
    const isDone = await this.#try(name, "delete", { action: "delete", path: name }, remove);
    if (isDone) this.#deleted++;
  }

  /** Changes something at the target, or says that it would; resolves to whether that was possible. */
  async #try(
    name: string,
    direction: Direction,
    object: { readonly action: string; readonly path: string },
    change: () => Promise<void>,
  ): Promise<boolean> {
    this.#signal.throwIfAborted();
    const { dryRun } = this.#options;
    try {
      if (!dryRun) await change();
    } catch (error) {
      this.#signal.throwIfAborted();
      if (endsAll(error)) throw error;
      this.#transfers.fail(name, explainTransfer(error, direction), object);
      return false;
    }
    const text = object.action === "delete" ? `deleted ${name}` : name;
    this.#transfers.result(dryRun ? `would ${object.action} ${name}` : text, {
      ...object,
      ...(dryRun ? { dryRun } : {}),
    });
    return true;
  }

  /** Whether two files of the same size have different contents. */
  async #differs({ entry: { names } }: SyncStep): Promise<boolean> {
    const { uri, path } = this.#sides.places(names);
    const signal = this.#signal;
    try {
      const ours = await localDigest(path, signal);
      const theirs = await this.#connections.call((connection) => {
        return remoteDigest(connection, uri, { signal });
      });
      if (ours === theirs) this.#transfers.addUnchanged(1);
      return ours !== theirs;
    } catch (error) {
      signal.throwIfAborted();
      if (endsAll(error)) throw error;
      this.#transfers.fail(this.#sides.sourceName(names), explainTransfer(error, "get"));
      return false;
    }
  }

  async #copy(steps: readonly SyncStep[]): Promise<void> {
    const { targetName, sourceName } = this.#sides;
    if (!this.#options.dryRun) {
      await this.#transfers.run(
        this.#connections,
        steps.map(({ entry }) => this.#sides.copyJob(entry)),
      );
      return;
    }
    for (const { entry: { names, size } } of steps) {
      const [from, to] = [sourceName(names), targetName(names)];
      this.#transfers.result(`would copy ${from} to ${to}`, {
        action: "copy",
        from,
        to,
        size,
        dryRun: true,
      });
    }
  }
}
