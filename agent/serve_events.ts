/**
 * What `degu serve` reports about its peers.
 *
 * @module
 */

import { peerOf } from "../device.ts";
import type { FileEvent } from "../files.ts";
import { explain } from "./failure.ts";
import { counted, formatBytes, type Output } from "./output.ts";

/** How long a peer is silent before a line says what it has done. */
const SILENCE_MILLISECONDS = 1000;
const VERBS = { get: "downloaded", put: "uploaded", delete: "deleted" } as const;

/** What one peer has done since it was silent. */
interface Activity {
  readonly name: string;
  /** What it has done first. */
  readonly text: string;
  count: number;
  cut: number;
  readonly sums: Map<FileEvent["action"], { files: number; bytes: number; last: string }>;
  timer: ReturnType<typeof setTimeout> | undefined;
}

/**
 * Reports the files that peers get, put and delete: with `--json` an object for each, with `--verbose` a line for each,
 * otherwise a line for all that a peer has done until it is silent for a while. If the output fails, that is reported once, and
 * serving continues.
 */
export class ServeEvents implements Disposable {
  readonly #output: Output;
  readonly #isVerbose: boolean;
  /** By the ids of the peers. */
  readonly #activities = new Map<string, Activity>();
  #isLost = false;

  /** Reports nothing yet. */
  constructor(output: Output, isVerbose: boolean) {
    this.#output = output;
    this.#isVerbose = isVerbose;
  }

  /** Takes an event of a file in `share` or `inbox`. */
  add(area: string, { session, action, status, bytes, complete, path: names }: FileEvent): void {
    if (session === undefined) return;
    const { id, name } = peerOf(session);
    const path = [area, ...names].join("/");
    if (this.#output.json) {
      return this.#print({ event: action, peer: name, id, path, status, bytes, complete });
    }
    const size = `${formatBytes(bytes)}${complete ? "" : ", cut off"}`;
    const text = `${name} ${VERBS[action]} ${path}${action === "delete" ? "" : ` (${size})`}`;
    if (this.#isVerbose) return this.#output.note(text);
    const activity = this.#activities.get(id) ??
      { name, text, count: 0, cut: 0, sums: new Map(), timer: undefined };
    this.#activities.set(id, activity);
    const sum = activity.sums.get(action) ?? { files: 0, bytes: 0, last: "" };
    activity.sums.set(action, sum);
    // A file that is continued takes several exchanges.
    if (sum.last !== path) sum.files++;
    sum.last = path;
    sum.bytes += bytes;
    activity.count++;
    if (!complete) activity.cut++;
    clearTimeout(activity.timer);
    activity.timer = setTimeout(() => this.#flush(id), SILENCE_MILLISECONDS);
  }

  #print(object: Record<string, unknown>): void {
    try {
      this.#output.result("", object);
    } catch (error) {
      if (!this.#isLost) this.#output.warn(`what peers do can't be reported: ${explain(error)}`);
      this.#isLost = true;
    }
  }

  #flush(id: string): void {
    const { name, text, count, cut, sums, timer } = this.#activities.get(id)!;
    this.#activities.delete(id);
    clearTimeout(timer);
    if (count === 1) return this.#output.note(text);
    const parts = Array.from(sums, ([action, { files, bytes }]) => {
      const size = action === "delete" ? "" : ` (${formatBytes(bytes)})`;
      return `${VERBS[action]} ${counted(files, "file")}${size}`;
    });
    this.#output.note(`${name} ${parts.join(", ")}${cut === 0 ? "" : `; ${cut} cut off`}`);
  }

  /** Prints what is not printed yet. */
  [Symbol.dispose](): void {
    for (const id of [...this.#activities.keys()]) this.#flush(id);
  }
}
