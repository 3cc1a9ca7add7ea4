/** A command of the program: its context, its options and their values, its examples. */

import { Command, InvalidArgumentError } from "commander";
import type { Address } from "@degu/degu/base";
import { parseAddressOption, parseServingAddress } from "./addresses.ts";
import { Failure } from "./failed_command.ts";
import type { Output } from "./output.ts";

/** The context in which every command runs. */
export interface Context {
  /** The absolute path of the directory of the device. */
  readonly home: string;
  readonly output: Output;
  /**
   * Aborted by the first SIGINT or SIGTERM. Commands then clean up and reject with its reason.
   */
  readonly signal: AbortSignal;
  readonly options: CommonOptions;
  /** The name of the last requested peer, which `--json` prints in errors without a peer. */
  peer?: string;
}

/** The options of every command, and the options of commands that connect to a peer. */
export interface CommonOptions {
  readonly home?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly address?: Address;
  /** False with `--no-find`. */
  readonly find?: boolean;
  /** Seconds to wait for a peer that is offline. */
  readonly wait?: number;
  /** True if each file of a directory is printed. */
  readonly verbose?: boolean;
  /** The name of this device, or of the other device. */
  readonly name?: string;
  readonly as?: string;
  /** The patterns of files that are skipped. */
  readonly exclude?: readonly string[];
}

/** Runs a command with its operands and options. Resolves to the exit code, if it is not 0. */
type Action<Args extends unknown[]> = (context: Context, ...args: Args) => Promise<number | void>;

export type Run = <Args extends unknown[]>(
  action: Action<Args>,
) => (...args: Args) => Promise<void>;

/** A command of the program. Its methods add options that several commands have. */
export class AgentCommand extends Command {
  /** Wraps the action of a command. */
  readonly run: Run;
  #examplesHeading = "\nExamples:\n";

  #globalOptions = "--home, --json, --quiet";

  constructor(name: string, run: Run) {
    super(name);
    this.run = run;
    this.addHelpText("after", () => {
      const { parent } = this;
      return parent === null ? "" : `\n${this.#globalOptions}: see degu --help`;
    });
  }

  override createCommand(name: string): AgentCommand {
    return new AgentCommand(name, this.run);
  }

  /** Leaves `--json` out of the help of a command that refuses it. */
  withoutJson(): this {
    this.#globalOptions = "--home, --quiet";
    return this;
  }

  /** @param loadAction Loads the module of the command; resolves to the function that runs it. */
  setHandler<Args extends unknown[]>(loadAction: () => Promise<Action<Args>>): this {
    return this.action(this.run<Args>(async (...args) => await (await loadAction())(...args)));
  }

  /** Adds an example: a line to type, and the effect of that line. */
  addExample(commandLine: string, effect: string): this {
    const heading = this.#examplesHeading;
    this.#examplesHeading = "";
    return this.addHelpText("after", `${heading}  ${commandLine}\n      ${effect}`);
  }

  /** Adds the options of commands that connect to a peer. */
  addPeerOptions(): this {
    return this
      .option(
        "--address <address>",
        "the address of the peer; stored if the peer responds",
        parseAddressOption,
      )
      .option(
        "--no-find",
        "don't search the local network (mDNS) for a peer that doesn't respond",
      )
      .option(
        "--wait <seconds>",
        "wait silently for a peer that is offline, up to this many seconds",
        parseSeconds,
      );
  }

  /** Adds the option of commands that copy directories. */
  addSettledOption(): this {
    return this.option(
      "--settled <seconds>",
      "in directories, skip files that were modified less than this many seconds ago, because they may be incomplete",
      parseSeconds,
    );
  }

  /** Adds the option to print each file of a directory. */
  addVerboseOption(): this {
    return this.option(
      "-v, --verbose",
      "print each copied file and each skipped link of a directory",
    );
  }

  /** Adds the option for the address of a device that is not a peer yet. */
  addAddressOption(): this {
    return this.option(
      "--address <address>",
      "the address that the other device prints: HOST:PORT",
      parseServingAddress,
    );
  }

  /** Adds the options of all commands that pair. */
  addPairingOptions(): this {
    return this
      .option(
        "--as <name>",
        "the name of the other device on this device (default: its own name)",
      )
      .option(
        "--serving <address>",
        'an address at which the other device can connect to this device later; can be repeated (default: the addresses of "degu serve")',
        makeAddressListParser(parseServingAddress),
      );
  }
}

/** Formats a command line for a message. Quotes words that a shell would change. */
export function formatShellCommand(...words: readonly string[]): string {
  return words.map((word) =>
    /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
  )
    .join(" ");
}

// ───────────────────────── the values of options

/**
 * The inbox of `--inbox` without a value. Shells don't expand the same path in `--inbox=~/Inbox`.
 */
export const DEFAULT_INBOX = "~/Inbox";

/** The name of the file with the patterns of skipped files. */
export const IGNORE_FILE = ".deguignore";

/** Makes a parser of an option that can be repeated. */
export function makeListParser<T>(
  parse: (text: string) => T,
): (text: string, previous?: T[]) => T[] {
  return (text, previous = []) => [...previous, parse(text)];
}

/** The most addresses of an invitation, and the most addresses that it sends. */
const MAX_INVITATION_ADDRESSES = 6;

/** Makes a parser of an option of an invitation that can be repeated. */
export function makeAddressListParser<T>(
  parse: (text: string) => T,
): (text: string, previous?: T[]) => T[] {
  return (text, previous = []) => {
    if (previous.length < MAX_INVITATION_ADDRESSES) return [...previous, parse(text)];
    throw new InvalidArgumentError(`must be at most ${MAX_INVITATION_ADDRESSES} addresses`);
  };
}

/** Parses the name of a device, or the beginning of its id, such as `yvvslmqp…`. */
export function parseNameOrId(text: string): string {
  if (/^[a-z0-9][a-z0-9_-]{0,62}…?$/i.test(text)) return text;
  throw new InvalidArgumentError(
    `must be the name of a device, or the first characters of its id; got ${JSON.stringify(text)}`,
  );
}

/**
 * Parses an option that can be given once. Commander would ignore the first of two values silently.
 */
export function parseOnce(text: string, previous?: string): string {
  if (previous === undefined) return text;
  throw new InvalidArgumentError(
    `it can be given only once, and ${JSON.stringify(previous)} is given already`,
  );
}

/** Parses a number of seconds, such as `1.5`. */
export function parseSeconds(text: string): number {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text);
  throw new InvalidArgumentError(
    `must be a number of seconds, 0 or more; got ${JSON.stringify(text)}`,
  );
}

const MAX_INVITATION_SECONDS = 86_400;

/** Parses the duration of an invitation. */
export function parseInvitationSeconds(text: string): number {
  const seconds = parseSeconds(text);
  if (seconds >= 1 && seconds <= MAX_INVITATION_SECONDS) return seconds;
  throw new InvalidArgumentError(`must be from 1 to ${MAX_INVITATION_SECONDS}; got ${text}`);
}

/** Refuses `--settled` without directories, where it has no effect. */
export function checkSettled(settled: number | undefined, recursive: boolean): void {
  if (settled === undefined || recursive) return;
  throw new Failure("--settled is for directories: add -r", "USAGE");
}
