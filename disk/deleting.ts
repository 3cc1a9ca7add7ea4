/** The refusal of deletions on a system on which deletions were not tested. */

/**
 * The state of deletions on Windows. Set `areTested` to true once the suite has passed on Windows,
 * not only under Wine, and change README.md. Some tests change the value.
 */
export const windowsDeletions = { areTested: false };

/** Returns the reason to refuse deletions on this system; `null` if deletions are allowed. */
export function findDeletionProblem(): string | null {
  return Deno.build.os === "windows" && !windowsDeletions.areTested
    ? "not tested on Windows yet"
    : null;
}
