/**
 * Completion for fish.
 *
 * @module
 */

import type { CommandWords, OptionWords, Words } from "./words.ts";

/** A script for `degu completions fish | source`. */
export function fishScript({ options, commands }: Words): string {
  const names = commands.map(({ name }) => name).join(" ");
  return `# Completion of degu for fish: degu completions fish | source
function __degu_peers
    degu peers --json 2> /dev/null | string replace -rf '^{"name":"([^"]*)".*' "\\$1$argv[1]"
end
complete -c degu -f
${options.map((option) => optionLine(option, null)).join("\n")}
${commands.map(commandLine).join("\n")}
complete -c degu -n __fish_use_subcommand -a help -d 'explain a command'
complete -c degu -n '__fish_seen_subcommand_from help' -a '${names}'
${commands.flatMap(commandLines).join("\n")}
`;
}

function commandLine({ name, summary }: CommandWords): string {
  return `complete -c degu -n __fish_use_subcommand -a ${name} -d ${quoted(summary)}`;
}

/** What is completed after a command. */
function commandLines({ name, options, operands, choices }: CommandWords): string[] {
  const after = `complete -c degu -n '__fish_seen_subcommand_from ${name}'`;
  const lines = options.map((option) => optionLine(option, name));
  if (choices.length > 0) lines.push(`${after} -a '${choices.join(" ")}'`);
  if (operands.includes("peer")) lines.push(`${after} -a '(__degu_peers)'`);
  if (operands.includes("remote")) lines.push(`${after} -a '(__degu_peers :)'`);
  if (operands.includes("file")) lines.push(`${after} -F`);
  else if (operands.includes("directory")) {
    lines.push(`${after} -a '(__fish_complete_directories)'`);
  }
  return lines;
}

function optionLine({ long, short, summary, value }: OptionWords, command: string | null): string {
  const condition = command === null ? "" : ` -n '__fish_seen_subcommand_from ${command}'`;
  const letter = short === null ? "" : ` -s ${short.slice(1)}`;
  return `complete -c degu${condition} -l ${long.slice(2)}${letter}${valueFlags(value)} -d ${
    quoted(summary)
  }`;
}

function valueFlags(value: OptionWords["value"]): string {
  if (value === null) return "";
  return value === "directory" ? " -x -a '(__fish_complete_directories)'" : " -x";
}

function quoted(text: string): string {
  return `'${text.replaceAll(/['\\]/g, "\\$&")}'`;
}
