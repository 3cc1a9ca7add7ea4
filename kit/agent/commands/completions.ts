/** `degu completions`: scripts for bash, zsh and fish, made from the commands and their options. */

import { Argument, type Command, type Option } from "commander";
import type { AgentCommand } from "../command.ts";

const SCRIPTS: Readonly<Record<string, typeof bashScript>> = {
  bash: bashScript,
  zsh: (...words) => `autoload -U +X bashcompinit && bashcompinit\n${bashScript(...words)}`,
  fish: fishScript,
};

export function addCompletions(program: AgentCommand): void {
  program.command("completions")
    .summary("print a script that completes commands in a shell")
    .description(
      "Prints a script with which a shell completes commands, options, peers, and files of this device.",
    )
    .addArgument(new Argument("<shell>", "which one").choices(Object.keys(SCRIPTS)))
    .example('echo "source <(degu completions bash)" >> ~/.bashrc', "bash")
    .example('echo "source <(degu completions zsh)" >> ~/.zshrc', "zsh, after compinit")
    .example("degu completions fish > ~/.config/fish/completions/degu.fish", "fish")
    .does(({ output }, shell: string) => {
      const options = program.createHelp().visibleOptions(program);
      const script = SCRIPTS[shell]!(program.commands, options);
      output.result(script.trimEnd().split("\n"), { shell, script });
      return Promise.resolve();
    });
}

/** The completions of an operand, or of the value of an option, by shell. */
const COMPLETERS = {
  directory: { bash: "_degu_files -d", fish: " -a '(__fish_complete_directories)'" },
  file: { bash: "_degu_files -f", fish: " -F" },
  peer: { bash: "_degu_peers ' '", fish: " -a '(__degu_peers)'" },
  remote: { bash: "_degu_peers :", fish: " -a '(__degu_peers :)'" },
};

/** The completions of each placeholder in angle brackets. */
const PLACEHOLDERS: Readonly<Record<string, readonly (keyof typeof COMPLETERS)[]>> = {
  dir: ["directory"],
  file: ["file"],
  peer: ["peer"],
  "peer:path": ["remote"],
  path: ["remote", "file"],
  from: ["remote", "directory"],
  to: ["remote", "directory"],
};

/** The kind of value that an option takes; `null` for an option without a value. */
function valueOf({ flags, required, optional }: Option): "directory" | "text" | null {
  if (!required && !optional) return null;
  return PLACEHOLDERS[/[<[](.*)[\]>]/.exec(flags)![1]!]?.[0] === "directory" ? "directory" : "text";
}

/** The completions of the operands of a command, in any order. */
function completersOf(
  { registeredArguments, commands }: Command,
  shell: "bash" | "fish",
): string[] {
  const kinds = new Set(registeredArguments.flatMap((each) => PLACEHOLDERS[each.name()] ?? []));
  const subcommands = commands.map((each) => each.name());
  const words = [
    ...subcommands,
    ...registeredArguments.flatMap(({ argChoices = [] }) => argChoices),
  ];
  const choices = shell === "bash" ? `_degu_words ${linesOf(words)}` : ` -a '${words.join(" ")}'`;
  return [
    ...words.length > 0 ? [choices] : [],
    ...[...kinds].map((kind) => COMPLETERS[kind][shell]),
  ];
}

/**
 * Makes a script that also runs in the old bash of macOS, which has no `mapfile`.
 *
 * @param options Those of every command.
 */
