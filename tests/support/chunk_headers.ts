import { ChunkScanner } from "@degu/internal/base/wire/chunk.ts";
import { patch } from "./patching.ts";

/** Runs `work`, and counts the chunk headers that are scanned in the meantime. */
export async function countChunkHeaders(work: () => Promise<void>): Promise<number> {
  let headerCount = 0;
  using _patch = patch(ChunkScanner.prototype, "advance", (advance) => {
    return function (this: ChunkScanner, ...args): number {
      const { phase } = this;
      const end = advance.apply(this, args);
      if (phase === "header" && end >= 0) headerCount++;
      return end;
    };
  });
  await work();
  return headerCount;
}
