/**
 * The names of parts of downloads, which are kept next to their targets.
 *
 * @module
 */

/** The suffix of a part's name. */
export const PART_SUFFIX = ".degu-part";

/** Parts, their replacements and their records; ignoring case, as some file systems do. */
const PART_NAME = /^\..*\.degu-part(\.new|\.json(\.tmp)?)?$/isu;

/**
 * Reports whether a name is that of a part or of a file that belongs to one. A peer that used such a name could forge
 * what a download resumes, or change what another peer has sent.
 */
export function isPartName(name: string): boolean {
  return PART_NAME.test(name);
}
