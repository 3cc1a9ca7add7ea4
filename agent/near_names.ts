/**
 * Names that may have been meant.
 *
 * @module
 */

/** The most names to suggest. */
const MAX_NAMES = 3;

/** The names that differ in few letters from what was typed, or begin with it; the nearest first. */
export function nearNames(typed: string, names: readonly string[]): string[] {
  const wanted = typed.toLowerCase();
  const most = Math.max(1, Math.floor(wanted.length / 3));
  const rated = names.map((name) => ({ name, distance: rate(wanted, name.toLowerCase()) }));
  return rated.filter(({ distance }) => distance <= most)
    .sort((a, b) => a.distance - b.distance).slice(0, MAX_NAMES).map(({ name }) => name);
}

function rate(wanted: string, name: string): number {
  const isBeginning = wanted !== "" && name.startsWith(wanted);
  return isBeginning ? 1 : distanceOf(wanted, name);
}

/** How many letters have to be added, removed, replaced or swapped with the next one (Damerau–Levenshtein). */
function distanceOf(a: string, b: string): number {
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = last[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      row[j] = Math.min(replaced, last[j]! + 1, row[j - 1]! + 1);
      const isSwapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (isSwapped) row[j] = Math.min(row[j]!, before[j - 2]! + 1);
    }
    before = last;
    last = row;
  }
  return last[b.length]!;
}
