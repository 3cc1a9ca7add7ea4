/**
 * Set `areTested` to true once the suite has passed on Windows, not only under Wine, and change
 * README.md. Some tests change the value.
 */
export const windowsDeletions = { areTested: false };

export function findDeletionProblem(): string | null {
  return Deno.build.os === "windows" && !windowsDeletions.areTested
    ? "not tested on Windows yet"
    : null;
}
