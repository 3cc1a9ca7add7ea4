import type { Command, Option } from "commander";
import type { Context } from "../machine/context.ts";
import type { AgentCommand } from "../command.ts";

const SCRIPT_FORMATTERS: Readonly<Record<string, typeof formatBashScript>> = {
  bash: formatBashScript,
  zsh: (...words) => `autoload -U +X bashcompinit && bashcompinit\n${formatBashScript(...words)}`,
  fish: formatFishScript,
};

export function makeCompletionsPrinter(program: AgentCommand) {
  return ({ output }: Context, shell: string): Promise<void> => {
    const options = program.createHelp().visibleOptions(program);
    const script = SCRIPT_FORMATTERS[shell]!(listCommandCompletions(program), options);
    output.printResult(script.trimEnd().split("\n"), { shell, script });
    return Promise.resolve();
  };
}

const COMPLETERS = {
  directory: { bash: "_degu_files -d", fish: " -a '(__fish_complete_directories)'" },
  file: { bash: "_degu_files -f", fish: " -F" },
  peer: { bash: "_degu_peers ' '", fish: " -a '(__degu_peers)'" },
  remote: { bash: "_degu_peers :", fish: " -a '(__degu_peers :)'" },
};

const COMPLETERS_BY_PLACEHOLDER: Readonly<Record<string, readonly (keyof typeof COMPLETERS)[]>> = {
  dir: ["directory"],
  file: ["file"],
  peer: ["peer"],
  "peer:path": ["remote"],
  path: ["remote", "file"],
  from: ["remote", "directory"],
  to: ["remote", "directory"],
};

function findValueKind({ flags, required, optional }: Option): "directory" | "text" | null {
  if (!required && !optional) return null;
  return COMPLETERS_BY_PLACEHOLDER[/[<[](.*)[\]>]/.exec(flags)![1]!]?.[0] === "directory"
    ? "directory"
    : "text";
}

interface CommandCompletions {
  /** The words of the command: `" service install"`; empty for `degu` itself. */
  readonly words: string;
  readonly summary: string;
  readonly options: readonly Option[];
  readonly choices: readonly string[];
  /** The kinds of its operands, which may come in any order. */
  readonly kinds: readonly (keyof typeof COMPLETERS)[];
}

function listCommandCompletions(
  command: Command,
  words = "",
  siblings: readonly string[] = [],
): CommandCompletions[] {
  const visibleCommands = command.createHelp().visibleCommands(command);
  const names = visibleCommands.map((subcommand) => subcommand.name());
  // A hidden command is the default subcommand, so its options also belong to this command.
  const hiddenCommands = command.commands.filter((subcommand) =>
    !visibleCommands.includes(subcommand)
  );
  const allOptions = words === ""
    ? []
    : [command, ...hiddenCommands].flatMap(({ options }) => options);
  const operands = command.registeredArguments;
  const choices = command.name() === "help"
    ? siblings
    : [...names, ...operands.flatMap(({ argChoices = [] }) => argChoices)];
  const kinds = new Set(
    operands.flatMap((operand) => COMPLETERS_BY_PLACEHOLDER[operand.name()] ?? []),
  );
  const summary = command.summary() || command.description();
  const options = allOptions.filter(({ hidden }) => !hidden);
  return [
    { words, summary, options, choices, kinds: [...kinds] },
    ...visibleCommands.flatMap((subcommand) =>
      listCommandCompletions(subcommand, `${words} ${subcommand.name()}`, names)
    ),
  ];
}

