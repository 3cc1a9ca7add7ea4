/** The program: its commands, its options, its exit codes. */

import { type Command, CommanderError } from "commander";
import { AgentCommand, type CommonOptions, type Context, type Run } from "./command.ts";
import { findHome } from "./open_device.ts";
import { explain, makeErrorObject } from "./explain.ts";
import { exitCodeOf, FAILED, Failure, INTERRUPTED, InterruptedError } from "./failure.ts";
import { describeForeignOption } from "./option_advice.ts";
import { Output, OutputClosedError, type Streams, writeToStdout } from "./output.ts";

/** The version in `deno.json`, which a published program doesn't load. */
const VERSION = "0.1.0";

type AddCommand = (program: AgentCommand) => void;

/**
 * The commands, by the headings of the help, each with a function that loads its module. A command
 * line loads only the module of its command: to load all modules takes as long as the rest of a
 * short command.
 */
const COMMANDS: readonly [heading: string, Readonly<Record<string, () => Promise<AddCommand>>>][] =
  [
    ["Pairing:", {
      pair: async () => (await import("./commands/pair.ts")).addPair,
      invite: async () => (await import("./commands/invite.ts")).addInvite,
      join: async () => (await import("./commands/join.ts")).addJoin,
      peers: async () => (await import("./commands/peers.ts")).addPeers,
      rename: async () => (await import("./commands/peers.ts")).addRename,
      forget: async () => (await import("./commands/peers.ts")).addForget,
    }],
    ["Files:", {
      serve: async () => (await import("./commands/serve.ts")).addServe,
      ls: async () => (await import("./commands/ls.ts")).addLs,
      get: async () => (await import("./commands/get.ts")).addGet,
      put: async () => (await import("./commands/put.ts")).addPut,
      rm: async () => (await import("./commands/rm.ts")).addRm,
      sync: async () => (await import("./commands/sync.ts")).addSync,
      service: async () => (await import("./commands/service.ts")).addService,
    }],
    ["Transfers without pairing:", {
      send: async () => (await import("./commands/send.ts")).addSend,
      receive: async () => (await import("./commands/receive.ts")).addReceive,
    }],
    ["This device:", {
      init: async () => (await import("./commands/init.ts")).addInit,
      id: async () => (await import("./commands/peers.ts")).addId,
      completions: async () => (await import("./commands/completions.ts")).addCompletions,
    }],
    ["Troubleshooting:", {
      ping: async () => (await import("./commands/ping.ts")).addPing,
    }],
  ];

/** The script of this command lists all commands. */
const NEEDS_ALL_COMMANDS = "completions";

/** The commands that words of other programs mean. */
const FOREIGN_COMMANDS: Readonly<Record<string, string>> = {
  ...{ cp: "put or get", scp: "put or get", copy: "put or get", upload: "put", push: "put" },
  ...{ download: "get", fetch: "get", pull: "get", rsync: "sync", mirror: "sync" },
  ...{ dir: "ls", list: "ls", del: "rm", delete: "rm", remove: "rm" },
};

const DESCRIPTION =
  `Copies files between your own devices over mutual TLS: no cloud, no account, no third party.

The first minute, on two machines in the same network:
  one$ degu pair
  two$ degu pair      (compare the number, type yes on both; then y on one)
  two$ echo hello > hello.txt
  two$ degu put hello.txt one:
The file is now in ~/Inbox/two on one: each peer has its own directory in the inbox. After y, one receives files until Ctrl-C; later, run degu serve --inbox ~/Inbox on one. To keep the inbox running, run degu service install --inbox ~/Inbox. If one runs degu serve --share DIR, two can list, get and sync the files in DIR.
To send files once, without pairing:
  two$ degu send hello.txt
  one$ degu receive   (compare the number, type yes on both)`;

/**
 * Runs the program; resolves to its exit code.
 *
 * @param caughtSignals The signals that abort the program; by default, the signals of the process.
 */
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
    const command = args.at(-1) as Command; // commander passes the command behind the options
    const options = command.optsWithGlobals<CommonOptions>();
    output = new Output(options, streams);
    output.interrupt = interrupt;
    if (options.verbose && options.quiet) {
      throw new Failure("--verbose and --quiet contradict each other: leave one out", "USAGE");
    }
    const home = findHome(options.home);
    context = { home, output, signal, options };
    exitCode = await action(context, ...args) ?? 0;
  };
  try {
    const program = await makeProgram(run, streams, args);
    if (args.length === 0) program.outputHelp();
    else await program.parseAsync(args, { from: "user" });
    return exitCode;
  } catch (thrown) {
    const error = signal.aborted ? signal.reason : thrown;
    if (error instanceof CommanderError) return 0;
    if (error instanceof OutputClosedError) return FAILED;
    output.error(explain(error, context?.peer));
    try {
      if (output.json) output.printResult("", { error: makeErrorObject(error, context?.peer) });
    } catch {
      // The output was closed or is not writable. The message and the exit code still report the
      // error.
    }
    return exitCodeOf(error);
  }
}

