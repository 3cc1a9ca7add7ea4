import type { HeadersToSend } from "@degu/degu/base";
import { parseDecimal } from "@degu/degu/internal";
import { isSparse, spaceOf } from "../disk/holes.ts";

/** Makes the header that says that a file takes less space than its length. */
export function makeSpaceHeader(info: Pick<Deno.FileInfo, "size" | "blocks">): HeadersToSend {
  return isSparse(info) ? { "file-space": `${spaceOf(info)}` } : {};
}

/** @returns `null` without a valid header: the file takes the space of all its bytes. */
export function parseSpace(value: unknown): number | null {
  const bytes = typeof value === "string" ? parseDecimal(value) : -1;
  return bytes < 0 ? null : bytes;
}
