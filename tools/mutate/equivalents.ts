/**
 * Mutants that no test can detect, each with the reason.
 *
 * @module
 */

import type { Mutant } from "./mutants.ts";

interface Equivalent {
  readonly path: string;
  /** The line, without the white space around it. */
  readonly code: string;
  /** The code that is replaced, and what replaces it. */
  readonly before: string;
  readonly after: string;
  /** Why the behavior doesn't change. */
  readonly reason: string;
}

const EQUIVALENTS: readonly Equivalent[] = [];

/** Why a mutant changes nothing, or `undefined` if a test should detect it. */
export function reasonFor(mutant: Mutant): string | undefined {
  return EQUIVALENTS.find((entry) =>
    entry.path === mutant.path && entry.code === mutant.code &&
    entry.before === mutant.before && entry.after === mutant.after
  )?.reason;
}
