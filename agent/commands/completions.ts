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
    .action((shell: string, _options: unknown, command: Command) =>
      run(command, ({ output }) => {
        const script = SCRIPTS[shell]!(wordsOf(program));
        output.result(script.trimEnd().split("\n"), { shell, script });
        return Promise.resolve();
      })
    );
  addExamples(command, [
    ['echo "source <(degu completions bash)" >> ~/.bashrc', "bash"],
    ['echo "source <(degu completions zsh)" >> ~/.zshrc', "zsh, after compinit"],
    ["degu completions fish > ~/.config/fish/completions/degu.fish", "fish"],
  ]);
}

/** What an option or an operand takes. */
type Kind = "directory" | "file" | "peer" | "remote" | "text";

/** An option. */
interface OptionWords {
  readonly long: string;
  readonly short: string | null;
  readonly summary: string;
  /** What its value is; `null` if it has none. */
  readonly value: Kind | null;
}

/** A command. */
interface CommandWords {
  readonly name: string;
  readonly summary: string;
  readonly options: readonly OptionWords[];
  /** What its operands are, in any order. */
  readonly operands: readonly Kind[];
  /** The words that one of its operands has to be. */
  readonly choices: readonly string[];
}

/** All words of the program. */
interface Words {
  /** The options that every command has. */
  readonly options: readonly OptionWords[];
  readonly commands: readonly CommandWords[];
}

/** What is in angle brackets or square ones, and what it stands for. */
const KINDS: Readonly<Record<string, readonly Kind[]>> = {
  dir: ["directory"],
  peer: ["peer"],
  "peer:path": ["remote"],
  path: ["remote", "file"],
  from: ["remote", "directory"],
  to: ["remote", "directory"],
};

/** Finds the words of the program. */
export function wordsOf(program: Command): Words {
  return {
    options: program.options.map(optionWords).concat([{
      long: "--help",
      short: "-h",
      summary: "explain this command",
      value: null,
    }]),
    commands: program.commands.map((command) => ({
      name: command.name(),
      summary: command.summary(),
      options: command.options.map(optionWords),
      operands: [
        ...new Set(command.registeredArguments.flatMap((each) => KINDS[each.name()] ?? [])),
      ],
      choices: command.registeredArguments.flatMap(({ argChoices = [] }) => argChoices),
    })),
  };
}

function optionWords({ long, short, flags, description }: Option): OptionWords {
  const value = /[<[](.*?)(?:\.\.\.)?[\]>]/.exec(flags)?.[1];
  return {
    long: long!,
    short: short ?? null,
    summary: description,
    value: value === undefined ? null : KINDS[value]?.[0] ?? "text",
  };
}

/** A script for `source <(degu completions bash)`; also for the old bash of macOS, which has no `mapfile`. */
function bashScript({ options, commands }: Words): string {
  const all = [...options, ...commands.flatMap((command) => command.options)];
  const names = commands.map(({ name }) => name);
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
    ${longs(all.filter(({ value }) => value === "directory"))}) _degu_files -d "$word"; return ;;
    ${longs(all.filter(({ value }) => value === "file" || value === "text"))}) return ;;
  esac
  for ((i = 1; i < COMP_CWORD; i++)); do
    case \${COMP_WORDS[i]} in
      ${longs(all.filter(({ value }) => value !== null))}) ((i++)) ;;
      -*) ;;
      *) command=\${COMP_WORDS[i]}; break ;;
    esac
  done
  if [[ $word == -* ]]; then
    _degu_words ${listOf(options)} "$word"
    case $command in
${commands.flatMap(bashOptionsCase).join("\n")}
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

function bashOptionsCase({ name, options }: CommandWords): string[] {
  return options.length === 0 ? [] : [`      ${name}) _degu_words ${listOf(options)} "$word" ;;`];
}

function bashOperandsCase({ name, operands, choices }: CommandWords): string[] {
  const calls = operands.flatMap((kind) => BASH_CALLS[kind] ?? []);
  if (choices.length > 0) calls.push(`_degu_words ${linesOf(choices)} "$word"`);
  return calls.length === 0 ? [] : [`    ${name}) ${calls.join("; ")} ;;`];
}

