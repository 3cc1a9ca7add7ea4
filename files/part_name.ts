/**
 * The names of parts of downloads, which are kept beside their targets.
 *
 * @module
 */

/** What the name of a part ends with. */
export const PART_SUFFIX = ".degu-part";

/** Parts, what replaces one, and their records; as a file system may take the names that ignores case. */
const PART_NAME = /^\..*\.degu-part(\.new|\.json(\.tmp)?)?$/isu;

/**
 * Whether a name is that of a part or of what belongs to one. A peer that named a file so could make up
 * what a download continues, or change what another peer has sent.
 */
export function isPartName(name: string): boolean {
  return PART_NAME.test(name);
}
