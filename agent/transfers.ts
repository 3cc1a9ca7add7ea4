/**
 * Many transfers of one command: some at a time, over few connections, with one progress bar and one end.
 *
 * @module
 */

import type { Client, Connection } from "../client.ts";
import { isTransient, type TransferOptions, type TransferResult } from "../files.ts";
import type { Context } from "./context.ts";
import { exitCodeOf, FAILED, Failure, REFUSED } from "./failure.ts";
import { type Moved, PeerConnections } from "./peer_connections.ts";
import type { ProgressBar } from "./progress_bar.ts";
import { type Direction, endsAll, explainTransfer } from "./transfer_problems.ts";
import { formatBytes, formatDuration } from "./units.ts";

/** How many files are moved at a time: while one waits for the disk, another is being transferred. */
const AT_A_TIME = 4;
/** A larger file gets a connection of its own once it is hashed: a server does not wait for that. */
const LARGE_BYTES = 67_108_864;

/** A file to be moved. */
export interface Job {
  /** What it is called in messages. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
  /** What is printed when it has been moved. */
  readonly result: string;
  /** What `--json` prints about it besides the result. */
  readonly object: Readonly<Record<string, unknown>>;
  /** Moves it; resolves to `null` if it was there already. */
  move(target: Client | Connection, options: TransferOptions): Promise<TransferResult | null>;
}

/** Moves files, and counts what has happened. */
export class Transfers implements Disposable {
  readonly #context: Context;
  readonly #direction: Direction;
  readonly #startedAt = performance.now();
  #bar: ProgressBar | null = null;
  #name = "";
  #files = 0;
  #totalFiles = 0;
  #totalBytes = 0;
  /** Of files that are done. */
  #doneBytes = 0;
  #moved = 0;
  #movedFiles = 0;
  #unchanged = 0;
  #failed = 0;
  /** Bytes of the files in progress that have arrived or were there before. */
  readonly #underWay = new Map<Job, { there: number; moved: number }>();

  /** Begins with nothing to do. */
  constructor(context: Context, direction: Direction) {
    this.#context = context;
    this.#direction = direction;
  }

  /** How many things could not be done so far. */
  get failed(): number {
    return this.#failed;
  }

  /** Counts files that don't have to be moved. */
  addUnchanged(count: number): void {
    this.#unchanged += count;
  }

  /** Prints a line to stderr. */
  note(text: string): void {
    this.#print(() => this.#context.output.note(text));
  }

  /** Prints a warning to stderr. */
  warn(text: string): void {
    this.#print(() => this.#context.output.warn(text));
  }

  /** Prints a result to stdout; only with `--json` when `--quiet` is given. */
  result(text: string, object: Record<string, unknown>): void {
    const { output } = this.#context;
    if (output.quiet && !output.json) return;
    this.#print(() => output.result(text, object));
  }

