/** What the pages show of a session at a terminal. */

/** The number, the question, its answer, the last progress bar and the end, without other lines. */
const SHOWN = / asks\. |^ +\d{3} \d{3}$|^does |^yes$|^paired with|\[=+ *\].* left$|copied/;

/** The lines of a terminal that is so wide that no line is broken. */
export function shownLines(text: string): string[] {
  const lines: string[] = [];
  const isBar = (line: string) => line.includes("%  [");
  for (const drawn of text.split(/\r?\n|\r/)) {
    // The bar is moved to the name, and ids are cut.
    const line = drawn.replace("\x1b[K", "").replace(/ +(?=\d+ %)/, "  ").trimEnd()
      .replace(/\b([a-z2-7]{8})[a-z2-7]{44}\b/, "$1…");
    if (!SHOWN.test(line)) continue;
    if (isBar(line) && isBar(lines.at(-1) ?? "")) lines.pop();
    lines.push(line);
  }
  return lines;
}
