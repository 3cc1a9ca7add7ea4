/**
 * What a shell can complete.
 *
 * @module
 */

import type { Command, Option } from "npm:commander@^15.1.0";

/** What an option or an operand takes. */
export type Kind = "directory" | "file" | "peer" | "remote" | "text";

/** An option. */
export interface OptionWords {
  readonly long: string;
  readonly short: string | null;
  readonly summary: string;
  /** What its value is; `null` if it has none. */
  readonly value: Kind | null;
}

/** A command. */
export interface CommandWords {
  readonly name: string;
  readonly summary: string;
  readonly options: readonly OptionWords[];
  /** What its operands are, in any order. */
  readonly operands: readonly Kind[];
  /** The words that one of its operands has to be. */
  readonly choices: readonly string[];
}

/** All words of the program. */
export interface Words {
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
