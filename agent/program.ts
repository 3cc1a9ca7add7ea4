import { type Command, CommanderError } from "commander";
import {
  AgentCommand,
  type CommonOptions,
  type Context,
  formatSuggestion,
  type Run,
  suggestName,
} from "./command.ts";
import { formatShellCommand, formatSpaceAdvice } from "./shell_command.ts";
import { addCommands } from "./command_line.ts";
import { FAILED, Failure, INTERRUPTED, InterruptedError, USAGE } from "./failure.ts";
import { describeForeignOption, listOptions } from "./option_advice.ts";
import { Output, OutputClosedError, type Streams } from "./output.ts";
import { writeToStdout } from "./output_stream.ts";
import { VERSION } from "./version.ts";

/** Words of other programs, and of people, that are no commands. */
const FOREIGN_COMMANDS: readonly (readonly [names: string, advice: string])[] = [
  ["cp scp copy", "Did you mean put or get?"],
  ["upload push", "Did you mean put?"],
  ["download fetch pull", "Did you mean get?"],
  ["rsync mirror backup", "Did you mean sync?"],
  [
    "undo undelete versions history revert",
    'earlier versions are in .degu-kept on the peer that runs degu serve --keep; run "degu restore" on that peer',
  ],
  ["log logs journalctl", 'degu serve prints them; as a service, "journalctl --user --unit degu"'],
  ["dir list find tree folders", "Did you mean ls?"],
  ["cat", "Did you mean get PEER:FILE -?"],
  ["del delete remove rmdir unlink", "Did you mean rm?"],
  ["mv move", "put --move moves files to a peer; degu renames no files of a peer"],
  ["share web listen start restart daemon", "Did you mean serve or service?"],
  [
    "stop",
    'Ctrl-C ends degu serve; as a service, "systemctl --user stop degu" ends it until the next start',
  ],
  ["trust add connect scan discover", "Did you mean pair?"],
  ["login config setup", 'no account or configuration is needed: run "degu pair" on both devices'],
  ["unpair revoke block ban logout", "Did you mean forget?"],
  ["whoami hostname name", "Did you mean id?"],
  ["device devices status", "Did you mean peers or ping?"],
  ["install uninstall enable disable systemctl", "Did you mean service?"],
  ["version", "Did you mean --version?"],
  ["perms permission", "Did you mean permissions?"],
];

const FOREIGN_SERVICE_COMMANDS: typeof FOREIGN_COMMANDS = [
  [
    "status list start stop restart reload edit log logs",
    "run systemctl --user, or journalctl --user --unit, with the name of the unit, as degu",
  ],
  ["enable", "Did you mean install?"],
  ["disable uninstall delete rm", "Did you mean remove?"],
];

/** Advice for arguments of commands that take none. */
const NO_ARGUMENT_ADVICE: readonly (readonly [name: string, advice: string])[] = [
  ["pair", "run it on both devices; for an address, write --address HOST:PORT"],
  ["invite", 'run it, and give the line that it prints to "degu join -" on the other device'],
  ["remove", "it stops and removes every installed service"],
  ["init", "for a name, write --name NAME"],
  ["peers", 'run "degu pair" on both devices to add one, and "degu forget PEER" to remove one'],
];

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
  const { signal, interrupt = () => {} } = signals;
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
    const { findHome } = await import("./open_device.ts");
    const home = await findHome(options.home);
    context = { home, output, signal, options };
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
    const { message, exitCode, object } = await describeError(error, context);
    output.home ??= program.getOptionValue("home");
    output.error(hideInvitationLines(message));
    try {
      if (output.json) output.printResult("", { error: hideInvitationLinesIn(object) });
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
    const { findExcludeProblem } = await import("./exclude_pattern.ts");
    const problem = findExcludeProblem(pattern);
    if (problem !== null) return `--exclude: ${problem}`;
  }
  const { findNameOptionProblem } = await import("./open_device.ts");
  return findNameOptionProblem(options);
}

async function describeError(error: unknown, context: Context | undefined) {
  // Refuse a wrong command line at once, without loading the modules that explain other errors.
  if (error instanceof UsageFailure) {
    const { message, code } = error;
    return { message, exitCode: USAGE, object: { code, message } };
  }
  const { explain, makeErrorObject } = await import("./explain.ts");
  const { exitCodeOf } = await import("./error_codes.ts");
  const { peer } = context ?? {};
  const isAddressGiven = peer !== undefined && context?.options.address !== undefined;
  return {
    message: explain(error, peer, isAddressGiven),
    exitCode: exitCodeOf(error),
    object: makeErrorObject(error, peer, isAddressGiven),
  };
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
      if (isHelp) command.help();
      throw new UsageFailure(describeUsageProblem(error, command), "USAGE");
    });
  }
  return program;
}

function listCommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(listCommands)];
}

class UsageFailure extends Failure {}

/** Errors are logged, and an invitation line is secret. */
function hideInvitationLines(text: string): string {
  return text.replaceAll(/\bdegu:[\w-]{70,}/g, "degu:…");
}

function hideInvitationLinesIn(object: object): object {
  return Object.fromEntries(
    Object.entries(object).map(([key, value]) => [
      key,
      typeof value === "string" ? hideInvitationLines(value) : value,
    ]),
  );
}

function findProgram(command: Command): Command {
  return command.parent === null ? command : findProgram(command.parent);
}

function takesAnyCommand(command: Command): boolean {
  return command.parent === null || command.name() === "permissions";
}

function listSubcommands({ commands }: Command): string[] {
  return commands.map((command) => `${command.parent?.name()} ${command.name()}`);
}

function describeUsageProblem({ code, message }: CommanderError, command: Command): string {
  if (message === "(outputHelp)") {
    const unknownName = command.args.at(-1);
    if (unknownName !== undefined) {
      // commander suggests nothing for the operand of help.
      const names = command.commands.map((each) => each.name());
      return describeUnknownCommand(unknownName, command, suggestName(unknownName, names));
    }
    return takesAnyCommand(command)
      ? `a command is missing${formatCommandsAdvice(command)}`
      : `a command is missing: ${listSubcommands(command).join(" or ")}`;
  }
  const [, problem = "", suggestions = ""] =
    /^error: (.*?)(?:\n\(Did you mean (.*)\?\))?$/s.exec(message) ?? [];
  const messageLine = problem.replace(/\.$/, "");
  const [firstQuoted = "", secondQuoted = ""] = Array.from(
    messageLine.matchAll(/'(.*?)'/gs),
    ([, text = ""]) => text,
  );
  const [option = ""] = firstQuoted.split(" ");
  const suggestion = formatSuggestion(suggestions, firstQuoted);
  switch (code) {
    case "commander.missingArgument":
      return describeMissingArgument(firstQuoted, command);
    case "commander.excessArguments": {
      // For commander, -1 is a number.
      const numberOption = command.args.find((argument) => /^-\d+$/.test(argument));
      if (numberOption !== undefined) {
        return describeForeignOption(numberOption, command) ??
          `unknown option '${numberOption}'${formatOptionsAdvice(command)}`;
      }
      // The words may be parts of the secret line.
      const isSplitLine = command.name() === "join" || command.args[0]?.startsWith("degu:");
      if (isSplitLine && /^(?:join|receive)$/.test(command.name())) {
        return "too many arguments: quote the line, or give - and paste the line";
      }
      const extraArguments = command.args.slice(command.registeredArguments.length);
      const quoted = extraArguments.map((argument) => JSON.stringify(argument)).join(", ");
      const isInstall = command.parent?.name() === "install";
      const isCommand = isInstall &&
        findProgram(command).commands.some((each) => each.name() === extraArguments[0]);
      if (isCommand) return `${quoted}: only serve and sync can be services`;
      const advice = command.getOptionValue("share") !== undefined
        ? "degu serve shares one directory: name one that contains the others"
        : command.options.some(({ long }) => long === "--share")
        ? "name a directory with --share or --inbox; Ctrl-C ends degu serve"
        : command.registeredArguments.length === 0
        ? describeNoArguments(command)
        : /^(?:ls|ping|forget)$/.test(command.name()) &&
            (command.name() !== "ls" ||
              extraArguments.every((argument) => /^[^/:]+:/.test(argument)))
        ? `degu ${command.name()} takes one: run it once for each`
        : command.name() === "sync"
        ? "degu sync takes one directory and one PEER:DIR; quote a name with spaces, and write a time as 5m"
        : /^[^/:]+:/.test(command.args[0] ?? "")
        ? formatSpaceAdvice(...command.args as [string, ...string[]])
        : command.name() === "rename"
        ? `write ${formatUsage(command)}`
        : describeSplitPath(command.args);
      return `too many arguments: ${quoted}; ${advice}`;
    }
    case "commander.optionMissingArgument":
      return `${option} needs a value: ${
        firstQuoted.replaceAll(/[<>]/g, "").replace(/ .*/, (value) => value.toUpperCase())
      }`;
    case "commander.conflictingOption":
      return `${option} and ${secondQuoted.split(" ")[0]} can't be combined`;
    case "commander.unknownCommand":
      return describeUnknownCommand(firstQuoted, command, suggestion);
    case "commander.unknownOption": {
      const { parent, commands } = command;
      const isOfCommand = parent === null &&
        commands.some(({ options }) =>
          options.some(({ long, short }) => [long, short].includes(option.split("=")[0]))
        );
      const isAlone = command.args.every((argument) => argument.startsWith("-"));
      if (isOfCommand && isAlone && firstQuoted === "-v") {
        return `${messageLine}; write --version, or -v after a command`;
      }
      if (isOfCommand) return `${messageLine}; write it after the command`;
      // Neither a long option, nor letters, such as -O or -rlptD, nor -#.
      const mayBeFile = !/^--[a-z\d-]+(?:=|$)|^-(?:[A-Za-z]+|\W)$/.test(firstQuoted) &&
        command.registeredArguments.some((argument) => /path|from|to|file/.test(argument.name()));
      return describeForeignOption(firstQuoted, command) ??
        (suggestion !== null
          ? `${messageLine} (${suggestion})`
          : mayBeFile
          ? `${messageLine}; to name a file, write ./ before it`
          : `${messageLine}${formatOptionsAdvice(command)}`);
    }
  }
  return messageLine.replace(/^option '(--[a-z-]+)[^']*' argument '.*?' is invalid\. /s, "$1: ")
    .replace(
      /^command-argument value '(.*)' is invalid for argument '(.*)'\. Allowed choices are /s,
      (_whole, _value, name) => `${name.toUpperCase()} must be one of `,
    );
}

