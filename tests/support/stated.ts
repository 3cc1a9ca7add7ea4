/** Numbers that the documentation states, for tests that compare them with the behavior. */

import { assert } from "@std/assert";
import { readProjectFile } from "./tree.ts";

/** Reads a number from a page, across line breaks: the first group of the pattern. */
export async function readStatedNumber(page: string, pattern: RegExp): Promise<number> {
  const [, number] = pattern.exec((await readProjectFile(page)).replaceAll(/\s+/g, " ")) ?? [];
  assert(number !== undefined, `${page} doesn't say ${pattern}`);
  return Number(number.replaceAll(",", ""));
}
