/** Reused connections to one peer, and calls that are retried when a connection is lost. */

import type { Client, Connection } from "../client.ts";
import { isTransient, type Retry, retry, type RetryProgress } from "../files.ts";
import { reasonOf } from "./failure.ts";

/** How many things are done at a time: while one waits for the disk, another is being transferred. */
const AT_A_TIME = 4;

/** How many times a call is retried. */
const RETRIES = 3;

/** Called after progress, which resets the count of retries. */
export type Moved = (progress?: RetryProgress) => void;

/** A peer that has been silent for this long is worth a message: nobody knows otherwise whether anything happens. */
const SILENCE_MILLISECONDS = 10_000;

/** What is called, and by what. */
export type Call<Target, T> = (target: Target, moved: Moved) => Promise<T>;

/** The connections to one peer: as many as there are calls at a time. Disposing of them closes them. */
export interface PeerConnections extends Disposable {
  /** Makes a call over a connection that no other call is using; retries it if that can help. */
  call<T>(action: Call<Connection, T>): Promise<T>;
  /** Makes a call that connects when it is ready: one that reads a large file first. */
  callAnew<T>(action: Call<Client, T>): Promise<T>;
  /** Does something with each of them, a few at a time; the first error ends it. */
  each<T>(
    items: Iterable<T>,
    work: (item: T, signal: AbortSignal) => Promise<void>,
  ): Promise<void>;
}

/**
 * Makes connections to a peer when they are needed.
 *
 * @param note Called when a call is retried, and when nothing has been moved for a while.
 * @param retries The most retries before something has been moved again.
 * @param silence Milliseconds after which that is reported.
 */
export function connectionsTo(
  client: Client,
  signal: AbortSignal,
  note: (text: string) => void,
  retries: number = RETRIES,
  silence: number = SILENCE_MILLISECONDS,
): PeerConnections {
  const idle: Connection[] = [];
  let calls = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let heardAt = 0;
  let notedUntil = 0;

  /** Begins a new silence, where any call is under way. */
  const watchSilence = () => {
    clearTimeout(timer);
    if (calls === 0) return;
    heardAt = performance.now();
    const text = `nothing has arrived for ${silence / 1000} s; still waiting`;
    timer = setTimeout(() => note(text), silence);
  };

  /** Reports it once if several calls have lost their connections at the same moment. */
  const onRetry = ({ error, number, delay }: Retry) => {
    const now = performance.now();
    if (now < notedUntil) return;
    notedUntil = now + delay / 2;
    note(`${reasonOf(error)}; trying again in ${delay / 1000} s (${number} of ${retries})`);
  };

  const tryOften = async <T>(attempt: (moved: Moved) => Promise<T>): Promise<T> => {
    const watched = (moved: Moved) =>
      attempt((progress) => {
        // Of small files there are thousands a second.
        if (performance.now() - heardAt > silence / 100) watchSilence();
        moved(progress);
      });
    calls++;
    watchSilence();
    try {
      return await retry(watched, { retries, signal, onRetry });
    } finally {
      calls--;
      watchSilence();
    }
  };

  const callOver = async <T>(connection: Connection, action: Call<Connection, T>, moved: Moved) => {
    let isUsable = false;
    try {
      const result = await action(connection, moved);
      isUsable = true;
      return result;
    } finally {
      if (isUsable && !connection.closed) idle.push(connection);
      else connection.close();
    }
  };

  return {
    call: (action) =>
      tryOften(async (moved) => {
        const connect = () => client.connect(undefined, { signal });
        let used;
        do used = idle.pop(); while (used?.closed);
        if (used === undefined) return await callOver(await connect(), action, moved);
        let hasMoved = false;
        try {
          return await callOver(used, action, (progress) => {
            hasMoved = true;
            moved(progress);
          });
        } catch (error) {
          // The server may close a connection between two calls: that is no reason to wait.
          if (hasMoved || !isTransient(error)) throw error;
          return await callOver(await connect(), action, moved);
        }
      }),
    callAnew: (action) => tryOften((moved) => action(client, moved)),
    each: async (items, work) => {
      const stopping = new AbortController();
      const either = AbortSignal.any([signal, stopping.signal]);
      const waiting = Iterator.from(items);
      const run = async () => {
        for (const item of waiting) {
          if (either.aborted) return;
          await work(item, either);
        }
      };
      // The first error is the reason that counts.
      const running = () => run().catch((error) => stopping.abort(error));
      await Promise.all(Array.from({ length: AT_A_TIME }, running));
      either.throwIfAborted();
    },
    [Symbol.dispose]: () => {
      for (const connection of idle.splice(0)) connection.close();
    },
  };
}
