/** Tables of what was seen, and the tables of docs/interop.md, which must say the same. */

export interface Table {
  /** The name of the first column is that of the table. */
  readonly header: readonly string[];
  /** A row that is only a name belongs to a program that is not installed. */
  readonly rows: readonly (readonly string[])[];
  /** What the cells refer to by number: `no (1)`. */
  readonly notes: readonly string[];
}

/** Notes that several cells of a table may share. */
export class Notes {
  readonly texts: string[] = [];

  /** The cell for a complaint, or for `null`: such as `no (1)`, or `yes`. */
  cell(complaint: string | null): string {
    if (complaint === null) return "yes";
    const text = complaint.replace(/^127\.0\.0\.1:\d+: /, "");
    if (!this.texts.includes(text)) this.texts.push(text);
    return `no (${this.texts.indexOf(text) + 1})`;
  }
}

export function printTable({ header, rows, notes }: Table): void {
  for (const row of [header, header.map(() => "---"), ...rows]) {
    console.log(`| ${row.join(" | ")} |`);
  }
  console.log();
  for (const [i, note] of notes.entries()) console.log(`${i + 1}. \`${note}\``);
}

/** The table of a page whose first column has this name, with the code of the list that follows. */
export function findTable(page: string, first: string): Table | null {
  const lines = page.split("\n");
  const start = lines.findIndex((line) => line.startsWith("|") && cellsOf(line)[0] === first);
  if (start < 0) return null;
  const length = lines.slice(start).findIndex((line) => !line.startsWith("|"));
  const [header = [], , ...rows] = lines.slice(start, length < 0 ? undefined : start + length)
    .map(cellsOf);
  const after = length < 0 ? [] : lines.slice(start + length);
  const next = after.findIndex((line) => /^[#|]/.test(line));
  const notes = after.slice(0, next < 0 ? undefined : next)
    .flatMap((line) => /^\d+\. `([^`]+)`/.exec(line)?.[1] ?? []);
  return { header, rows, notes };
}

/** In what a page differs from what was seen; a program that is not installed differs in nothing. */
export function differencesFrom(page: string, seen: Table): string[] {
  const [first = ""] = seen.header;
  const said = findTable(page, first);
  if (said === null) return [`no table has "${first}" as its first column`];
  if (said.header.join() !== seen.header.join()) {
    return [`the columns are ${said.header.join(", ")}; they were ${seen.header.join(", ")}`];
  }
  const missing = said.rows.filter(([name]) => !seen.rows.some((row) => row[0] === name));
  return [
    ...missing.map(([name]) => `"${name}" was not tried`),
    ...seen.rows.flatMap((row) => differencesOfRow(row, seen, said)),
  ];
}

function differencesOfRow(row: readonly string[], seen: Table, said: Table): string[] {
  const [name = "", ...cells] = row;
  if (cells.length === 0) return [];
  const page = said.rows.find((other) => other[0] === name);
  if (page === undefined) return [`"${name}" has no row`];
  return cells.flatMap((cell, i) => {
    const saw = withNote(cell, seen.notes);
    const options = (page[i + 1] ?? "").split(", or ").map((text) => withNote(text, said.notes));
    if (options.some((text) => isSame(text, saw))) return [];
    return [`"${name}", ${seen.header[i + 1]}: says ${options.join(", or ")}; saw ${saw}`];
  });
}

/** A page may leave out the end of what was seen. */
function isSame(said: string, saw: string): boolean {
  return said.endsWith("…") ? saw.startsWith(said.slice(0, -1)) : said === saw;
}

function withNote(cell: string, notes: readonly string[]): string {
  return cell.replace(/\((\d+)\)$/, (number, digits) => notes[Number(digits) - 1] ?? number);
}

function cellsOf(line: string): string[] {
  return line.split("|").slice(1, -1).map((cell) => cell.trim().replaceAll("`", ""));
}
