/** Counts scans of chunk lines. */

import { ChunkScanner } from "@degu/internal/base/wire/chunk.ts";

/** Runs `work`, and counts the chunk lines that are scanned until its end. */
export async function countLines(work: () => Promise<void>): Promise<number> {
  const { prototype } = ChunkScanner;
  const { advance } = prototype;
  let lines = 0;
  prototype.advance = function (this: ChunkScanner, ...args): number {
    const { phase } = this;
    const next = advance.apply(this, args);
    if (phase === "line" && next >= 0) lines++;
    return next;
  };
  try {
    await work();
  } finally {
    prototype.advance = advance;
  }
  return lines;
}
