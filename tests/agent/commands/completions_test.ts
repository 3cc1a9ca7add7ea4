/** Completion in bash, zsh and fish. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { wordsOf } from "@degu/internal/agent/commands/completions.ts";
import { makeProgram } from "@degu/internal/agent/program.ts";
import { runAgent, runAgentHere } from "@degu/testing/agents.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { completionScript, hasShell, PEERS, runShell } from "@degu/testing/shells.ts";
import { hasTerminals, runOnTerminal } from "@degu/testing/terminals.ts";

Deno.test("each shell has its own script, which needs no permission", async () => {
  for (
    const [shell, line] of [["bash", "complete -F"], ["zsh", "#compdef degu"], [
      "fish",
      "complete -c degu",
    ]]
  ) {
    const { code, stdout, stderr } = await runAgent(["completions", shell!, "--home", "/nowhere"]);
    assertEquals([code, stderr], [0, ""]);
    assertStringIncludes(stdout, line!);
    const json = await runAgentHere(["completions", shell!, "--home", "/nowhere", "--json"]);
    assertEquals(JSON.parse(json.stdout), { shell, script: stdout });
  }
});

const words = wordsOf(makeProgram(() => Promise.resolve()));

Deno.test("every command has its words, with those of its options and operands", () => {
  const find = (name: string) => words.commands.find((command) => command.name === name)!;
  assertEquals(find("ping").operands, ["peer"]);
  assertEquals(find("ls").operands, ["remote"]);
  assertEquals(find("put").operands, ["remote", "file"]);
  assertEquals(find("sync").operands, ["remote", "directory"]);
  assertEquals(find("completions").choices, ["bash", "zsh", "fish"]);
  assertEquals(find("id"), {
    name: "id",
    summary: find("id").summary,
    options: [],
    operands: [],
    choices: [],
  });
  const values = Object.fromEntries(find("serve").options.map(({ long, value }) => [long, value]));
  assertEquals([values["--share"], values["--inbox"], values["--listen"]], [
    "directory",
    "directory",
    "text",
  ]);
  assertEquals(find("invite").options.find(({ long }) => long === "--qr")?.value, null);
});

Deno.test("the options of all commands are included, and everything has a summary", () => {
  const names = words.options.map(({ long }) => long);
  for (const name of ["--home", "--json", "--quiet", "--help"]) assert(names.includes(name), name);
  const all = [
    ...words.options,
    ...words.commands,
    ...words.commands.flatMap((each) => each.options),
  ];
  for (const { summary } of all) assert(summary.length > 3);
});

const hasBash = await hasShell("bash");

Deno.test({
  name: hasBash
    ? "bash completes commands, options, directories, peers and shells"
    : "completion in bash: left out, as bash is not installed",
  ignore: !hasBash,
  fn: async () => {
    const script = `${await completionScript("bash")}
degu() { printf '%s' '${PEERS}'; }
complete_line() {
  COMP_WORDS=(degu "$@"); COMP_CWORD=$#; COMPREPLY=()
  _degu
  local IFS=' '
  printf '%s\\n' "\${COMPREPLY[*]}"
}
`;
    const rows = [
      [`in`, "init invite"],
      [`--home /tmp in`, "init invite"],
      [`--ho`, "--home"],
      [`init --na`, "--name"],
      [`--json init --na`, "--name"],
      [`ping ''`, "camera phone"],
      [`forget ph`, "phone"],
      [`serve --share /tm`, "/tmp"],
      [`init --name x`, ""],
      [`ls ph`, "phone:"],
      [`get cam`, "camera:"],
      [`put /tm`, "/tmp"],
      [`completions f`, "fish"],
      [`help ren`, "rename"],
    ] as const;
    const lines = rows.map(([words]) => `complete_line ${words}`).join("\n");
    const completed = await runShell("bash", script + lines);
    assertEquals(completed, rows.map(([, expected]) => `${expected}\n`).join(""));
  },
});

const hasZsh = await hasShell("zsh") && await hasTerminals();

/** What is typed, and what it becomes with the tabulator. */
const ROWS = [
  ["degu ini", "degu init"],
  ["degu ping ph", "degu ping phone"],
  ["degu ls ca", "degu ls camera:"],
  ["degu get ca", "degu get camera:"],
  ["degu init --na", "degu init --name"],
  ["degu --home /tmp rena", "degu --home /tmp rename"],
  ["degu completions f", "degu completions fish"],
] as const;

Deno.test({
  name: hasZsh
    ? "zsh completes commands, options, peers and shells"
    : "completion in zsh: left out, as zsh or python3 is not installed",
  ignore: !hasZsh,
  fn: async () => {
    await using dir = await tempDir();
    const file = join(dir.path, "rc");
    await Deno.writeTextFile(
      file,
      `autoload -Uz compinit; compinit -u -D\n${await completionScript("zsh")}
degu() { printf '%s' '${PEERS}'; }
unsetopt beep
PS1='%% '
print loaded
`,
    );
    // With each tabulator it waits for what has to appear; Ctrl-U empties the line.
    const steps = ROWS.flatMap(([typed, expected], i) => [
      [i === 0 ? "loaded" : ROWS[i - 1]![1].split(" ").at(-1)!, `\x15${typed}\t`] as const,
      ...(i === ROWS.length - 1 ? [[expected.split(" ").at(-1)!, "\x15exit\n"] as const] : []),
    ]);
    const { shown } = await runOnTerminal({
      command: ["zsh", "-f", "-i"],
      steps: [["\x1b[?2004h", `source ${file}\n`], ...steps],
      columns: 200,
    });
    for (const [, expected] of ROWS) assertStringIncludes(shown, expected);
    // An empty suffix is not typed as two quotes.
    assert(!shown.includes("camera:''"), shown);
  },
});

const hasFish = await hasShell("fish");

Deno.test({
  name: hasFish
    ? "fish completes commands, options, peers and shells"
    : "completion in fish: left out, as fish is not installed",
  ignore: !hasFish,
  fn: async () => {
    const script = `${await completionScript("fish")}
function degu; printf '%s' '${PEERS}'; end
`;
    const rows = [
      ["in", "init invite"],
      ["init --na", "--name"],
      ["ping ", "camera phone"],
      ["forget ph", "phone"],
      ["ls ph", "phone:"],
      ["get cam", "camera:"],
      ["completions f", "fish"],
      ["help ren", "rename"],
    ] as const;
    const lines = rows.map(([line]) => `complete -C 'degu ${line}' | cut -f1 | string join ' '`);
    const completed = await runShell("fish", `${script}${lines.join("\n")}\ntrue`);
    assertEquals(completed, rows.map(([, expected]) => `${expected}\n`).join(""));
  },
});
