/** Counts scans of chunk lines. */

import { ChunkScanner } from "@degu/internal/base/wire/chunk.ts";
import { patch } from "./patching.ts";

/** Runs `work`, and counts the chunk lines that are scanned until its end. */
export async function countLines(work: () => Promise<void>): Promise<number> {
  let lines = 0;
  using _counted = patch(ChunkScanner.prototype, "advance", (advance) => {
    return function (this: ChunkScanner, ...args): number {
      const { phase } = this;
      const next = advance.apply(this, args);
      if (phase === "line" && next >= 0) lines++;
      return next;
    };
  });
  await work();
  return lines;
}
