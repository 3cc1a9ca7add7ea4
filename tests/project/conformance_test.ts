/** Each row of the tables in docs/conformance.md names an existing test. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { readProjectFile } from "@degu/testing/tree.ts";

interface Row {
  readonly rfc: string;
  readonly cells: readonly string[];
}

const COLUMNS = ["section", "requirement", "role", "Degu", "reason", "test"];
const SCOPE: Record<string, RegExp> = {
  "RFC 9112": /^§[2-9](\.\d+)*$/,
  "RFC 9110": /^§(5|6\.4|7\.6|8\.6|9\.3|15)(\.\d+)*$/,
};

/** Returns the rows of the tables, each with the heading of its RFC. */
async function rowsOfPage(): Promise<Row[]> {
  const rows: Row[] = [];
  let rfc = "";
  for (const line of (await readProjectFile("docs/conformance.md")).split("\n")) {
    const [, heading] = /^## (.+)$/.exec(line) ?? [];
    if (heading !== undefined) rfc = heading;
    if (!line.startsWith("|") || /^\|[ |-]+$/.test(line)) continue;
    const cells = line.slice(1, -1).split("|").map((cell) => cell.trim());
    if (cells[0] === COLUMNS[0]) assertEquals(cells, COLUMNS);
    else rows.push({ rfc, cells });
  }
  return rows;
}

const LITERAL = '("(?:[^"\\\\\\n]|\\\\.)*"|`[^`]*`)';
/** Matches the names of tests and steps in a test module. */
const TESTS = new RegExp(`(?:\\bDeno\\.test|\\.step)\\(\\s*(?:\\{\\s*name:\\s*)?${LITERAL}`, "g");
/** Names of rows: the first item of an array or the first argument of a call. */
const ROWS = new RegExp(`[[(]\\s*${LITERAL},`, "g");

/**
 * Returns the names of the tests and steps, or of the rows, in a module; for a template, its
 * literal prefix.
 */
async function namesIn(path: string): Promise<Set<string>> {
  const source = await readProjectFile(path);
  const literals = source.matchAll(path.endsWith(".rows.ts") ? ROWS : TESTS);
  const names = Array.from(literals, ([, literal = ""]) => {
    const text = literal.slice(1, -1).replaceAll('\\"', '"');
    return literal.startsWith("`") ? text.replace(/\$\{[^]*/, "").trim() : text;
  });
  return new Set(names.filter(Boolean));
}

Deno.test("each row of docs/conformance.md has a section in scope, a role, one of three words, and a reason", async () => {
  const rows = await rowsOfPage();
  assert(rows.length > 100, `${rows.length} rows`);
  for (const { rfc, cells } of rows) {
    const label = cells.join(" | ");
    assertEquals(cells.length, COLUMNS.length, label);
    const [section = "", requirement = "", role = "", word = "", reason = ""] = cells;
    assertMatch(section, SCOPE[rfc] ?? /$^/, label);
    assertMatch(role, /^(client|server|proxy)(, (client|server|proxy))*$/, label);
    assert(["conforms", "stricter", "differs"].includes(word), label);
    for (const text of [requirement, reason]) assertMatch(text, /^[A-Z`0-9].*[^.]$/, label);
  }
});

Deno.test("each section in scope that has requirements has a row in docs/conformance.md", async () => {
  const rows = await rowsOfPage();
  const missing = Object.entries({
    "RFC 9112": ["§2", "§3", "§4", "§5", "§6", "§7", "§8", "§9"],
    "RFC 9110": ["§5", "§6.4", "§7.6", "§8.6", "§9.3", "§15"],
  }).flatMap(([rfc, sections]) =>
    sections.filter((section) =>
      !rows.some((row) => row.rfc === rfc && `${row.cells[0]}.`.startsWith(`${section}.`))
    )
  );
  assertEquals(missing, []);
});

Deno.test("no two rows of docs/conformance.md have the same section, requirement and role", async () => {
  const keys = (await rowsOfPage()).flatMap(({ rfc, cells: [section, requirement, roles = ""] }) =>
    roles.split(", ").map((role) => [rfc, section, requirement, role].join(" | "))
  );
  assertEquals(keys.filter((key, i) => keys.indexOf(key) !== i), []);
});

Deno.test("each row of docs/conformance.md names an existing test", async () => {
  const titlesByFile = new Map<string, ReadonlySet<string>>();
  const missing: string[] = [];
  for (const { cells } of await rowsOfPage()) {
    const [, path = "", name = ""] = /^`([^`]+)`: (.+)$/.exec(cells.at(-1)!) ?? [];
    const names = titlesByFile.get(path) ?? await namesIn(path);
    titlesByFile.set(path, names);
    if (!names.has(name)) missing.push(cells.at(-1)!);
  }
  assertEquals(missing, []);
});
