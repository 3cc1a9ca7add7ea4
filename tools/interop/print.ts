/**
 * Tables in Markdown, with numbered notes.
 *
 * @module
 */

/** Notes that several cells may share. */
export class Notes {
  readonly #texts: string[] = [];

  /** The mark of a note, such as `[1]`. */
  add(text: string): string {
    const same = text.replaceAll(/127\.0\.0\.1:\d+/g, "127.0.0.1:PORT");
    if (!this.#texts.includes(same)) this.#texts.push(same);
    return `[${this.#texts.indexOf(same) + 1}]`;
  }

  /** Prints them, one a line. */
  print(): void {
    for (const [i, text] of this.#texts.entries()) console.log(`[${i + 1}] ${text}`);
    console.log();
  }
}

/** Prints a table. */
export function printTable(header: readonly string[], rows: readonly (readonly string[])[]): void {
  for (const row of [header, header.map(() => "---"), ...rows]) {
    console.log(`| ${row.join(" | ")} |`);
  }
}
