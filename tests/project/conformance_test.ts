/** docs/conformance.md has the differences from the requirements, each of which has a test. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { readProjectFile } from "@degu/testing/project_files.ts";
import { REQUIREMENTS } from "./conformance.rows.ts";

interface Requirement {
  readonly rfc: string;
  readonly section: string;
  readonly roles: readonly string[];
  readonly text: string;
  /** Why Degu conforms, or `null` if it differs. */
  readonly reason: string | null;
  /** The text of the requirement on the page, without backticks, if Degu differs. */
  readonly pageText: string;
  readonly test: string;
}

const COLUMNS = ["section", "requirement", "role", "difference"];
const SCOPE: Record<string, RegExp> = {
  "RFC 9112": /^§[2-9](\.\d+)*$/,
  "RFC 9110": /^§(5|6\.4|7\.6|8\.6|9\.3|15)(\.\d+)*$/,
};

function readRequirements(): Requirement[] {
  const requirements: Requirement[] = [];
  let rfc = "";
  for (const line of REQUIREMENTS.trim().split("\n").filter(Boolean)) {
    const cells = line.split(" | ");
    if (cells.length === 1) rfc = line;
    else {
      assertEquals(cells.length, 5, line);
      const [section = "", roles = "", text = "", reason = "", test = ""] = cells;
      requirements.push({
        rfc,
        section,
        roles: roles.split(", "),
        text,
        reason: reason.startsWith("differs") ? null : reason,
        pageText: reason.startsWith("differs: ") ? reason.slice("differs: ".length) : text,
        test,
      });
    }
  }
  return requirements;
}

/** Returns the rows of the tables, each with the heading of its RFC. */
async function rowsOfPage(): Promise<{ rfc: string; cells: string[] }[]> {
  const rows: { rfc: string; cells: string[] }[] = [];
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
const TESTS = new RegExp(
  `(?:\\bDeno\\.test(?:\\.each\\(\\w+\\))?|\\.step)\\(\\s*(?:\\{\\s*name:\\s*)?${LITERAL}`,
  "g",
);
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

Deno.test("each requirement has a section in scope, a role, and a reason or a difference", () => {
  const requirements = readRequirements();
  assert(requirements.length > 100, `${requirements.length} requirements`);
  for (const { rfc, section, roles, text, reason } of requirements) {
    assertMatch(section, SCOPE[rfc] ?? /$^/, text);
    for (const role of roles) assertMatch(role, /^(client|server|proxy)$/, text);
    for (const cell of [text, reason ?? "Differs"]) assertMatch(cell, /^\w.*[^.]$/, text);
  }
});

Deno.test("each section in scope that has requirements is in the list", () => {
  const requirements = readRequirements();
  const missing = Object.entries({
    "RFC 9112": ["§2", "§3", "§4", "§5", "§6", "§7", "§8", "§9"],
    "RFC 9110": ["§5", "§6.4", "§7.6", "§8.6", "§9.3", "§15"],
  }).flatMap(([rfc, sections]) =>
    sections.filter((section) =>
      !requirements.some((each) => each.rfc === rfc && `${each.section}.`.startsWith(`${section}.`))
    )
  );
  assertEquals(missing, []);
});

Deno.test("no two requirements have the same section, text and role", () => {
  const keys = readRequirements().flatMap(({ rfc, section, text, roles }) =>
    roles.map((role) => [rfc, section, text, role].join(" | "))
  );
  assertEquals(keys.filter((key, i) => keys.indexOf(key) !== i), []);
});

Deno.test("docs/conformance.md has exactly the requirements, sections and roles in which Degu differs", async () => {
  const differences = readRequirements().filter(({ reason }) => reason === null)
    .flatMap(({ rfc, section, roles, pageText }) =>
      roles.map((role) => `${rfc} ${section} ${role}: ${pageText}`)
    );
  const described: string[] = [];
  for (const { rfc, cells } of await rowsOfPage()) {
    const label = cells.join(" | ");
    assertEquals(cells.length, COLUMNS.length, label);
    const [sections = "", requirement = "", roles = "", difference = ""] = cells;
    for (const text of [requirement, difference]) assertMatch(text, /^[A-Z`0-9].*[^.]$/, label);
    for (const section of sections.split(", ")) {
      for (const role of roles.split(", ")) {
        described.push(`${rfc} ${section} ${role}: ${requirement.replaceAll("`", "")}`);
      }
    }
  }
  assertEquals(described.sort(), [...new Set(differences)].sort());
});

Deno.test("each requirement names an existing test", async () => {
  const titlesByFile = new Map<string, ReadonlySet<string>>();
  const missing: string[] = [];
  for (const { test } of readRequirements()) {
    const [, path = "", name = ""] = /^(\S+): (.+)$/.exec(test) ?? [];
    const names = titlesByFile.get(path) ?? await namesIn(path);
    titlesByFile.set(path, names);
    if (!names.has(name)) missing.push(test);
  }
  assertEquals(missing, []);
});
