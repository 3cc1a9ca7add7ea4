/** `degu completions`: scripts for bash, zsh and fish, made from the commands and their options. */

import { Argument, type Command, type Option } from "npm:commander@^15.1.0";
import type { AgentCommand } from "../commands.ts";

const SCRIPTS: Readonly<Record<string, typeof bashScript>> = {
  bash: bashScript,
  zsh: (...words) => `autoload -U +X bashcompinit && bashcompinit\n${bashScript(...words)}`,
  fish: fishScript,
};

export function addCompletions(program: AgentCommand): void {
  program.command("completions")
    .summary("print a script that completes commands in a shell")
    .description("Prints a script with which a shell completes commands, options, files and peers.")
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

/** What an operand, or the value of an option, is completed with. */
type Kind = "directory" | "file" | "peer" | "remote" | "text";

/** By the name that stands for it in angle brackets. */
const KINDS: Readonly<Record<string, readonly Kind[]>> = {
  dir: ["directory"],
  peer: ["peer"],
  "peer:path": ["remote"],
  path: ["remote", "file"],
  from: ["remote", "directory"],
  to: ["remote", "directory"],
};

/** What the value of an option is; `null` if it has none. */
function valueOf({ flags, required }: Option): Kind | null {
  return required ? KINDS[/<(.*)>/.exec(flags)![1]!]?.[0] ?? "text" : null;
}

/** What the operands of a command are, in any order. */
function operandsOf({ registeredArguments }: Command): Set<Kind> {
  return new Set(registeredArguments.flatMap((each) => KINDS[each.name()] ?? []));
}

/** The words that an operand of a command has to be one of. */
function choicesOf({ registeredArguments }: Command): string[] {
  return registeredArguments.flatMap(({ argChoices = [] }) => argChoices);
}

/**
 * A script for `source <(degu completions bash)`; also for the old bash of macOS, which has no `mapfile`.
 *
 * @param options Those of every command.
 */
function bashScript(commands: readonly Command[], options: readonly Option[]): string {
  const names = commands.map((command) => command.name());
  /** The options that have such a value, each behind its command, as patterns. */
  const optionsWith = (isSo: (value: Kind | null) => boolean) => {
    const patternsOf = (name: string, own: readonly Option[]) =>
      own.filter((option) => isSo(valueOf(option))).map(({ long }) => `${name}" ${long}"`);
    const ofCommands = commands.flatMap((each) => patternsOf(each.name(), each.options));
    return [...patternsOf("*", options), ...ofCommands].join("|");
  };
  const cases = commands.map((command) => {
    const calls = [...operandsOf(command)].map((kind) => BASH_CALLS[kind]);
    const choices = choicesOf(command);
    if (choices.length > 0) calls.push(`_degu_words ${linesOf(choices)}`);
    return [command.name(), listOf(command.options), calls.join("; ") || ":"];
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
    ${optionsWith((value) => value === "directory")}) _degu_files -d; return ;;
    ${optionsWith((value) => value === "text")}) return ;;
  esac
  if [[ $word == -* ]]; then
    _degu_words ${listOf(options)}
    case $command in
${cases.map(([name, options]) => `      ${name}) _degu_words ${options} ;;`).join("\n")}
    esac
    return
  fi
  case $command in
    '') _degu_words ${linesOf([...names, "help"])} ;;
    help) _degu_words ${linesOf(names)} ;;
${cases.map(([name, , calls]) => `    ${name}) ${calls} ;;`).join("\n")}
  esac
}
complete -o nospace -F _degu degu
`;
}

/** What completes each kind of operand. */
const BASH_CALLS: Readonly<Record<Kind, string>> = {
  directory: "_degu_files -d",
  file: "_degu_files -f",
  peer: "_degu_peers ' '",
  remote: "_degu_peers :",
  text: ":",
};

function listOf(options: readonly Option[]): string {
  return linesOf(options.map(({ long }) => long!));
}

/** Words as a shell's text with a line for each; a space follows each of them, which only a peer's path has not. */
function linesOf(words: readonly string[]): string {
  return `$'${words.map((word) => `${word} `).join("\\n")}'`;
}

/** A script for `degu completions fish | source`. */
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

/** What completes a command, and what follows it. */
function fishCommandLines(command: Command): string[] {
  const name = command.name();
  const operands = operandsOf(command);
  const choices = choicesOf(command);
  return [
    ` -n __fish_use_subcommand -a ${name} -d ${fishQuoted(command.summary())}`,
    ...[
      ...command.options.map(fishOption),
      choices.length > 0 ? ` -a '${choices.join(" ")}'` : "",
      operands.has("peer") ? " -a '(__degu_peers)'" : "",
      operands.has("remote") ? " -a '(__degu_peers :)'" : "",
      operands.has("file") ? " -F" : operands.has("directory") ? FISH_DIRECTORIES : "",
    ].filter((each) => each !== "").map((each) =>
      ` -n '__fish_seen_subcommand_from ${name}'${each}`
    ),
  ].map((line) => `complete -c degu${line}`);
}

const FISH_DIRECTORIES = " -a '(__fish_complete_directories)'";

function fishOption(option: Option): string {
  const { long, short, description } = option;
  const value = valueOf(option);
  const letter = short === undefined ? "" : ` -s ${short.slice(1)}`;
  const values = value === null ? "" : ` -x${value === "directory" ? FISH_DIRECTORIES : ""}`;
  return ` -l ${long!.slice(2)}${letter}${values} -d ${fishQuoted(description)}`;
}

function fishQuoted(text: string): string {
  return `'${text.replaceAll(/['\\]/g, "\\$&")}'`;
}