  /** Counts and reports something that could not be done. */
  fail(
    name: string,
    problem: string,
    object: Readonly<Record<string, unknown>> = { path: name },
  ): void {
    this.#failed++;
    const { output } = this.#context;
    this.#print(() => {
      output.error(`${name}: ${problem}`);
      if (output.json) output.result("", { ...object, error: problem });
    });
  }

  /**
   * Moves files. If one can't be moved, the others still are, unless they would fail as well.
   *
   * @throws an error that all would fail with: the peer can't be reached, a disk is full, the command was interrupted.
   */
  async run(connections: PeerConnections, jobs: readonly Job[]): Promise<void> {
    this.#totalFiles += jobs.length;
    for (const { size } of jobs) this.#totalBytes += size;
    await this.#openBar();
    const stopping = new AbortController();
    const signal = AbortSignal.any([this.#context.signal, stopping.signal]);
    const waiting = jobs.values();
    const work = async () => {
      for (const job of waiting) {
        if (signal.aborted) return;
        await this.#moveOne(connections, job, signal);
      }
    };
    // The first error is the reason that counts.
    const workers = Array.from(
      { length: AT_A_TIME },
      () => work().catch((error) => stopping.abort(error)),
    );
    await Promise.all(workers);
    if (this.#context.signal.aborted) {
      this.note("what has been moved is kept: run the same command again to continue");
      this.#context.signal.throwIfAborted();
    }
    stopping.signal.throwIfAborted();
  }

  async #moveOne(connections: PeerConnections, job: Job, signal: AbortSignal): Promise<void> {
    this.#name = job.name;
    const state = { there: 0, moved: 0 };
    this.#underWay.set(job, state);
    this.#show();
    let result: TransferResult | null;
    try {
      result = await this.#move(connections, job, signal, state);
    } catch (error) {
      signal.throwIfAborted();
      if (endsAll(error)) throw this.#ending(job, error);
      return this.fail(job.name, explainTransfer(error, this.#direction), job.object);
    } finally {
      this.#underWay.delete(job);
      this.#moved += state.moved;
      this.#doneBytes += job.size;
      this.#files++;
      this.#show();
    }
    // A closed output is not a failure of this file.
    this.#done(job, result);
  }

  /** The error that ends the command; what was moved stays. */
  #ending({ name, object }: Job, error: unknown): Failure {
    const problem = explainTransfer(error, this.#direction);
    const { output } = this.#context;
    if (output.json) output.result("", { ...object, error: problem });
    const hint = isTransient(error) ? "; run the same command again to continue" : "";
    const exitCode = exitCodeOf(error) === REFUSED ? REFUSED : FAILED;
    return new Failure(exitCode, `${name}: ${problem}${hint}`, { cause: error });
  }

  async #move(
    connections: PeerConnections,
    job: Job,
    signal: AbortSignal,
    state: { there: number; moved: number },
  ): Promise<TransferResult | null> {
    const attempt = (target: Client | Connection, moved: Moved) => {
      const before = state.moved;
      return job.move(target, {
        signal,
        onProgress: ({ bytes, resumedFrom }) => {
          moved({ bytes, resumedFrom });
          state.there = resumedFrom + bytes;
          state.moved = before + bytes;
          this.#show();
        },
      });
    };
    return job.size >= LARGE_BYTES
      ? await connections.callAnew(attempt)
      : await connections.call(attempt);
  }

  #done({ result: text, object }: Job, result: TransferResult | null): void {
    if (result === null) {
      this.#unchanged++;
      if (this.#context.output.json) this.result("", { ...object, unchanged: true });
      return;
    }
    this.#movedFiles++;
    this.result(text, { ...object, ...result });
  }

  async #openBar(): Promise<void> {
    const { json, quiet } = this.#context.output;
    if (this.#bar !== null || json || quiet || !Deno.stderr.isTerminal()) return;
    // What it is made with takes long to load; most commands need none.
    const { ProgressBar } = await import("./progress_bar.ts");
    this.#bar = new ProgressBar(this.#progress());
  }

  #show(): void {
    const moved = this.#sum("moved");
    this.#bar?.show(this.#progress(), this.#moved + moved);
  }

  #progress() {
    return {
      name: this.#name,
      files: this.#files,
      totalFiles: this.#totalFiles,
      bytes: this.#doneBytes + this.#sum("there"),
      totalBytes: this.#totalBytes,
    };
  }

  #sum(what: "there" | "moved"): number {
    let sum = 0;
    for (const state of this.#underWay.values()) sum += state[what];
    return sum;
  }

  #print(print: () => void): void {
    this.#bar?.clear();
    print();
  }

  /**
   * Says what was done.
   *
   * @param more What else to print.
   * @param dryRun Whether nothing was to be moved.
   * @returns The exit code: 0, or 1 if something could not be done.
   */
  finish(more: readonly string[] = [], dryRun = false): number {
    this[Symbol.dispose]();
    const seconds = (performance.now() - this.#startedAt) / 1000;
    const time = this.#moved > 0 ? ` in ${formatDuration(seconds)}` : "";
    const moved = `${counted(this.#movedFiles, "file")} moved, ${formatBytes(this.#moved)}${time}`;
    const isInVain = this.#movedFiles === 0 && this.#failed > 0;
    const parts = [
      ...(dryRun || isInVain ? [] : [moved]),
      ...(this.#unchanged > 0 ? [`${this.#unchanged} there already`] : []),
      ...more,
    ];
    const { output } = this.#context;
    if (parts.length > 0) output.note(parts.join("; "));
    if (this.#failed === 0) return 0;
    // If there was only one thing to do, the line above says it all.
    if (this.#failed > 1 || parts.length > 0) {
      output.error(
        `${
          counted(this.#failed, "error")
        }: see above; what was moved stays, and running the same ` +
          "command again continues with the rest",
      );
    }
    return FAILED;
  }

  /** Removes the progress bar. */
  [Symbol.dispose](): void {
    this.#bar?.[Symbol.dispose]();
    this.#bar = null;
  }
}

/** A number of things: `"1 file"`, `"2 files"`. */
export function counted(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? "" : "s"}`;
}