function describeUnknownCommand(
  name: string,
  command: Command,
  suggestion: string | null,
): string {
  const foreignCommands = takesAnyCommand(command) ? FOREIGN_COMMANDS : FOREIGN_SERVICE_COMMANDS;
  const [, advice] = foreignCommands.find(([names]) => names.split(" ").includes(name)) ?? [];
  if (advice !== undefined) return `unknown command '${name}' (${advice})`;
  if (name === "degu") return `unknown command 'degu': write degu once`;
  if (command.name() === "permissions" && name === "service") {
    return `unknown command 'service' ("degu service install --print" prints its permissions)`;
  }
  if (suggestion !== null) return `unknown command '${name}' (${suggestion})`;
  return command.args.some((argument) => /^[^/:]+:/.test(argument))
    ? `unknown command '${name}'; for files of a peer, run degu get, put, sync, ls or rm`
    : `unknown command '${name}'${formatCommandsAdvice(command)}`;
}

/** Advice for operands that are a peer and a path, or the words of one path. */
function describeSplitPath([peer = "", path = "", ...others]: readonly string[]): string {
  return others.length === 0 && /^[\w-]+$/.test(peer)
    ? `if ${peer} is the peer, write ${peer}:${
      path.replace(/^:/, "")
    } with its colon; otherwise quote a name with spaces`
    : "quote a name with spaces";
}

function describeMissingArgument(name: string, command: Command): string {
  const [source] = command.args;
  if (command.name() === "sync" && source !== undefined) {
    const target = /^[^/:]+:/.test(source) ? "the local directory" : "PEER:DIR";
    const advice = `where to? write ${target} after ${JSON.stringify(source)}`;
    const pattern = command.getOptionValue("exclude")?.at(-1);
    if (pattern === undefined || /[*?[!]/.test(pattern)) return advice;
    const exclude = `--exclude PATTERN ${formatShellCommand(pattern)}`;
    return `${advice}; if ${
      JSON.stringify(pattern)
    } is the directory, write a pattern before it, as in ${exclude}`;
  }
  return `${name.toUpperCase()} is missing: write ${formatUsage(command)}`;
}

function describeNoArguments(command: Command): string {
  const [, advice] = NO_ARGUMENT_ADVICE.find(([name]) => name === command.name()) ?? [];
  const name = formatCommandName(command);
  return `${name} takes none${advice === undefined ? "" : `: ${advice}`}`;
}

function formatCommandName(command: Command): string {
  const { parent } = command;
  return parent === null ? command.name() : `${formatCommandName(parent)} ${command.name()}`;
}

function formatUsage(command: Command): string {
  return `${formatCommandName(command)} ${command.usage()}`;
}

function formatOptionsAdvice(command: Command): string {
  const names = listOptions(command).filter(({ hidden }) => !hidden).map(({ long }) => long);
  const options = names.length === 0 ? "" : `, with the options ${names.join(", ")}`;
  return `; write ${formatUsage(command)}${options}`;
}

function formatCommandsAdvice(command: Command): string {
  return `; the commands are ${command.commands.map((each) => each.name()).join(", ")}`;
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
}

export function catchSignals(): CaughtSignals {
  const controller = new AbortController();
  const listener = () => {
    if (controller.signal.aborted) Deno.exit(INTERRUPTED);
    controller.abort(new InterruptedError());
  };
  for (const signal of TERMINATION_SIGNALS) Deno.addSignalListener(signal, listener);
  return {
    signal: controller.signal,
    interrupt: listener,
    [Symbol.dispose]: () => {
      for (const signal of TERMINATION_SIGNALS) Deno.removeSignalListener(signal, listener);
    },
  };
}
