/**
 * Completion for zsh.
 *
 * @module
 */

import type { CommandWords, Kind, OptionWords, Words } from "./words.ts";

/** What completes each kind. */
const ACTIONS: Readonly<Record<Kind, string>> = {
  directory: "_files -/",
  file: "_files",
  peer: "_degu_peers",
  remote: "_degu_remotes",
  text: " ",
};

/** A script for `source <(degu completions zsh)`, or for a file `_degu` in `$fpath`. */
export function zshScript({ options, commands }: Words): string {
  const described = commands.map(({ name, summary }) => quoted(`${name}:${summary}`));
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
${described.concat(quoted("help:explain a command")).map((each) => `    ${each}`).join("\n")}
  )
  common=(
${options.map((each) => `    ${optionSpec(each)}`).join("\n")}
  )
  _arguments -C $common '1:command:->command' '*::operand:->operand' && return
  case $state in
    command) _describe command commands ;;
    operand)
      case $words[1] in
${commands.map(commandCase).join("\n")}
        help) _describe command commands ;;
      esac ;;
  esac
}
if [[ $funcstack[1] == _degu ]]; then _degu "$@"; else compdef _degu degu; fi
`;
}

function commandCase({ name, options, operands, choices }: CommandWords): string {
  const specs = options.map(optionSpec);
  if (choices.length > 0) specs.push(quoted(`*:operand:(${choices.join(" ")})`));
  const actions = operands.map((kind) => ACTIONS[kind]);
  if (actions.length > 0) {
    const call = actions.map((each) => `"${each}"`).join(" ");
    specs.push(quoted(`*:operand:{_degu_operands ${call}}`));
  }
  return `        ${name}) _arguments $common ${specs.join(" ")} ;;`;
}

function optionSpec({ long, summary, value }: OptionWords): string {
  const text = summary.replaceAll(/[[\]:\\]/g, "\\$&");
  return quoted(`*${long}[${text}]${value === null ? "" : `:value:${ACTIONS[value]}`}`);
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
