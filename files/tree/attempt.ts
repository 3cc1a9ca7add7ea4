import { type Connector, isTransient, type Requester } from "../../client.ts";
import { TransferClient } from "../transfer/client.ts";
import { isConnectionLoss, isFatal, isServerError } from "../transfer_error.ts";
import { LocalTree } from "./local_tree.ts";
import type { TreeSettings } from "./options.ts";
import { RemoteState, RemoteTree } from "./remote_tree.ts";
import type { TreeReport } from "./report.ts";
import type { TreeSource, TreeTarget } from "./sides.ts";

export interface TreeWorker {
  readonly client: TransferClient;
  readonly source: TreeSource;
  readonly target: TreeTarget;
}

export class TreeAttempt implements Disposable {
  readonly #workers: TreeWorker[] = [];
  readonly #state = new RemoteState();
  readonly local: LocalTree;

  constructor(
    label: "from" | "to",
    peer: Requester | Connector,
    readonly settings: TreeSettings,
    readonly report: TreeReport,
  ) {
    const { connections } = settings;
    const isDownload = label === "from";
    this.local = new LocalTree(settings, !isDownload);
    const onData = () => report.noteData();
    do {
      const client = new TransferClient(label, peer, { ...settings, onData });
      const remote = new RemoteTree(client, settings, isDownload, this.#state);
      const [source, target] = isDownload ? [remote, this.local] : [this.local, remote];
      this.#workers.push({ client, source, target });
    } while (this.firstWorker.client.canReconnect && this.#workers.length < connections);
  }

  get firstWorker(): TreeWorker {
    return this.#workers[0]!;
  }

  /** True if the target is known to be a server that only adds files. */
  get refusesReplacement(): boolean {
    return this.#state.isAddOnly;
  }

  /**
   * The first error aborts all jobs.
   *
   * @param queues The jobs. Half of the connections begin with the first queue, the others with the
   * last queue.
   */
  async run<Job>(
    queues: readonly (readonly Job[])[],
    run: (worker: TreeWorker, job: Job) => Promise<void>,
  ): Promise<void> {
    const jobIterators = queues.map((jobs) => jobs.values());
    await this.runAll(this.#workers.map((worker, index) => async () => {
      for (const jobs of index % 2 === 0 ? jobIterators : jobIterators.toReversed()) {
        for (const job of jobs) await run(worker, job);
      }
    }));
  }

  /** The first error aborts all tasks, and is thrown after all tasks have ended. */
  async runAll<T>(tasks: readonly (() => Promise<T>)[]): Promise<T[]> {
    const taskPromises = tasks.map((task) =>
      task().catch((error) => {
        this.settings.abort(error);
        throw error;
      })
    );
    const allResults = Promise.all(taskPromises);
    await Promise.allSettled([allResults, ...taskPromises]);
    return await allResults;
  }

  /** The caller reports any other error, for the file that the error concerns. */
  async rethrowIfFatal(error: unknown, client: TransferClient): Promise<void> {
    this.settings.signal.throwIfAborted();
    if (isFatal(error) || isConnectionLoss(error) || !client.isUsable) throw error;
    if (!isServerError(error)) return;
    if (await this.probeServer(client) >= 500 || !client.isUsable) throw error;
    // Another attempt may succeed.
    if (isTransient(error)) this.report.firstInterruption ??= { error };
  }

  /** Requests the target or source again; returns the status, or `Infinity` without a response. */
  async probeServer(client: TransferClient): Promise<number> {
    try {
      const response = await client.request("HEAD", this.settings.uri, {});
      await response.discard();
      return response.status;
    } catch {
      return Infinity;
    }
  }

  [Symbol.dispose](): void {
    for (const { client } of this.#workers) client[Symbol.dispose]();
  }
}
