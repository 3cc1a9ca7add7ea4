import { peerOf } from "@degu/degu/device";
import type { FileEvent } from "@degu/degu/files";
import { explain } from "../words/explain.ts";
import { formatBytes, formatCount, type Output } from "../terminal/output.ts";

/** The silence of a peer after which one line summarizes its actions. */
const SILENCE_MILLISECONDS = 1000;
const VERBS = { get: "downloaded", put: "uploaded", delete: "deleted" } as const;

interface Activity {
  readonly name: string;
  readonly firstActionText: string;
  actionCount: number;
  cutCount: number;
  readonly totalsByAction: Map<
    FileEvent["action"],
    { files: number; bytes: number; lastPath: string; lastBytes: number; isLastComplete: boolean }
  >;
  silenceTimer?: ReturnType<typeof setTimeout>;
}

/**
 * Reports the files that peers get, put and delete: with `--json` as an object for each file,
 * otherwise as a line for each peer after a silence. Reports a failing output once, and continues.
 */
export class ServeEvents implements Disposable {
  readonly #output: Output;
  readonly #activities = new Map<string, Activity>();
  #hasFailed = false;
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
    // The client may have received some bytes of a write that failed.
    const cutText = complete ? "" : " or more, cut off";
    const sizeText = action === "delete" ? "" : ` (${formatBytes(bytes)}${cutText})`;
    const firstActionText = `${name} ${VERBS[action]} ${path}${sizeText}`;
    const activity: Activity = this.#activities.get(id) ??
      { name, firstActionText, actionCount: 0, cutCount: 0, totalsByAction: new Map() };
    this.#activities.set(id, activity);
    const total = activity.totalsByAction.get(action) ??
      { files: 0, bytes: 0, lastPath: "", lastBytes: 0, isLastComplete: false };
    activity.totalsByAction.set(action, total);
    // A resumed file has several events, of which the last is complete.
    const isAgain = action === "get" && total.isLastComplete;
    if (total.lastPath !== path || isAgain) total.files++;
    // An upload has the size of the whole file, also if the file has only grown.
    else if (action === "put") total.bytes -= total.lastBytes;
    total.lastPath = path;
    total.lastBytes = bytes;
    total.isLastComplete = complete;
    total.bytes += bytes;
    activity.actionCount++;
    if (!complete) activity.cutCount++;
    clearTimeout(activity.silenceTimer);
    // A shutdown can cut off a download after the disposal: report it immediately.
    if (this.#isDisposed) this.#flush(id);
    else activity.silenceTimer = setTimeout(() => this.#flush(id), SILENCE_MILLISECONDS);
  }

  #print(object: Record<string, unknown>): void {
    try {
      this.#output.printResult("", object);
    } catch (error) {
      if (!this.#hasFailed) {
        this.#output.warn(`the actions of peers can't be reported: ${explain(error)}`);
      }
      this.#hasFailed = true;
    }
  }

  #flush(id: string): void {
    const activity = this.#activities.get(id)!;
    this.#activities.delete(id);
    clearTimeout(activity.silenceTimer);
    const { name, firstActionText, actionCount, cutCount } = activity;
    if (actionCount === 1) return this.#output.note(firstActionText);
    const parts = Array.from(activity.totalsByAction, ([action, { files, bytes }]) => {
      const size = action === "delete" ? "" : ` (${formatBytes(bytes)})`;
      const parts = cutCount === actionCount ? "parts of " : "";
      return `${VERBS[action]} ${parts}${formatCount(files, "file")}${size}`;
    });
    this.#output.note(
      `${name} ${parts.join(", ")}${cutCount === 0 ? "" : `; ${cutCount} cut off`}`,
    );
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true;
    for (const id of [...this.#activities.keys()]) this.#flush(id);
  }
}
