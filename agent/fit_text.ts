/**
 * Texts that fit into the width of a terminal.
 *
 * @module
 */

import stringWidth from "npm:string-width@^8.1.0";

const ELLIPSIS = "…";
const segmenter = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** How many columns a text takes; wide characters take two. */
export function widthOf(text: string): number {
  return stringWidth(text);
}

/** Cuts out the middle of a text that has more columns than these: both ends of a name are informative. */
export function fitText(text: string, columns: number): string {
  if (widthOf(text) <= columns) return text;
  if (columns <= 0) return "";
  const characters = [...segmenter.segment(text)].map(({ segment }) => segment);
  const room = columns - widthOf(ELLIPSIS);
  const start = takeWhile(characters, Math.ceil(room / 2));
  const end = takeWhile(characters.toReversed(), room - widthOf(start.join("")));
  return `${start.join("")}${ELLIPSIS}${end.toReversed().join("")}`;
}

/** As many characters as fit. */
function takeWhile(characters: readonly string[], columns: number): string[] {
  let width = 0;
  const end = characters.findIndex((character) => (width += widthOf(character)) > columns);
  return characters.slice(0, end < 0 ? characters.length : end);
}
