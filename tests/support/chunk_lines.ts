/** Counts scans of chunk lines. */

import { ChunkScanner } from "@degu/internal/base/wire/chunk.ts";
import { patch } from "./patching.ts";

/** Runs `work`, and counts the chunk lines that are scanned in the meantime. */
export async function countLines(work: () => Promise<void>): Promise<number> {
  let lines = 0;
  using _patch = patch(ChunkScanner.prototype, "advance", (advance) => {
    return function (this: ChunkScanner, ...args): number {
      const { phase } = this;
      const end = advance.apply(this, args);
      if (phase === "line" && end >= 0) lines++;
      return end;
    };
  });
  await work();
  return lines;
}
