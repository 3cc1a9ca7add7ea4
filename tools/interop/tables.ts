/** Tables of test results, and a comparison with the tables of results.md. */

import { NOT_INSTALLED } from "./programs.ts";

export interface Table {
  /** The names of the columns; the first is also the name of the table. */
  readonly header: readonly string[];
  /**
   * The cells of each program. If the program is not installed, the row has only its name; a cell is
   * "not installed" if it needs another program.
   */
  readonly rows: readonly (readonly string[])[];
  /** The notes, to which cells refer by number: `no (1)`. */
  readonly notes: readonly string[];
}

export class Notes {
  readonly texts: string[] = [];

  formatCell(problem: string | null): string {
    if (problem === null) return "yes";
    if (problem === NOT_INSTALLED) return problem;
    const text = problem.replace(/^127\.0\.0\.1:\d+: /, "");
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

/** Finds the table of a page by the name of its first column; its notes are the list after it. */
function findTable(page: string, firstColumn: string): Table | null {
  const lines = page.split("\n");
  const start = lines.findIndex((line) => line.startsWith("|") && cellsOf(line)[0] === firstColumn);
  if (start < 0) return null;
  const length = lines.slice(start).findIndex((line) => !line.startsWith("|"));
  const [header = [], , ...rows] = expand(
    lines.slice(start, length < 0 ? undefined : start + length).map(cellsOf),
  );
  const linesAfter = length < 0 ? [] : lines.slice(start + length);
  const notesEnd = linesAfter.findIndex((line) => /^[#|]/.test(line));
  const notes = linesAfter.slice(0, notesEnd < 0 ? undefined : notesEnd)
    .flatMap((line) => /^\d+\. `([^`]+)`/.exec(line)?.[1] ?? []);
  return { header, rows, notes };
}

/**
 * Expands a table with two columns: the second has the names of the other columns in its header, and
 * in each row `yes`, or `yes, but –: get, head; no (1): range`.
 */
function expand(table: string[][]): string[][] {
  const [[name = "", columns = "", ...others] = [], line = [], ...rows] = table;
  if (others.length > 0 || !columns.includes(", ")) return table;
  const names = columns.split(", ");
  return [
    [name, ...names],
    line,
    ...rows.map(([program = "", cell = ""]) => {
      const exceptions = new Map(
        cell.replace(/^yes(, but )?/, "").split("; ").flatMap((text) => {
          const [value = "", list = ""] = text.split(": ");
          return list.split(", ").map((column) => [column, value] as const);
        }),
      );
      return [program, ...names.map((column) => exceptions.get(column) ?? "yes")];
    }),
  ];
}

export function findDifferences(page: string, results: Table): string[] {
  const [firstColumn = ""] = results.header;
  const table = findTable(page, firstColumn);
  if (table === null) return [`no table has "${firstColumn}" as its first column`];
  if (table.header.join() !== results.header.join()) {
    return [`the columns are ${table.header.join(", ")}; expected ${results.header.join(", ")}`];
  }
  const missing = table.rows.filter(([name]) => !results.rows.some((row) => row[0] === name));
  return [
    ...missing.map(([name]) => `"${name}" was not tested`),
    ...results.rows.flatMap((row) => findRowDifferences(row, results, table)),
  ];
}

function findRowDifferences(row: readonly string[], results: Table, table: Table): string[] {
  const [name = "", ...cells] = row;
  if (cells.length === 0) return [];
  const pageRow = table.rows.find((tableRow) => tableRow[0] === name);
  if (pageRow === undefined) return [`"${name}" has no row`];
  return cells.flatMap((cell, i) => {
    if (cell === NOT_INSTALLED) return [];
    const result = withNote(cell, results.notes);
    const options = (pageRow[i + 1] ?? "").split(", or ")
      .map((text) => withNote(text, table.notes));
    if (options.some((text) => matches(text, result))) return [];
    return [
      `"${name}", ${results.header[i + 1]}: the page has ${options.join(", or ")}; got ${result}`,
    ];
  });
}

/** Reports whether a text of the page, which may end with `…`, matches a result. */
function matches(text: string, result: string): boolean {
  return text.endsWith("…") ? result.startsWith(text.slice(0, -1)) : text === result;
}

function withNote(cell: string, notes: readonly string[]): string {
  return cell.replace(/\((\d+)\)$/, (number, digits) => notes[Number(digits) - 1] ?? number);
}

function cellsOf(line: string): string[] {
  return line.split("|").slice(1, -1).map((cell) => cell.trim().replaceAll("`", ""));
}
