import { assert, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { tempDir } from "@degu/testing/directories.ts";
import { completionScript, hasShell, PEERS } from "@degu/testing/shells.ts";
import { hasTerminals, runOnTerminal } from "@degu/testing/terminals.ts";

const isThere = await hasShell("zsh") && await hasTerminals();

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
  name: isThere
    ? "zsh completes commands, options, peers and shells"
    : "completion in zsh: left out, as zsh or python3 is not installed",
  ignore: !isThere,
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
