/**
 * How bodies from iterables handle invalid items.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import type { BodyIter, ChunkedBodyIter } from "@degu/degu/base";
import { rejectionOf } from "./expectations.ts";
import { RecordingSink, type TrackedItems } from "./streams.ts";

/** Asserts that a body over wrong items rejects, writes not a byte, and returns the iterator. */
export async function assertWritesNothing(
  body: BodyIter | ChunkedBodyIter,
  items: TrackedItems<unknown>,
  what: string,
): Promise<void> {
  const sink = new RecordingSink();
  const error = await rejectionOf(body.writeTo(sink), what);
  assert(error instanceof TypeError || error instanceof Error && error.name === "BodyError");
  assertEquals(sink.bytes.length, 0);
  assert(items.returned, "return() was not called");
}
