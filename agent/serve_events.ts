/**
 * What `degu serve` reports about its peers.
 *
 * @module
 */

import { type Peer, peerOf } from "../device.ts";
import type { FileEvent } from "../files.ts";
import { explain } from "./failure.ts";
import { counted, formatBytes, type Output } from "./output.ts";

/** How to report. */
export interface ServeEventsOptions {
  /** A line for each file. */
  readonly verbose?: boolean;
  /** After so many milliseconds without an event of a peer a line says what it has done. */
  readonly silence?: number;
}

const SILENCE_MILLISECONDS = 1000;
const VERBS = { get: "downloaded", put: "uploaded", delete: "deleted" } as const;

/** An event as it is reported. */
interface Reported extends Omit<FileEvent, "session" | "path"> {
  readonly peer: Peer;
  readonly path: string;
}

/** What one peer has done since it was silent. */
interface Activity {
  readonly first: Reported;
  count: number;
  cut: number;
  readonly sums: Map<FileEvent["action"], { files: number; bytes: number; last: string }>;
  timer: ReturnType<typeof setTimeout> | undefined;
}

/**
 * Reports the files that peers get, put and delete: with `--json` an object for each, otherwise a line for all that a peer
 * has done until it is silent for a while. If the output fails, that is reported once, and serving continues.
 */
export class ServeEvents implements Disposable {
  readonly #output: Output;
  readonly #verbose: boolean;
  readonly #silence: number;
  /** By the ids of the peers. */
  readonly #activities = new Map<string, Activity>();
  #isLost = false;

  /** Reports nothing yet. */
  constructor(output: Output, options: ServeEventsOptions = {}) {
    this.#output = output;
    this.#verbose = options.verbose === true;
    this.#silence = options.silence ?? SILENCE_MILLISECONDS;
  }

  /** Takes an event of a file in `share` or `inbox`. */
  add(area: string, { session, path, ...event }: FileEvent): void {
    if (session === undefined) return;
    this.#report({ ...event, peer: peerOf(session), path: [area, ...path].join("/") });
  }

  #report(event: Reported): void {
    if (this.#output.json) return this.#printObject(event);
    if (this.#verbose) return this.#output.note(textOf(event));
    const { id } = event.peer;
    const activity = this.#activities.get(id) ??
      { first: event, count: 0, cut: 0, sums: new Map(), timer: undefined };
    this.#activities.set(id, activity);
    addTo(activity, event);
    clearTimeout(activity.timer);
    activity.timer = setTimeout(() => this.#flush(id), this.#silence);
  }

  #printObject({ peer: { name, id }, action, path, status, bytes, complete }: Reported): void {
    try {
      this.#output.result("", { event: action, peer: name, id, path, status, bytes, complete });
    } catch (error) {
      if (!this.#isLost) this.#output.warn(`what peers do can't be reported: ${explain(error)}`);
      this.#isLost = true;
    }
  }

  #flush(id: string): void {
    const activity = this.#activities.get(id)!;
    this.#activities.delete(id);
    clearTimeout(activity.timer);
    this.#output.note(summaryOf(activity));
  }

  /** Prints what is not printed yet. */
  [Symbol.dispose](): void {
    for (const id of [...this.#activities.keys()]) this.#flush(id);
  }
}

function addTo(activity: Activity, { action, path, bytes, complete }: Reported): void {
  const sum = activity.sums.get(action) ?? { files: 0, bytes: 0, last: "" };
  activity.sums.set(action, sum);
  // A file that is continued takes several exchanges.
  if (sum.last !== path) sum.files++;
  sum.last = path;
  sum.bytes += bytes;
  activity.count++;
  if (!complete) activity.cut++;
}

function summaryOf({ first, count, cut, sums }: Activity): string {
  if (count === 1) return textOf(first);
  const parts = Array.from(sums, ([action, { files, bytes }]) => {
    const size = action === "delete" ? "" : ` (${formatBytes(bytes)})`;
    return `${VERBS[action]} ${counted(files, "file")}${size}`;
  });
  return `${first.peer.name} ${parts.join(", ")}` + (cut === 0 ? "" : `; ${cut} cut off`);
}

function textOf({ peer, action, path, bytes, complete }: Reported): string {
  const cut = complete ? "" : ", cut off";
  const size = action === "delete" ? "" : ` (${formatBytes(bytes)}${cut})`;
  return `${peer.name} ${VERBS[action]} ${path}${size}`;
}
