/**
 * How many bytes this project's writers pass to a socket at once, so that raw writes can be as large.
 *
 * @module
 */

import { PatternSource } from "./pattern.ts";

/** What is taken where this project's bodies can't be asked. */
const fallbackLength = 1 << 20;
const probeLength = 16 << 20;

/** Lets a `Body` write itself and gives the length of its largest write. */
export async function findWriteLength(): Promise<number> {
  let largest = 0;
  try {
    const { Body } = await import("../base.ts");
    await new Body(new PatternSource(probeLength), probeLength).writeTo({
      write(bytes: Uint8Array): Promise<void> {
        largest = Math.max(largest, bytes.length);
        return Promise.resolve();
      },
    });
    return largest;
  } catch {
    // The contenders that need the module report what is wrong with it.
    return fallbackLength;
  }
}
