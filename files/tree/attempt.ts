/**
 * One attempt of a call that copies a tree: what all who take part in it share, and the connections
 * over which they work at the same time.
 */

import type { Connector, Requester } from "../../client.ts";
import { TransferClient } from "../transfer/client.ts";
import { endsAll, isCut } from "../transfer_error.ts";
import type { TreeEnds } from "./ends.ts";
import type { TreeSettings } from "./options.ts";
import type { TreeReport } from "./report.ts";

export class TreeAttempt implements Disposable {
  readonly settings: TreeSettings;
  readonly ends: TreeEnds;
  readonly report: TreeReport;
  readonly #clients: TransferClient[];

  constructor(
    label: string,
    peer: Requester | Connector,
    settings: TreeSettings,
    ends: TreeEnds,
    report: TreeReport,
  ) {
    this.settings = settings;
    this.ends = ends;
    this.report = report;
    const { connections, signal } = settings;
    const first = new TransferClient(label, peer, { signal });
    this.#clients = [first];
    while (first.canReconnect && this.#clients.length < connections) {
      this.#clients.push(new TransferClient(label, peer, { signal }));
    }
  }

  /** The connection of all that is done one after the other. */
  get first(): TransferClient {
    return this.#clients[0]!;
  }

  /**
   * Runs jobs, as many at a time as there are connections. The first error aborts all of them.
   *
   * @param queues Half of the connections begin with the first, the others with the last.
   */
  async run<Job>(
    queues: readonly (readonly Job[])[],
    run: (client: TransferClient, job: Job) => Promise<void>,
  ): Promise<void> {
    const shared = queues.map((jobs) => jobs.values());
    await this.together(this.#clients.map((client, i) => async () => {
      for (const jobs of i % 2 === 0 ? shared : shared.toReversed()) {
        for (const job of jobs) await run(client, job);
      }
    }));
  }

  /**
   * Runs functions at the same time. The first error aborts all of them, and is thrown when all
   * have ended.
   */
  async together<T>(tasks: readonly (() => Promise<T>)[]): Promise<T[]> {
    const running = tasks.map((task) =>
      task().catch((error) => {
        this.settings.abort(error);
        throw error;
      })
    );
    const all = Promise.all(running);
    await Promise.allSettled([all, ...running]);
    return await all;
  }

  [Symbol.dispose](): void {
    for (const client of this.#clients) client[Symbol.dispose]();
  }
}

/** Throws an error that concerns all files; any other error is for the caller to report. */
export function rethrowIfFatal(error: unknown, client: TransferClient): void {
  if (endsAll(error) || isCut(error) || !client.isUsable) throw error;
}
