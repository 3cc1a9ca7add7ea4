/**
 * The files that get their names only after something of another kind was deleted: each is received
 * first, then what is in the way is deleted with all the rest, then the part gets its name.
 * Whatever stops the call, one of the two is there.
 */

import { isCut } from "../transfer_error.ts";
import type { TransferClient } from "../transfer/client.ts";
import type { TreeCopies } from "./copies.ts";
import type { MissingDirectories } from "./directories.ts";
import type { TreeEnds } from "./ends.ts";
import { throwIfForAll, type TransferClients } from "./clients.ts";
import { type Copy, directoryMissing, failuresOf, type LateGroup } from "./plan.ts";
import type { TreeReport } from "./report.ts";
import { directoryAbove, type TreeNode } from "./tree.ts";

export class LateFiles {
  readonly #clients: TransferClients;
  readonly #ends: TreeEnds;
  readonly #report: TreeReport;
  readonly #copies: TreeCopies;
  readonly #directories: MissingDirectories;

  constructor(
    clients: TransferClients,
    ends: TreeEnds,
    report: TreeReport,
    copies: TreeCopies,
    directories: MissingDirectories,
  ) {
    this.#clients = clients;
    this.#ends = ends;
    this.#report = report;
    this.#copies = copies;
    this.#directories = directories;
  }

  /** Receives files that get their names after deletions; false if one of them has failed. */
  async receive(lates: readonly LateGroup[]): Promise<boolean> {
    const copies = lates.flatMap(({ copies }) => copies);
    const failed = new Set<TreeNode>();
    await this.#clients.run([copies], async (client, copy) => {
      if (!await this.#copies.copyAlone(client, copy)) failed.add(copy.node);
    });
    if (failed.size === 0) return true;
    for (const late of lates) this.fail(late, failed);
    return false;
  }

  /** Gives files their names, of which nothing is in the way any more. */
  async place({ copies, newDirectories }: LateGroup): Promise<void> {
    const failed = await this.#directories.make(newDirectories);
    const placed = copies.filter((copy) => {
      const above = directoryAbove(copy.node, failed);
      if (above === null) return true;
      this.#giveUp(copy);
      this.#report.failed(copy.node, directoryMissing(copy.node, failed.get(above)));
      return false;
    });
    await this.#clients.run([placed], (client, copy) => this.#placeOne(client, copy));
    await this.#directories.makeRest(newDirectories);
  }

  async #placeOne(client: TransferClient, copy: Copy): Promise<void> {
    const { part, meter } = this.#copies.received.get(copy)!;
    for (let attempt = 1;; attempt++) {
      try {
        if (await this.#ends.place(client, copy, part)) {
          this.#copies.copied(copy.node, part, meter);
        } else {
          meter(0);
          await this.#copies.copyAlone(client, { ...copy, late: null });
        }
        return;
      } catch (error) {
        if (attempt === 1 && client.canReconnect && isCut(error)) continue;
        throwIfForAll(error, client);
        meter(0);
        return this.#report.failed(copy.node, error);
      }
    }
  }

  /** Reports what can't get the name of something that stays, unless that was told already. */
  fail(late: LateGroup, told: ReadonlySet<TreeNode> = new Set()): void {
    for (const copy of late.copies) this.#giveUp(copy);
    for (const [node, error] of failuresOf(late)) {
      if (!told.has(node)) this.#report.failed(node, error);
    }
  }

  /** Removes the part of a file that does not get its name. */
  #giveUp(copy: Copy): void {
    const received = this.#copies.received.get(copy);
    if (received === undefined) return;
    received.meter(0);
    this.#ends.discard?.(copy);
  }
}
