/** Deletions for peers and transfers: refused on a system where nobody tried them. */

/**
 * Whether they were tried on Windows. Whoever sees the suite pass on a real Windows changes this to
 * true, and what README.md says of it. A test may change it for a while.
 */
export const deletingOnWindows = { isTried: false };

/** Why nothing is deleted on this system; `null` where deletions were tried. */
export function deletingProblem(): string | null {
  return Deno.build.os === "windows" && !deletingOnWindows.isTried
    ? "not tried on Windows yet"
    : null;
}