function bashScript(commands: readonly Command[], options: readonly Option[]): string {
  const names = commands.map((command) => command.name());
  /** The options that take such a value, each behind its command, as patterns of `case`. */
  const optionsWith = (value: "directory" | "text") => {
    const patternsOf = (name: string, own: readonly Option[]) =>
      own.filter((option) => valueOf(option) === value).map(({ long }) => `${name}" ${long}"`);
    const ofCommands = commands.flatMap((each) => patternsOf(each.name(), each.options));
    return [...patternsOf("*", options), ...ofCommands].join("|");
  };
  const cases = commands.map((command) => {
    const calls = completersOf(command, "bash").join("; ") || ":";
    return [command.name(), listOf(command.options), calls];
  });
  return `# Completion of degu: source <(degu completions bash), or zsh
_degu_words() {
  COMPREPLY+=($(compgen -W "$1" -- "$word"))
}
_degu_peers() {
  _degu_words "$(degu peers --json 2> /dev/null | sed -n 's/^{"name":"\\([^"]*\\)".*/\\1'"$1"'/p')"
}
_degu_files() {
  compopt -o filenames +o nospace 2> /dev/null
  COMPREPLY+=($(compgen "$1" -- "$word"))
}
_degu() {
  local word=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]} command= i
  local IFS=$'\\n'
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case \${COMP_WORDS[i]} in
      ${
    options.filter((each) => valueOf(each) !== null).map(({ long }) => long).join("|")
  }) ((i++)) ;;
      -*) ;;
      *) command=\${COMP_WORDS[i]}; break ;;
    esac
  done
  case "$command $previous" in
    ${optionsWith("directory")}) _degu_files -d; return ;;
    ${optionsWith("text")}) return ;;
  esac
  if [[ $word == -* ]]; then
    _degu_words ${listOf(options)}
    case $command in
${cases.map(([name, options]) => `      ${name}) _degu_words ${options} ;;`).join("\n")}
    esac
    return
  fi
  # Bash begins a word at the colon behind a peer.
  [[ $word != *:* && $previous != : ]] || return
  case $command in
    '') _degu_words ${linesOf([...names, "help"])} ;;
    help) _degu_words ${linesOf(names)} ;;
${cases.map(([name, , calls]) => `    ${name}) ${calls} ;;`).join("\n")}
  esac
}
complete -o nospace -F _degu degu
`;
}

function listOf(options: readonly Option[]): string {
  return linesOf(options.filter(({ hidden }) => !hidden).map(({ long }) => long!));
}

/**
 * Writes words as text of a shell, each on a line of its own and followed by a space. The path of a
 * peer may be continued, so no space follows it.
 */
function linesOf(words: readonly string[]): string {
  return `$'${words.map((word) => `${word} `).join("\\n")}'`;
}

function fishScript(commands: readonly Command[], options: readonly Option[]): string {
  const names = commands.map((command) => command.name()).join(" ");
  return `# Completion of degu for fish: degu completions fish | source
function __degu_peers
    degu peers --json 2> /dev/null | string replace -rf '^{"name":"([^"]*)".*' "\\$1$argv[1]"
end
complete -c degu -f
${options.map((option) => `complete -c degu${fishOption(option)}`).join("\n")}
complete -c degu -n __fish_use_subcommand -a help -d 'explain a command'
complete -c degu -n '__fish_seen_subcommand_from help' -a '${names}'
${commands.flatMap(fishCommandLines).join("\n")}
`;
}

function fishCommandLines(command: Command): string[] {
  const name = command.name();
  const shown = command.options.filter(({ hidden }) => !hidden);
  const after = [...shown.map(fishOption), ...completersOf(command, "fish")];
  return [
    ` -n __fish_use_subcommand -a ${name} -d ${fishQuoted(command.summary())}`,
    ...after.map((each) => ` -n '__fish_seen_subcommand_from ${name}'${each}`),
  ].map((line) => `complete -c degu${line}`);
}

function fishOption(option: Option): string {
  const { long, short, description } = option;
  const value = valueOf(option);
  const letter = short === undefined ? "" : ` -s ${short.slice(1)}`;
  const values = value === null ? "" : ` -x${value === "directory" ? COMPLETERS[value].fish : ""}`;
  return ` -l ${long!.slice(2)}${letter}${values} -d ${fishQuoted(description)}`;
}

function fishQuoted(text: string): string {
  return `'${text.replaceAll(/['\\]/g, "\\$&")}'`;
}