/** What completes each kind of operand. */
const BASH_CALLS: Partial<Record<Kind, string>> = {
  directory: '_degu_files -d "$word"',
  file: '_degu_files -f "$word"',
  peer: '_degu_words "$(_degu_peers)" "$word"',
  remote: '_degu_words "$(_degu_peers :)" "$word"',
};

/** Options as a pattern of `case`, each once. */
function longs(options: readonly OptionWords[]): string {
  return [...new Set(options.map(({ long }) => long))].join("|") || "--";
}

function listOf(options: readonly OptionWords[]): string {
  return linesOf(options.map(({ long }) => long));
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
  const described = commands.map(({ name, summary }) => zshQuoted(`${name}:${summary}`));
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

function zshCommandCase({ name, options, operands, choices }: CommandWords): string {
  const specs = options.map(zshOptionSpec);
  if (choices.length > 0) specs.push(zshQuoted(`*:operand:(${choices.join(" ")})`));
  const actions = operands.map((kind) => ZSH_ACTIONS[kind]);
  if (actions.length > 0) {
    const call = actions.map((each) => `"${each}"`).join(" ");
    specs.push(zshQuoted(`*:operand:{_degu_operands ${call}}`));
  }
  return `        ${name}) _arguments $common ${specs.join(" ")} ;;`;
}

function zshOptionSpec({ long, summary, value }: OptionWords): string {
  const text = summary.replaceAll(/[[\]:\\]/g, "\\$&");
  return zshQuoted(`*${long}[${text}]${value === null ? "" : `:value:${ZSH_ACTIONS[value]}`}`);
}

function zshQuoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** A script for `degu completions fish | source`. */
function fishScript({ options, commands }: Words): string {
  const names = commands.map(({ name }) => name).join(" ");
  return `# Completion of degu for fish: degu completions fish | source
function __degu_peers
    degu peers --json 2> /dev/null | string replace -rf '^{"name":"([^"]*)".*' "\\$1$argv[1]"
end
complete -c degu -f
${options.map((option) => fishOptionLine(option, null)).join("\n")}
${commands.map(fishCommandLine).join("\n")}
complete -c degu -n __fish_use_subcommand -a help -d 'explain a command'
complete -c degu -n '__fish_seen_subcommand_from help' -a '${names}'
${commands.flatMap(fishOperandLines).join("\n")}
`;
}

function fishCommandLine({ name, summary }: CommandWords): string {
  return `complete -c degu -n __fish_use_subcommand -a ${name} -d ${fishQuoted(summary)}`;
}

/** What is completed after a command. */
function fishOperandLines({ name, options, operands, choices }: CommandWords): string[] {
  const after = `complete -c degu -n '__fish_seen_subcommand_from ${name}'`;
  const lines = options.map((option) => fishOptionLine(option, name));
  if (choices.length > 0) lines.push(`${after} -a '${choices.join(" ")}'`);
  if (operands.includes("peer")) lines.push(`${after} -a '(__degu_peers)'`);
  if (operands.includes("remote")) lines.push(`${after} -a '(__degu_peers :)'`);
  if (operands.includes("file")) lines.push(`${after} -F`);
  else if (operands.includes("directory")) {
    lines.push(`${after} -a '(__fish_complete_directories)'`);
  }
  return lines;
}

function fishOptionLine(
  { long, short, summary, value }: OptionWords,
  command: string | null,
): string {
  const condition = command === null ? "" : ` -n '__fish_seen_subcommand_from ${command}'`;
  const letter = short === null ? "" : ` -s ${short.slice(1)}`;
  return `complete -c degu${condition} -l ${long.slice(2)}${letter}${fishValueFlags(value)} -d ${
    fishQuoted(summary)
  }`;
}

function fishValueFlags(value: OptionWords["value"]): string {
  if (value === null) return "";
  return value === "directory" ? " -x -a '(__fish_complete_directories)'" : " -x";
}

function fishQuoted(text: string): string {
  return `'${text.replaceAll(/['\\]/g, "\\$&")}'`;
}
