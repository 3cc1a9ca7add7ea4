/** The command line, in processes without any permission, and signals. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { makeProgram } from "@degu/internal/agent/program.ts";
import { runAgent, runAgentHere } from "@degu/testing/agents.ts";
import { spawnScript } from "@degu/testing/processes.ts";
import { readConfiguration } from "@degu/testing/tree.ts";

/** The commands, as the program knows them. */
const COMMANDS = makeProgram(() => Promise.resolve()).commands.filter((each) =>
  each.name() !== "help"
);

Deno.test("without arguments and with --help it prints the commands", async () => {
  const bare = await runAgent([]);
  const asked = await runAgent(["--help"]);
  assertEquals(bare, asked);
  assertEquals([asked.code, asked.stderr], [0, ""]);
  for (const command of COMMANDS) assertStringIncludes(asked.stdout, `  ${command.name()} `);
  assertStringIncludes(asked.stdout, "The first minute");
});

Deno.test("--version prints the version of the package", async () => {
  const { version } = await readConfiguration() as unknown as { version: string };
  for (const flag of ["--version", "-V"]) {
    assertEquals(await runAgent([flag]), { code: 0, stdout: `${version}\n`, stderr: "" });
  }
});

Deno.test("the help of each command has a description, examples, and all of its options", () => {
  for (const command of COMMANDS) {
    let help = "";
    command.configureOutput({ writeOut: (text) => help += text });
    command.outputHelp();
    assertMatch(help, new RegExp(`^Usage: degu ${command.name()}`));
    assert(command.description().length > 20 && command.summary().length > 5, command.name());
    assertMatch(help, new RegExp(`\nExamples:\n(.|\n)*degu ${command.name()}`), command.name());
    assertStringIncludes(help, "--json");
    assertStringIncludes(help, "--home <dir>");
  }
});

Deno.test("the help command prints help, too", async () => {
  const [asked, called] = await Promise.all(
    [["help", "init"], ["init", "--help"]].map((args) => runAgentHere(args)),
  );
  assertEquals(asked, called);
  assertEquals(asked?.code, 0);
});

Deno.test("a usage error is one line that refers to the help, with exit code 2", async () => {
  const rows: [args: string[], expected: RegExp][] = [
    [["inti"], /unknown command 'inti' \(Did you mean init\?\); "degu --help"/],
    [["send", "a", "one:"], /unknown command 'send' \(that is degu put\); "degu --help"/],
    [["receive", "one:a"], /unknown command 'receive' \(that is degu get\);/],
    [["copy"], /unknown command 'copy' \(that is degu get or degu put\);/],
    [["push"], /unknown command 'push' \(that is degu put\);/],
    [["pull"], /unknown command 'pull' \(that is degu get\);/],
    [["constructor"], /unknown command 'constructor'; /],
    [
      ["serve", "--listen", "nonsense"],
      /'--listen <address>'.* an IP address of this machine.*"degu serve/,
    ],
    [["invite", "--listen", "localhost:0"], /'--listen <address>'.* an IP address.*"degu invite/],
    [
      ["invite", "--serving", "localhost:0"],
      /'--serving <address>'.* from 1 to 65535.*"degu invite/,
    ],
    [["frobnicate"], /unknown command 'frobnicate'; "degu --help"/],
    [["--jsno"], /unknown option '--jsno' \(Did you mean --json\?\); "degu --help"/],
    [["--json"], /a command is missing, or .*; "degu --help"/],
    [
      ["init", "--nam", "x"],
      /unknown option '--nam' \(Did you mean --name\?\); "degu init --help"/,
    ],
    [["init", "--name"], /option '--name <name>' argument missing; "degu init --help"/],
    [["id", "x"], /too many arguments for 'id'.*; "degu id --help"/],
    [["join"], /missing required argument 'line'; "degu join --help"/],
    [["ping", "--address", "a b", "x"], /'a b' is invalid.*; "degu ping --help"/],
    [["invite", "--seconds", "x"], /must be a number of seconds.*; "degu invite --help"/],
    [["completions", "csh"], /Allowed choices are bash, zsh, fish.*; "degu completions --help"/],
    [["help", "x"], /"degu --help"/],
  ];
  const ends = await Promise.all(rows.map(([args]) => runAgentHere(args)));
  for (const [i, [args, expected]] of rows.entries()) {
    const { code, stdout, stderr } = ends[i]!;
    assertEquals([code, stdout], [2, ""], args.join(" "));
    assertMatch(stderr, /^degu: error: .* explains it\n$/, args.join(" "));
    assertMatch(stderr, expected);
  }
});

Deno.test("two dashes end the options", async () => {
  const { code, stderr } = await runAgentHere(["init", "--", "--name"]);
  assertEquals(code, 2);
  assertStringIncludes(stderr, "too many arguments");
});

Deno.test("a missing permission is named, with where it is documented", async () => {
  const { code, stderr } = await runAgent(["id"]);
  assertEquals(code, 1);
  assertMatch(stderr, /XDG_STATE_HOME.*docs\/agent\.md has the flags/);
});

const SCRIPT = `import { catchSignals } from "./agent/program.ts";
const signals = catchSignals();
const { signal } = signals;
signal.addEventListener("abort", () => console.log(signal.reason.name));
console.log("ready");
await new Promise((resolve) => setTimeout(resolve, 60_000));`;

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.test(`the first ${signal} aborts, and the second one ends the process`, async () => {
    const child = await spawnScript(SCRIPT, ["--no-check"]);
    const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    assertEquals((await lines.read()).value, "ready\n");
    child.kill(signal);
    assertEquals((await lines.read()).value, "Interrupted\n");
    child.kill(signal);
    assertEquals((await child.status).code, 130);
    await lines.cancel();
    await child.stderr.cancel();
  });
}
