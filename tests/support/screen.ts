/**
 * What a person sees on a terminal after all that a program has written to it.
 *
 * @module
 */

/** A control sequence, a saved or restored cursor, or one character. */
// deno-lint-ignore no-control-regex -- control sequences are what it is for
const PIECE = /\x1b\[([\d;?]*)([A-Za-z])|\x1b([78])|([\s\S])/gu;

/**
 * The lines of the screen, without empty ones at the end. It knows what the program uses: the cursor's column,
 * erasing, saving and restoring; it has no last column, and every character is one wide.
 *
 * @throws {Error} if there is a sequence that it does not know.
 */
export function screenOf(written: string): string[] {
  const lines: string[][] = [[]];
  let [row, column] = [0, 0];
  let saved = [0, 0] as [number, number];
  const sequence = (argument: string, final: string) => {
    const line = lines[row]!;
    if (final === "m" || final === "J") return; // a color; nothing is below
    if (final === "G") column = Math.max(0, Number(argument) - 1);
    else if (final === "K" && argument === "2") line.length = 0;
    else if (final === "K") line.length = Math.min(line.length, column);
    else throw new Error(`screenOf: ESC[${argument}${final} is not known`);
  };
  for (const [, argument = "", final, mark, character] of written.matchAll(PIECE)) {
    if (final !== undefined) sequence(argument, final);
    else if (mark === "7") saved = [row, column];
    else if (mark === "8") [row, column] = saved;
    else if (character === "\r") column = 0;
    else if (character === "\n") lines[++row] ??= [];
    else lines[row]![column++] = character!;
  }
  const texts = lines.map((line) => Array.from(line, (each) => each ?? " ").join("").trimEnd());
  while (texts.at(-1) === "") texts.pop();
  return texts;
}
