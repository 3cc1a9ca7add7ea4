/**
 * Mistakes of the library that its servers report: they fail the test, the fuzzer or the soak in
 * which they happen.
 */

import { invalidTransitionError } from "@degu/internal/net/protocol/phases.ts";

const BUG = invalidTransitionError("", "").message.split(",")[0]!;

/** Throws an uncaught error if a log line reports a bug of the library. */
export function failAtBugs(line: string): void {
  if (line.includes(BUG)) queueMicrotask(() => reportError(new Error(line)));
}
