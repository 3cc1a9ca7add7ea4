/** docs/agent.md and the program say the same. */
import { assert, assertEquals } from "@std/assert";
import { makeProgram } from "@degu/internal/agent/program.ts";
import { read } from "@degu/testing/tree.ts";

const program = makeProgram(() => Promise.resolve());
const page = await read("docs/agent.md");

/** The options of other programs that the text names: of Deno and systemctl. */
const OF_OTHERS = ["--no-prompt", "--user"];

/** What is below a heading, up to the next one that is not below it. */
function sectionOf(heading: string): string {
  const [, rest] = page.split(`\n${heading}\n`);
  assert(rest !== undefined, `docs/agent.md has no heading ${heading}`);
  const level = heading.indexOf(" ");
  const end = rest.search(new RegExp(`^#{1,${level}} `, "m"));
  return end < 0 ? rest : rest.slice(0, end);
}

/** The options that a text names. */
function optionsIn(text: string): Set<string> {
  return new Set(
    Array.from(text.matchAll(/(?<![\w-])--[a-z]+(?:-[a-z]+)*/g), ([option]) => option),
  );
}

Deno.test("every command has a section with each of its options", () => {
  for (const command of program.commands.filter((each) => each.name() !== "help")) {
    const named = optionsIn(sectionOf(`### degu ${command.name()}`));
    for (const { long } of command.options) {
      if (long === "--address" || long === "--find") continue; // of all that connect
      assert(named.has(long!), `docs/agent.md says nothing of ${command.name()} ${long}`);
    }
  }
});

Deno.test("the options of all commands, and of those that connect, are explained once", () => {
  const named = optionsIn(sectionOf("## Options of every command"));
  for (const { long } of program.options) assert(named.has(long!), long);
  for (const option of ["--help", "--address", "--find"]) assert(named.has(option), option);
});

Deno.test("no unknown option is explained", () => {
  const own = program.commands.flatMap((command) => command.options.map(({ long }) => long!));
  const known = new Set([
    ...own,
    ...program.options.map(({ long }) => long!),
    "--help",
    ...OF_OTHERS,
  ]);
  // Code blocks have commands, units and property lists.
  const prose = page.replaceAll(/^( *)```.*?^\1```/gms, "").replaceAll(
    /`deno [^`]*`|--allow-\w+/g,
    "",
  );
  const strange = [...optionsIn(prose)].filter((option) => !known.has(option));
  assertEquals(strange, []);
});
