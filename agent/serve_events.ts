/** The reports of a serving command on the files that peers get, put and delete. */

import { peerOf } from "@degu/degu/device";
import type { FileEvent } from "@degu/degu/files";
import { explain } from "./explain.ts";
import { counted, formatBytes, type Output } from "./output.ts";

/** The silence of a peer after which a line sums up its actions. */
const SILENCE_MILLISECONDS = 1000;
const VERBS = { get: "downloaded", put: "uploaded", delete: "deleted" } as const;

/** The actions of a peer since its last silence. */
interface Activity {
  readonly name: string;
  /** The first of the actions. */
  readonly text: string;
  count: number;
  cut: number;
  readonly sums: Map<FileEvent["action"], { files: number; bytes: number; last: string }>;
  timer: ReturnType<typeof setTimeout> | undefined;
}

/**
 * Reports the files that peers get, put and delete: with `--json` as an object for each file,
 * otherwise as a line for each peer that falls silent. A failing output is reported once, and
 * serving continues.
 */
export class ServeEvents implements Disposable {
  readonly #output: Output;
  readonly #activities = new Map<string, Activity>();
  #isLost = false;
  #isDisposed = false;

  constructor(output: Output) {
    this.#output = output;
  }

  add(area: string, { session, action, status, bytes, complete, path: names }: FileEvent): void {
    if (session === undefined) return;
    const { id, name } = peerOf(session);
    const path = [area, ...names].join("/");
    if (this.#output.json) {
      return this.#print({ event: action, peer: name, id, path, status, bytes, complete });
    }
    const size = `${formatBytes(bytes)}${complete ? "" : ", cut off"}`;
    const text = `${name} ${VERBS[action]} ${path}${action === "delete" ? "" : ` (${size})`}`;
    const activity = this.#activities.get(id) ??
      { name, text, count: 0, cut: 0, sums: new Map(), timer: undefined };
    this.#activities.set(id, activity);
    const sum = activity.sums.get(action) ?? { files: 0, bytes: 0, last: "" };
    activity.sums.set(action, sum);
    // A resumed file has several events.
    if (sum.last !== path) sum.files++;
    sum.last = path;
    sum.bytes += bytes;
    activity.count++;
    if (!complete) activity.cut++;
    clearTimeout(activity.timer);
    // A shutdown can cut a download after this was disposed of; report it at once.
    if (this.#isDisposed) this.#flush(id);
    else activity.timer = setTimeout(() => this.#flush(id), SILENCE_MILLISECONDS);
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

  [Symbol.dispose](): void {
    this.#isDisposed = true;
    for (const id of [...this.#activities.keys()]) this.#flush(id);
  }
}
