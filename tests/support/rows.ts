/**
 * Rows of accepted and refused texts. Each row has the rule's name and its source, so that a search
 * for either finds the row.
 */

export interface RefusedRow {
  readonly rule: string;
  /** The section of the RFC that the rule comes from, or that it narrows. */
  readonly rfc: string;
  /** The text in Latin-1: one character per byte. */
  readonly text: string;
  /** The possible codes: if the text breaks several rules, the code of any of them. */
  readonly codes: readonly string[];
}

export function makeRefusedRows(
  rule: string,
  rfc: string,
  codes: string | readonly string[],
  ...texts: readonly string[]
): RefusedRow[] {
  const list = typeof codes === "string" ? [codes] : codes;
  return texts.map((text) => ({ rule, rfc, text, codes: list }));
}

/** Runs the rows of a test, each as a step named by its first item. */
export async function testEachRow<Rest extends readonly unknown[]>(
  t: Deno.TestContext,
  rows: Iterable<readonly [name: string, ...Rest]>,
  run: (name: string, ...rest: Rest) => unknown,
): Promise<void> {
  for (const row of rows) await t.step(row[0], async () => void await run(...row));
}
