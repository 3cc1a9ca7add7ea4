import { type Command, CommanderError } from "commander";
import type { CommonOptions, Context } from "./machine/context.ts";
import { AgentCommand, type Run } from "./command.ts";
import { addCommands } from "./command_line.ts";
import { FAILED, Failure, INTERRUPTED, InterruptedError, USAGE } from "./failure.ts";
import { Output, OutputClosedError, type Streams } from "./terminal/output.ts";
import { writeToStdout } from "./terminal/output_stream.ts";
import { VERSION } from "./version.ts";

const FIRST_MINUTE = `The first minute, on two machines in the same network:
  one$ degu pair
  two$ degu pair      (compare the number, type yes on both; then y on one)
  two$ echo hello > hello.txt
  two$ degu put hello.txt one:
The file is now in ~/Inbox/two on one`;

const ONE_TRANSFER = `To send files once, without pairing:
  two$ degu send hello.txt
  one$ degu receive   (compare the number, type yes on both)`;

const DESCRIPTION =
  `Copies files between your own devices over mutual TLS: no cloud, no account, no third party.

${FIRST_MINUTE}: each peer has its own directory in the inbox. After y, one receives files until Ctrl-C; later, run degu serve --inbox ~/Inbox on one. To keep the inbox running, run degu service install --inbox ~/Inbox. If one runs degu serve --share DIR, two can list, get and sync the files in DIR.
${ONE_TRANSFER}`;

/** The answer to `degu` alone, which fits a terminal of 24 lines. */
function formatOverview(program: Command): string {
  const groups = Map.groupBy(program.commands, (command) => command.helpGroup());
  const groupLines = Array.from(
    groups,
    ([heading, commands]) => `${heading} ${commands.map((command) => command.name()).join(", ")}`,
  );
  return `Usage: degu ${program.usage()}

${FIRST_MINUTE}.
${ONE_TRANSFER}

${groupLines.join("\n")}

"degu --help" explains the commands, and "degu COMMAND --help" one command.
`;
}

export async function runAgent(
  args: readonly string[],
  streams: Streams = Deno,
  caughtSignals: ReturnType<typeof catchSignals> = catchSignals(),
): Promise<number> {
  let exitCode = 0;
  // The errors of a wrong command line are printed before its options are parsed.
  let output = new Output({ json: args.includes("--json") }, streams);
  let context: Context | undefined;
  using signals = caughtSignals;
  const { signal, interrupt = () => {}, askDeno } = signals;
  const run: Run = (action) => async (...args) => {
    // commander passes the command behind the options
    const options = (args.at(-1) as Command).optsWithGlobals<CommonOptions>();
    output = new Output(options, streams);
    output.interrupt = interrupt;
    if (options.verbose && options.quiet) {
      throw new Failure("--verbose and --quiet contradict each other: leave one out", "USAGE");
    }
    const problem = await findOptionProblem(options);
    if (problem !== null) throw new UsageFailure(problem, "USAGE");
    const { findHome, isDefaultOfService } = await import("./machine/open_device.ts");
    const home = await findHome(options.home);
    if (isDefaultOfService(home)) output.home = undefined;
    context = { home, output, signal, options, askDeno };
    exitCode = await action(context, ...args) ?? 0;
  };
  const program = makeProgram(run, streams, args);
  try {
    if (args.length === 0) writeToStdout(streams, formatOverview(program));
    else await program.parseAsync(args, { from: "user" });
    return exitCode;
  } catch (thrown) {
    const error = signal.aborted ? signal.reason : thrown;
    if (error instanceof CommanderError) return 0;
    if (error instanceof OutputClosedError) return FAILED;
    const { exitCode, object } = await describeError(error, context);
    output.error(object.message);
    try {
      if (output.json) output.printResult("", { error: object });
    } catch {
      // The output was closed or is not writable. The message and the exit code still report the
      // error.
    }
    return exitCode;
  }
}

/** Checks the options whose checks load other modules. */
async function findOptionProblem(options: CommonOptions): Promise<string | null> {
  for (const pattern of options.exclude ?? []) {
    const { findExcludeProblem } = await import("./copy/exclude_pattern.ts");
    const problem = findExcludeProblem(pattern);
    if (problem !== null) return `--exclude: ${problem}`;
  }
  const { findNameOptionProblem } = await import("./machine/open_device.ts");
  return findNameOptionProblem(options);
}

