/**
 * One attempt of a call that copies a tree: what all who take part in it share, and the connections
 * over which they work at the same time.
 */

import type { Connector, Requester } from "../../client.ts";
import { TransferClient } from "../transfer/client.ts";
import { isConnectionLoss, isFatal } from "../transfer_error.ts";
import { LocalTree } from "./local_tree.ts";
import type { TreeSettings } from "./options.ts";
import { RemoteState, RemoteTree } from "./remote_tree.ts";
import type { TreeReport } from "./report.ts";
import type { TreeSource, TreeTarget } from "./sides.ts";

/** A connection, with the two sides as they are used over it. */
export interface TreeWorker {
  readonly client: TransferClient;
  readonly source: TreeSource;
  readonly target: TreeTarget;
}

export class TreeAttempt implements Disposable {
  readonly settings: TreeSettings;
  readonly report: TreeReport;
  readonly #workers: TreeWorker[] = [];

  /** @param label Names the peer in errors, and says whether it is the source. */
  constructor(
    label: "from" | "to",
    peer: Requester | Connector,
    settings: TreeSettings,
    report: TreeReport,
  ) {
    this.settings = settings;
    this.report = report;
    const { connections, signal } = settings;
    const isDownload = label === "from";
    const local = new LocalTree(settings, !isDownload);
    const state = new RemoteState();
    do {
      const client = new TransferClient(label, peer, { signal });
      const remote = new RemoteTree(client, settings, isDownload, state);
      const [source, target] = isDownload ? [remote, local] : [local, remote];
      this.#workers.push({ client, source, target });
    } while (this.first.client.canReconnect && this.#workers.length < connections);
  }

  /** The connection of all that is done one after the other. */
  get first(): TreeWorker {
    return this.#workers[0]!;
  }

  /**
   * Runs jobs, as many at a time as there are connections. The first error aborts all of them.
   *
   * @param queues Half of the connections begin with the first, the others with the last.
   */
  async run<Job>(
    queues: readonly (readonly Job[])[],
    run: (worker: TreeWorker, job: Job) => Promise<void>,
  ): Promise<void> {
    const shared = queues.map((jobs) => jobs.values());
    await this.together(this.#workers.map((worker, i) => async () => {
      for (const jobs of i % 2 === 0 ? shared : shared.toReversed()) {
        for (const job of jobs) await run(worker, job);
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
    for (const { client } of this.#workers) client[Symbol.dispose]();
  }
}

/** Throws an error that concerns all files; any other error is for the caller to report. */
export function rethrowIfFatal(error: unknown, client: TransferClient): void {
  if (isFatal(error) || isConnectionLoss(error) || !client.isUsable) throw error;
}
