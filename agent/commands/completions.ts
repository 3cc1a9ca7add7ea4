/**
 * `degu completions`: scripts for bash, zsh and fish, made from the commands and their options.
 *
 * @module
 */

import { Argument, type Command, type Option } from "npm:commander@^15.1.0";
import { addExamples, type Run } from "../commands.ts";

const SCRIPTS: Readonly<Record<string, (words: Words) => string>> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};

/** Adds `degu completions`. */
export function addCompletions(program: Command, run: Run): void {
  const command = program.command("completions")
    .summary("print a script that completes commands in a shell")
    .description("Prints a script with which a shell completes commands, options, files and peers.")
    .addArgument(new Argument("<shell>", "which one").choices(Object.keys(SCRIPTS)))
    .action(run(({ output }, shell: string) => {
      const options = program.createHelp().visibleOptions(program);
      const script = SCRIPTS[shell]!({ options, commands: program.commands });
      output.result(script.trimEnd().split("\n"), { shell, script });
      return Promise.resolve();
    }));
  addExamples(command, [
    ['echo "source <(degu completions bash)" >> ~/.bashrc', "bash"],
    ['echo "source <(degu completions zsh)" >> ~/.zshrc', "zsh, after compinit"],
    ["degu completions fish > ~/.config/fish/completions/degu.fish", "fish"],
  ]);
}

/** All words of the program. */
interface Words {
  /** The options that every command has. */
  readonly options: readonly Option[];
  readonly commands: readonly Command[];
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

/** A script for `source <(degu completions bash)`; also for the old bash of macOS, which has no `mapfile`. */
function bashScript({ options, commands }: Words): string {
  const all = [...options, ...commands.flatMap((command) => command.options)];
  const names = commands.map((command) => command.name());
  const withValue = (isSo: (value: Kind | null) => boolean) => {
    const longs = all.filter((option) => isSo(valueOf(option))).map(({ long }) => long);
    return [...new Set(longs)].join("|") || "--";
  };
  return `# Completion of degu for bash: source <(degu completions bash)
_degu_peers() {
  degu peers --json 2> /dev/null | sed -n 's/^{"name":"\\([^"]*\\)".*/\\1'"$1"'/p'
}
_degu_files() {
  compopt -o filenames 2> /dev/null
  COMPREPLY+=($(compgen "$1" -- "$2"))
}
_degu_words() {
  COMPREPLY+=($(compgen -W "$1" -- "$2"))
  if [[ \${COMPREPLY[0]} == *: ]]; then compopt -o nospace 2> /dev/null; fi
}
_degu() {
  local word=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]} command= i
  local IFS=$'\\n'
  COMPREPLY=()
  case $previous in
    ${withValue((value) => value === "directory")}) _degu_files -d "$word"; return ;;
    ${withValue((value) => value === "text")}) return ;;
  esac
  for ((i = 1; i < COMP_CWORD; i++)); do
    case \${COMP_WORDS[i]} in
      ${withValue((value) => value !== null)}) ((i++)) ;;
      -*) ;;
      *) command=\${COMP_WORDS[i]}; break ;;
    esac
  done
  if [[ $word == -* ]]; then
    _degu_words ${listOf(options)} "$word"
    case $command in
${
    commands.filter(({ options }) => options.length > 0).map((command) =>
      `      ${command.name()}) _degu_words ${listOf(command.options)} "$word" ;;`
    ).join("\n")
  }
    esac
    return
  fi
  case $command in
    '') _degu_words ${linesOf([...names, "help"])} "$word" ;;
    help) _degu_words ${linesOf(names)} "$word" ;;
${commands.flatMap(bashOperandsCase).join("\n")}
  esac
}
complete -F _degu degu
`;
}

function bashOperandsCase(command: Command): string[] {
  const calls = [...operandsOf(command)].map((kind) => BASH_CALLS[kind]);
  const choices = choicesOf(command);
  if (choices.length > 0) calls.push(`_degu_words ${linesOf(choices)} "$word"`);
  return calls.length === 0 ? [] : [`    ${command.name()}) ${calls.join("; ")} ;;`];
}

/** What completes each kind of operand. */
const BASH_CALLS: Readonly<Record<Kind, string>> = {
  directory: '_degu_files -d "$word"',
  file: '_degu_files -f "$word"',
  peer: '_degu_words "$(_degu_peers)" "$word"',
  remote: '_degu_words "$(_degu_peers :)" "$word"',
  text: ":",
};

function listOf(options: readonly Option[]): string {
  return linesOf(options.map(({ long }) => long!));
}

/** Words as a shell's text with a line for each. */
function linesOf(words: readonly string[]): string {
  return `$'${words.join("\\n")}'`;
}

/** What completes each kind. */
const ZSH_ACTIONS: Readonly<Record<Kind, string>> = {
  directory: "_files -/",
  file: "_files",
  peer: "_degu_peers",
  remote: "_degu_remotes",
  text: " ",
};

/** A script for `source <(degu completions zsh)`, or for a file `_degu` in `$fpath`. */
function zshScript({ options, commands }: Words): string {
  const described = commands.map((each) => zshQuoted(`${each.name()}:${each.summary()}`));
  return `#compdef degu
# Completion of degu for zsh: source <(degu completions zsh), after compinit
_degu_peers() {
  local -a peers
  peers=(\${(f)"$(degu peers --json 2> /dev/null | sed -n 's/^{"name":"\\([^"]*\\)".*/\\1/p')"})
  [[ $1 == -S ]] && peers=(\${^peers}:)
  compadd "$@" -a peers
}
_degu_remotes() { _degu_peers -S '' "$@"; }
_degu_operands() {
  local ret=1
  local action
  for action in "$@"; do \${(z)action} && ret=0; done
  return ret
}
_degu() {
  local context state line curcontext=$curcontext
  typeset -A opt_args
  local -a commands common
  commands=(
${described.concat(zshQuoted("help:explain a command")).map((each) => `    ${each}`).join("\n")}
  )
  common=(
${options.map((each) => `    ${zshOptionSpec(each)}`).join("\n")}
  )
  _arguments -C $common '1:command:->command' '*::operand:->operand' && return
  case $state in
    command) _describe command commands ;;
    operand)
      case $words[1] in
${commands.map(zshCommandCase).join("\n")}
        help) _describe command commands ;;
      esac ;;
  esac
}
if [[ $funcstack[1] == _degu ]]; then _degu "$@"; else compdef _degu degu; fi
`;
}

function zshCommandCase(command: Command): string {
  const specs = command.options.map(zshOptionSpec);
  const choices = choicesOf(command);
  if (choices.length > 0) specs.push(zshQuoted(`*:operand:(${choices.join(" ")})`));
  const actions = [...operandsOf(command)].map((kind) => `"${ZSH_ACTIONS[kind]}"`);
  if (actions.length > 0) {
    specs.push(zshQuoted(`*:operand:{_degu_operands ${actions.join(" ")}}`));
  }
  return `        ${command.name()}) _arguments $common ${specs.join(" ")} ;;`;
}

function zshOptionSpec(option: Option): string {
  const { long, description } = option;
  const value = valueOf(option);
  const text = description.replaceAll(/[[\]:\\]/g, "\\$&");
  return zshQuoted(`*${long}[${text}]${value === null ? "" : `:value:${ZSH_ACTIONS[value]}`}`);
}

function zshQuoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** A script for `degu completions fish | source`. */
function fishScript({ options, commands }: Words): string {
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