async function describeError(error: unknown, context: Context | undefined) {
  // Refuse a wrong command line at once, without loading the modules that explain other errors.
  if (error instanceof UsageFailure) {
    const { message, code } = error;
    return { exitCode: USAGE, object: { code, message } };
  }
  const { makeErrorObject } = await import("./words/explain.ts");
  const { exitCodeOf } = await import("./words/error_codes.ts");
  return { exitCode: exitCodeOf(error), object: makeErrorObject(error, context) };
}

/** @param args The arguments of the program; by default it has all commands. */
export function makeProgram(
  run: Run,
  streams: Streams = Deno,
  args?: readonly string[],
): AgentCommand {
  const program = new AgentCommand("degu", run);
  program
    .description(DESCRIPTION)
    .usage("COMMAND [OPTION]... [ARGUMENT]...")
    .version(VERSION, "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .option(
      "--home <dir>",
      "the directory of this device, with its keys and peers (default: $XDG_STATE_HOME/degu, else ~/.local/state/degu; on Windows %LOCALAPPDATA%\\degu)",
    )
    .option("--json", "print one JSON object per line")
    .option("-q, --quiet", "print only results, warnings and errors")
    // The descriptions have the defaults.
    .configureHelp({ optionDescription: ({ description }) => description })
    .configureOutput({
      // commander would otherwise read the environment, which needs a permission.
      getOutHasColors: () => !streams.noColor && streams.stdout.isTerminal(),
      getErrHasColors: () => !streams.noColor && streams.stderr.isTerminal(),
      writeOut: (text) => writeToStdout(streams, text),
      writeErr: () => {}, // `runAgent()` prints errors
    });
  program.helpCommand("help [command]", "print the help of a command");
  addCommands(program, args);
  for (const command of listCommands(program)) {
    command.exitOverride((error) => {
      // The "error" of --help and --version has the exit code 0.
      if (error.exitCode === 0) throw error;
      // `-h` without an operand is help, unlike the `-h` of `ls -lh PEER:`.
      const isHelp = error.code === "commander.missingArgument" &&
        command.getOptionValue("humanReadable") === true;
      const isHelpOfHelp = error.message === "(outputHelp)" && command.args[1] === "help";
      if (isHelp || isHelpOfHelp) command.help();
      throw new UsageFailure(describeUsageProblem(error, command), "USAGE");
    });
  }
  return program;
}

function listCommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(listCommands)];
}

class UsageFailure extends Failure {}

const EXCESS_HINTS: Readonly<Record<string, string>> = {
  init: "--name names the device",
  invite: "--as names the other device",
  pair: "run it on both devices, and --as names the other one",
  serve: "--share or --inbox names a directory",
};

/** What stands for the commands and options of scp, rsync, ls, croc and ssh. */
const SUBSTITUTES: readonly (readonly [typed: RegExp, advice: string])[] = [
  [/^degu (?:cp|copy|scp|push|upload)$/, "use degu put or degu get"],
  [/^degu (?:pull|fetch|download)$/, "use degu get"],
  [/^degu (?:mv|move)$/, "use degu sync --move DIR PEER:DIR; degu renames nothing at a peer"],
  [/^degu (?:list|dir)$/, "use degu ls"],
  [/^degu (?:delete|remove)$/, "use degu rm"],
  [/^degu (?:status|paired|devices)$/, "use degu peers"],
  [/^degu (?:-v|--verbose)$/, "use -V for the version, and -v behind a command that copies"],
  [/^service status$/, "use degu service list"],
  [/^(?:serve|install|send|invite|pair) (?:-[Pp]|--port)$/, "use --listen ADDRESS:PORT"],
  [/^(?:ls|get|put|rm|ping|receive) (?:-[Pp]|--port)$/, "use --address HOST:PORT, or leave it out"],
  [/^(?:get|put) --exclude$/, "use degu sync"],
  [/^sync -i$/, "use -v"],
  [/^(?:pair|receive) (?:-y|--yes)$/, "degu invite and degu join ask nothing"],
  [/^(?:ls -[1a]|rm -f|(?:get|put|send|receive) (?:-[aivz]|--code|--progress))$/, "leave it out"],
];

