/**
 * Mutants that no test can notice, each with the reason.
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
  /** Why nothing changes that anyone could see. */
  readonly reason: string;
}

const EQUIVALENTS: readonly Equivalent[] = [];

/** Why a mutant changes nothing, or `undefined` where it should be noticed. */
export function reasonFor(mutant: Mutant): string | undefined {
  return EQUIVALENTS.find((entry) =>
    entry.path === mutant.path && entry.code === mutant.code &&
    entry.before === mutant.before && entry.after === mutant.after
  )?.reason;
}
