/**
 * Completion for bash.
 *
 * @module
 */

import type { CommandWords, Kind, OptionWords, Words } from "./words.ts";

/** A script for `source <(degu completions bash)`; also for the old bash of macOS, which has no `mapfile`. */
export function bashScript({ options, commands }: Words): string {
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
${commands.flatMap(optionsCase).join("\n")}
    esac
    return
  fi
  case $command in
    '') _degu_words ${linesOf([...names, "help"])} "$word" ;;
    help) _degu_words ${linesOf(names)} "$word" ;;
${commands.flatMap(operandsCase).join("\n")}
  esac
}
complete -F _degu degu
`;
}

function optionsCase({ name, options }: CommandWords): string[] {
  return options.length === 0 ? [] : [`      ${name}) _degu_words ${listOf(options)} "$word" ;;`];
}

function operandsCase({ name, operands, choices }: CommandWords): string[] {
  const calls = operands.flatMap((kind) => CALLS[kind] ?? []);
  if (choices.length > 0) calls.push(`_degu_words ${linesOf(choices)} "$word"`);
  return calls.length === 0 ? [] : [`    ${name}) ${calls.join("; ")} ;;`];
}

/** What completes each kind of operand. */
const CALLS: Partial<Record<Kind, string>> = {
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
