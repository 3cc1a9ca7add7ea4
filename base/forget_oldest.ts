/** Bounds maps that strangers could otherwise fill without limit. */

/** Removes the oldest entry of a map that has more than `most` entries. */
export function forgetOldest<Key>(map: Map<Key, unknown>, most: number): void {
  if (map.size > most) map.delete(map.keys().next().value!);
}