function describeUsageProblem({ code, message }: CommanderError, command: Command): string {
  // commander also suggests opposites, such as --exclude for --include.
  const suggestion = /(?<='(.+)')\n(\(Did you mean (.+)\?\))$/;
  const fileLikeOption = /^unknown option '(-(?!-).*\..*)'$/s;
  const text = message.replace(/^error: /, "")
    .replace(
      suggestion,
      (_match, word, question, name) => isOneKeyApart(word, name) ? ` ${question}` : "",
    )
    .replace(/\.$/, "")
    .replace(fileLikeOption, "$&: ./$1 names a file");
  // The problem of a value says which values are valid.
  const { parent, args } = command;
  const invalidOption = /^option '(--[a-z-]+)[^']*' argument '.*?' is invalid\. /s;
  if (code === "commander.invalidArgument") return text.replace(invalidOption, "$1: ");
  if (message === "(outputHelp)") {
    const [, word] = args;
    const problem = word === undefined
      ? "a command is missing"
      : describeUnknownCommand(word, command);
    return withAdvice(problem, command);
  }
  const isExcess = code === "commander.excessArguments";
  // The words may be parts of a secret line.
  const problem = isExcess ? text.replace(/: .*/s, "") : text;
  // Without the name of a command, these arguments are those of the default command.
  if (parent?.name() === "install" && parent.args[0] !== command.name()) {
    const isUnknown = isExcess && parent.args[0] === args[0];
    const installProblem = isUnknown ? describeUnknownCommand(args[0]!, parent) : problem;
    return withAdvice(installProblem, parent);
  }
  const hint = isExcess ? EXCESS_HINTS[command.name()] : undefined;
  if (hint !== undefined) return `${text.replace(/\. .*/s, "")}: ${hint}`;
  return withAdvice(problem, command);
}

function withAdvice(problem: string, command: Command): string {
  const [, word = ""] = /^unknown \w+ '([^'=]*)/.exec(problem) ?? [];
  const [, advice] = SUBSTITUTES.find(([typed]) => typed.test(`${command.name()} ${word}`)) ?? [];
  if (advice !== undefined) return `${problem}: ${advice}`;
  return `${problem}; usage: ${formatUsage(command)}, or --help`;
}

function describeUnknownCommand(word: string, { commands }: Command): string {
  const suggestion = commands.map((each) => each.name()).find((name) => isOneKeyApart(word, name));
  const question = suggestion === undefined ? "" : ` (Did you mean ${suggestion}?)`;
  return `unknown command '${word}'${question}`;
}

/** Whether one key was missed, added or mistyped, or two were exchanged. */
function isOneKeyApart(one: string, other: string): boolean {
  let start = 0;
  while (start < one.length && one[start] === other[start]) start++;
  const [a, b] = [one.slice(start), other.slice(start)];
  return a === b.slice(1) || a.slice(1) === b || a.slice(1) === b.slice(1) ||
    a.slice(2) === b.slice(2) && a[0] === b[1] && a[1] === b[0];
}

/** Lists the commands of a command, unless its own usage stands for all of them. */
function formatUsage(command: Command): string {
  const usage = command.usage();
  const names = usage.startsWith("COMMAND ") ? [] : command.commands.map((each) => each.name());
  return `${formatCommandName(command)} ${names.join("|") || usage}`;
}

function formatCommandName(command: Command): string {
  const { parent } = command;
  if (parent === null) return command.name();
  // `permissions --flags` is for a script that runs the command.
  if (command.opts<{ flags?: boolean }>().flags) return formatCommandName(parent);
  return `${formatCommandName(parent)} ${command.name()}`;
}

/**
 * The signals that end programs. SIGHUP is a closed terminal, or a closed window of Windows, where
 * SIGBREAK is Ctrl-Break. SIGHUP isn't ignored under nohup, because Deno installs its own handler.
 */
const TERMINATION_SIGNALS: readonly Deno.Signal[] = [
  "SIGINT",
  Deno.build.os === "windows" ? "SIGBREAK" : "SIGTERM",
  "SIGHUP",
];

interface CaughtSignals extends Disposable {
  readonly signal: AbortSignal;
  readonly interrupt?: () => void;
  readonly askDeno?: Context["askDeno"];
}

export function catchSignals(): CaughtSignals {
  const controller = new AbortController();
  const listener = () => {
    if (controller.signal.aborted) Deno.exit(INTERRUPTED);
    controller.abort(new InterruptedError());
  };
  const apply = (change: typeof Deno.addSignalListener) => {
    for (const signal of TERMINATION_SIGNALS) change(signal, listener);
  };
  apply(Deno.addSignalListener);
  return {
    signal: controller.signal,
    interrupt: listener,
    askDeno: (permission) => {
      apply(Deno.removeSignalListener);
      Deno.permissions.requestSync(permission);
      apply(Deno.addSignalListener);
    },
    [Symbol.dispose]: () => apply(Deno.removeSignalListener),
  };
}
