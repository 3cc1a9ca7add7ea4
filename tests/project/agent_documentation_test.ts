/** docs/agent.md and the program say the same. */
import { assert, assertEquals } from "@std/assert";
import { makeProgram } from "@degu/internal/agent/program.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { hasShell } from "@degu/testing/terminals.ts";
import { read, ROOT } from "@degu/testing/tree.ts";

const program = makeProgram(() => () => Promise.resolve());
const page = await read("docs/agent.md");

/** The options of other programs that the text names: of Deno and systemctl. */
const OF_OTHERS = ["--no-prompt", "--user", "--now", "--global"];

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

const hasBash = await hasShell("bash");

/** Registers a test of what is typed in a shell. */
function shellTest(name: string, fn: () => Promise<void>): void {
  const text = hasBash ? name : `${name}: left out, as bash is not installed`;
  Deno.test({ name: text, ignore: !hasBash, fn });
}

/** Runs a command of a page in a shell, in a directory; returns what it prints. */
async function runLine(line: string, cwd: string | URL): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command("bash", {
    args: ["-c", line],
    cwd,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  assert(success, `${line}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

shellTest(
  "the program is installed from a checkout, and uninstalled, with the commands that are documented",
  async () => {
    const [install] = page.match(/^deno install (?:[^`](?!deno ))*? agent\.ts$/m) ?? [];
    const [uninstall] = page.match(/deno uninstall [^`]+/) ?? [];
    assert(install !== undefined && uninstall !== undefined, "docs/agent.md has no such commands");
    await using dir = await tempDir();
    const root = ` --root ${dir.path} `;
    await runLine(install.replace(" --global ", ` --global${root}`), ROOT);
    const { version } = JSON.parse(await read("deno.json"));
    assertEquals(await runLine("bin/degu --version", dir.path), `${version}\n`);
    await runLine(uninstall.replace(" --global ", ` --global${root}`), ROOT);
    assertEquals(Array.from(Deno.readDirSync(`${dir.path}/bin`)), []);
  },
);

shellTest("paths of deno task agent begin where it is typed", async () => {
  await using dir = await tempDir();
  const typed = `${dir.path}/a b`;
  await Deno.mkdir(typed);
  const config = new URL("deno.json", ROOT).pathname;
  // The suite may be run by a task itself.
  await runLine(
    `unset INIT_CWD; deno task --quiet --config ${config} agent --home home init --name x`,
    typed,
  );
  assertEquals(Array.from(Deno.readDirSync(typed), ({ name }) => name), ["home"]);
});
