/** What the pages of the documentation state, for tests that compare it with what happens. */

import { assert } from "@std/assert";
import { read } from "./tree.ts";

/** The number on a page at a place, which the first group of the pattern is. */
export async function stated(page: string, place: RegExp): Promise<number> {
  const [, number] = place.exec(await read(page)) ?? [];
  assert(number !== undefined, `${page} doesn't say ${place}`);
  return Number(number.replaceAll(",", ""));
}
