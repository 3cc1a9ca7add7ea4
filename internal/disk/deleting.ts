/** The refusal of deletions on a system on which they were not tested. */

/**
 * Whether deletions were tested on Windows. Set it to true once the suite has passed on a real
 * Windows, and change README.md. Tests set it for a while.
 */
export const deletingOnWindows = { isTried: false };

/** Returns why this package deletes nothing on this system; `null` if it deletes. */
export function deletingProblem(): string | null {
  return Deno.build.os === "windows" && !deletingOnWindows.isTried
    ? "not tried on Windows yet"
    : null;
}