/**
 * Makes the program.
 *
 * @param args The command line. Only its command is added; without a command, all are added.
 */
export async function makeProgram(
  run: Run,
  streams: Streams = Deno,
  args: readonly string[] = [],
): Promise<AgentCommand> {
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
  overrideExit(program);
  await addCommands(program, program.parseOptions([...args]).operands[0] ?? "");
  for (const command of listCommands(program)) overrideExit(command);
  return program;
}

/** Adds the command of this name, or all commands if no command has the name. */
async function addCommands(program: AgentCommand, name: string): Promise<void> {
  const canLoadAlone = name !== NEEDS_ALL_COMMANDS &&
    COMMANDS.some(([, group]) => Object.hasOwn(group, name));
  const groupPromises = COMMANDS.map(async ([heading, group]) => {
    const loaders = Object.entries(group).filter(([commandName]) =>
      !canLoadAlone || commandName === name
    );
    return [heading, await Promise.all(loaders.map(([, load]) => load()))] as const;
  });
  for (const [heading, addFunctions] of await Promise.all(groupPromises)) {
    program.commandsGroup(heading);
    for (const add of addFunctions) add(program);
  }
}

function overrideExit(command: Command): void {
  command.exitOverride((error) => {
    throw makeUsageFailure(error, command);
  });
}

function listCommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(listCommands)];
}

/** Returns the problem of a wrong command line, with a suggestion. */
function describeUsageProblem({ code, message }: CommanderError, command: Command): string {
  if (message === "(outputHelp)") return "a command is missing or unknown";
  const messageLine = message.replace(/^error: /, "").replace(/\n\((.*)\)$/, " ($1)").replace(
    /\.$/,
    "",
  );
  const [firstQuoted = "", secondQuoted = ""] = Array.from(
    messageLine.matchAll(/'(.*?)'/gs),
    ([, text = ""]) => text,
  );
  const [option = ""] = firstQuoted.split(" ");
  switch (code) {
    case "commander.missingArgument":
      return `${firstQuoted.toUpperCase()} is missing`;
    case "commander.excessArguments": {
      const extraArgs = command.args.slice(command.registeredArguments.length);
      const extraArguments = extraArgs.map((argument) => JSON.stringify(argument)).join(", ");
      return `too many arguments: ${extraArguments}; quote a name with spaces`;
    }
    case "commander.optionMissingArgument":
      return `${option} needs a value: ${
        firstQuoted.replaceAll(/[<>]/g, "").replace(/ .*/, (value) => value.toUpperCase())
      }`;
    case "commander.conflictingOption":
      return `${option} and ${secondQuoted.split(" ")[0]} can't be combined`;
    case "commander.unknownCommand": {
      const meant = Object.hasOwn(FOREIGN_COMMANDS, firstQuoted) && FOREIGN_COMMANDS[firstQuoted];
      if (meant) return `unknown command '${firstQuoted}' (Did you mean ${meant}?)`;
      return command.args.some((argument) => /^[^/:]+:/.test(argument))
        ? `unknown command '${firstQuoted}'; to copy files, run degu put or degu get`
        : messageLine;
    }
    case "commander.unknownOption": {
      const mayBeFile = !/^--[a-z-]+(?:=|$)/.test(firstQuoted) &&
        command.registeredArguments.some((argument) => /path|from|to|file/.test(argument.name()));
      return describeForeignOption(firstQuoted, command) ??
        (mayBeFile ? `${messageLine}; to name a file, write ./ before it` : messageLine);
    }
  }
  return messageLine.replace(/^option '(--[a-z-]+)[^']*' argument '.*?' is invalid\. /s, "$1: ")
    .replace(
      /^command-argument value '(.*)' is invalid for argument '(.*)'\. Allowed choices are /s,
      (_whole, _value, name) => `${name.toUpperCase()} must be one of `,
    );
}

/**
 * Converts an error of commander. With exit code 0, it is a request for the help or the version.
 */
function makeUsageFailure(error: CommanderError, command: Command): Error {
  const { exitCode } = error;
  if (exitCode === 0) return error;
  const problem = describeUsageProblem(error, command);
  const names = [command.name()];
  for (let ancestor = command.parent; ancestor !== null; ancestor = ancestor.parent) {
    names.unshift(ancestor.name());
  }
  const name = names.join(" ");
  return new Failure(`${problem}; see "${name} --help"`, "USAGE");
}

/** The signals that end programs. On Windows, the last two are Ctrl-Break and a closed window. */
const TERMINATION_SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT", "SIGBREAK", "SIGHUP"]
  : ["SIGINT", "SIGTERM"];

interface CaughtSignals extends Disposable {
  readonly signal: AbortSignal;
  /** Has the effect of a signal of the system. */
  readonly interrupt?: () => void;
}

/**
 * Catches signals until disposed of: the first signal aborts the command, the second ends the
 * process.
 */
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