/** Formats a script that also runs in the old bash of macOS, which has no `mapfile`. */
function formatBashScript(
  commands: readonly CommandCompletions[],
  options: readonly Option[],
): string {
  const formatOptionPatterns = (value: "directory" | "text") => {
    const formatPatterns = (prefix: string, ownOptions: readonly Option[]) =>
      ownOptions.filter((option) => findValueKind(option) === value).map(({ long }) =>
        `${prefix} ${long}"`
      );
    const commandPatterns = commands.flatMap(({ words, options }) =>
      formatPatterns(`"${words}`, options)
    );
    return [...formatPatterns('*"', options), ...commandPatterns].join("|");
  };
  const formatCases = (listCalls: (command: CommandCompletions) => readonly string[]) =>
    commands.map((command) => [command.words, listCalls(command)] as const)
      .filter(([, calls]) => calls.length > 0)
      .map(([words, calls]) => `    "${words}") ${calls.join("; ")} ;;`).join("\n");
  return `# Completion of degu: source <(degu completions bash), or zsh
_degu_words() {
  COMPREPLY+=($(compgen -W "$1" -- "$word"))
}
_degu_peers() {
  _degu_words "$(degu peers --json 2> /dev/null | sed -n 's/^{"name":"\\([^"]*\\)".*/\\1'"$1"'/p')"
}
_degu_files() {
  # If file names are among the completions, bash would quote the colon of a peer.
  ((\${#COMPREPLY[@]})) || compopt -o filenames +o nospace 2> /dev/null
  COMPREPLY+=($(compgen "$1" -- "$word"))
}
_degu() {
  local word=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]} command= i
  local IFS=$'\\n'
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case \${COMP_WORDS[i]} in
      ${listValueOptions(options).join("|")}) ((i++)) ;;
      -*) ;;
      *) case "$command \${COMP_WORDS[i]}" in
        ${
    listCommandWords(commands).map((words) => `"${words}"`).join("|")
  }) command+=" \${COMP_WORDS[i]}" ;;
        *) break ;;
      esac ;;
    esac
  done
  case "$command $previous" in
    ${formatOptionPatterns("directory")}) _degu_files -d; return ;;
    ${formatOptionPatterns("text")}) return ;;
  esac
  if [[ $word == -* ]]; then
    _degu_words ${formatOptionWords(options)}
    case $command in
${
    formatCases(({ options }) =>
      options.length > 0 ? [`_degu_words ${formatOptionWords(options)}`] : []
    )
  }
    esac
    return
  fi
  # Bash begins a word at the colon after a peer.
  [[ $word != *:* && $previous != : ]] || return
  case $command in
${
    formatCases(({ choices, kinds }) => [
      ...choices.length > 0 ? [`_degu_words ${formatWords(choices)}`] : [],
      ...kinds.map((kind) => COMPLETERS[kind].bash),
    ])
  }
  esac
}
complete -o nospace -F _degu degu
`;
}

function listValueOptions(options: readonly Option[]): string[] {
  return options.filter((option) => findValueKind(option) !== null).map(({ long }) => long!);
}

function listCommandWords(commands: readonly CommandCompletions[]): string[] {
  return commands.map(({ words }) => words).filter((words) => words !== "");
}

function formatOptionWords(options: readonly Option[]): string {
  return formatWords(options.map(({ long }) => long!));
}

function formatWords(words: readonly string[]): string {
  return `$'${words.map((word) => `${word} `).join("\\n")}'`;
}

function formatFishScript(
  commands: readonly CommandCompletions[],
  options: readonly Option[],
): string {
  return `# Completion of degu for fish: degu completions fish | source
function __degu_peers
    degu peers --json 2> /dev/null | string replace -rf '^{"name":"([^"]*)".*' "\\$1$argv[1]"
end
# Succeeds if this command is typed, except in a path of a peer, which fish would complete.
function __degu_in
    string match -q '*:*' -- (commandline -ct); and return 1
    set -l command
    set -l words (commandline -opc)[2..]
    while set -q words[1]
        if contains -- $words[1] ${listValueOptions(options).join(" ")}
            set -e words[1]
        else if not string match -q -- '-*' $words[1]
            contains -- "$command $words[1]" ${
    listCommandWords(commands).map((words) => `'${words}'`).join(" ")
  }; or break
            set command "$command $words[1]"
        end
        set -e words[1]
    end
    test "$command" = "$argv[1]"
end
complete -c degu -f
${options.map((option) => `complete -c degu${formatFishOption(option)}`).join("\n")}
${commands.flatMap((command) => formatFishLines(command, commands)).join("\n")}
`;
}

function formatFishLines(
  { words, options, choices, kinds }: CommandCompletions,
  commands: readonly CommandCompletions[],
): string[] {
  const formatChoice = (choice: string) => {
    const matchingCommand = commands.find((command) => command.words === `${words} ${choice}`);
    return ` -a ${choice}${
      matchingCommand === undefined ? "" : ` -d ${quoteForFish(matchingCommand.summary)}`
    }`;
  };
  return [
    ...choices.map(formatChoice),
    ...options.map(formatFishOption),
    ...kinds.map((kind) => COMPLETERS[kind].fish),
  ].map((line) => `complete -c degu -n "__degu_in '${words}'"${line}`);
}

function formatFishOption(option: Option): string {
  const { long, short, description } = option;
  const value = findValueKind(option);
  const letter = short === undefined ? "" : ` -s ${short.slice(1)}`;
  const values = value === null ? "" : ` -x${value === "directory" ? COMPLETERS[value].fish : ""}`;
  return ` -l ${long!.slice(2)}${letter}${values} -d ${quoteForFish(description)}`;
}

function quoteForFish(text: string): string {
  return `'${text.replaceAll(/['\\]/g, "\\$&")}'`;
}
