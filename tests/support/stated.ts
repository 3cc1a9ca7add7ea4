/** The statements of the documentation's pages, for tests that compare them with the behavior. */

import { assert } from "@std/assert";
import { readProjectFile } from "./tree.ts";

/** The number on a page at a place, across line breaks; the first group of the pattern is the number. */
export async function readStatedNumber(page: string, place: RegExp): Promise<number> {
  const [, number] = place.exec((await readProjectFile(page)).replaceAll(/\s+/g, " ")) ?? [];
  assert(number !== undefined, `${page} doesn't say ${place}`);
  return Number(number.replaceAll(",", ""));
}
