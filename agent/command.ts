import { Command, InvalidArgumentError, Option } from "commander";
import {
  parseAddressOption,
  parseConnectAddress,
  parseInvitationAddress,
} from "./machine/addresses.ts";
import { Failure } from "./failure.ts";
import type { Context } from "./machine/context.ts";

/** Resolves to the exit code, if it is not 0. */
type Action<Args extends unknown[]> = (context: Context, ...args: Args) => Promise<number | void>;

export type Run = <Args extends unknown[]>(
  action: Action<Args>,
) => (...args: Args) => Promise<void>;

export class AgentCommand extends Command {
  #examplesHeading = "\nExamples:\n";

  constructor(name: string, readonly run: Run) {
    super(name);
    const text = "\nThe options of every command: see degu --help";
    this.addHelpText("after", () => this.parent === null ? "" : text);
  }

  override createCommand(name: string): AgentCommand {
    return new AgentCommand(name, this.run);
  }

  setHandler<Args extends unknown[]>(loadAction: () => Promise<Action<Args>>): this {
    return this.action(this.run<Args>(async (...args) => await (await loadAction())(...args)));
  }

  addExample(commandLine: string, effect: string): this {
    const heading = this.#examplesHeading;
    this.#examplesHeading = "";
    return this.addHelpText("after", `${heading}  ${commandLine}\n      ${effect}`);
  }

  /**
   * Returns -1 as an unknown option, and -r.pdf as it was typed. commander takes -1 for a number,
   * and so for an operand, and -r.pdf for the options -r and -.pdf.
   */
  override parseOptions(args: string[]): ReturnType<Command["parseOptions"]> {
    const { operands, unknown: parsedUnknown } = super.parseOptions(args);
    const findTyped = (end: string) => args.find((each) => /^-\w/.test(each) && each.endsWith(end));
    const unknown = parsedUnknown.map((word) =>
      args.includes(word) || !word.includes(".") ? word : findTyped(word.slice(1)) ?? word
    );
    const literalCount = args.includes("--") ? args.length - args.indexOf("--") - 1 : 0;
    const number = operands.slice(0, operands.length - literalCount).find((each) =>
      /^-[.\d]/.test(each)
    );
    return { operands, unknown: number === undefined ? unknown : [number, ...unknown] };
  }

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
        parseWait,
      );
  }

  addCopyOptions(): this {
    return this
      .addVerboseOption()
      .option(
        "--settled <seconds>",
        "in directories, skip files that were modified less than this many seconds ago, because they may be incomplete",
        parseSettled,
      )
      .addPeerOptions()
      .addIgnoredOptions("-a, --archive", "-t, --times", "-p, --perms", "-z, --compress")
      .addIgnoredOptions("--progress", "--stats");
  }

  /** Adds options of rsync and scp for what every copy does: they have no effect. */
  addIgnoredOptions(...flags: readonly string[]): this {
    for (const each of flags) this.addOption(new Option(each).hideHelp());
    return this;
  }

  addVerboseOption(): this {
    return this.option(
      "-v, --verbose",
      "print each copied file and each skipped link of a directory",
    );
  }

  addAddressOption(): this {
    return this.option(
      "--address <address>",
      "the address that the other device prints: HOST:PORT",
      parseConnectAddress,
    );
  }

  addInvitingOptions(): this {
    return this
      .option(
        "--listen <address>",
        "an address to listen on; can be repeated (default: every address, with free ports)",
        makeListParser(parseInvitationAddress, MAX_INVITATION_ADDRESSES),
      )
      .addPairingOptions();
  }

  addPairingOptions(): this {
    return this
      .option(
        "--as <name>",
        "the name of the other device on this device (default: its own name)",
      )
      .option(
        "--serving <address>",
        'an address at which the other device can connect to this device later; can be repeated (default: the addresses of "degu serve")',
        makeListParser(parseConnectAddress, MAX_INVITATION_ADDRESSES),
      );
  }
}

// ───────────────────────── the values of options

const MAX_INVITATION_ADDRESSES = 6;

export function makeListParser<T>(
  parse: (text: string) => T,
  maxAddresses = Infinity,
): (text: string, previous?: T[]) => T[] {
  return (text, previous = []) => {
    if (previous.length < maxAddresses) return [...previous, parse(text)];
    throw new InvalidArgumentError(`must be at most ${maxAddresses} addresses`);
  };
}

const SECONDS_PER_UNIT = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 } as const;

type Unit = keyof typeof SECONDS_PER_UNIT;

/** Returns the seconds of a duration such as `5m`, or `null`. */
function findSeconds(text: string, defaultUnit: Unit): number | null {
  const [, number, unit = defaultUnit] = /^(\d+(?:\.\d+)?)([smhdw])?$/.exec(text) ?? [];
  return number === undefined ? null : Number(number) * SECONDS_PER_UNIT[unit as Unit];
}

/** @param validValues The numbers, and an example of a time, that `isValid` accepts. */
export function makeSecondsParser(
  validValues: string,
  isValid: (seconds: number) => boolean,
): (text: string) => number {
  return (text) => {
    const seconds = findSeconds(text, "s");
    if (seconds !== null && isValid(seconds)) return seconds;
    throw new InvalidArgumentError(
      `must be a number of seconds, ${validValues}; got ${JSON.stringify(text)}`,
    );
  };
}

const parseWait = makeSecondsParser("0 or more, or a time such as 5m, 2h or 1d", () => true);

/** The library refuses a longer time. */
const parseSettled = makeSecondsParser(
  "0 to 900, or a time up to 15m, such as 5m",
  (seconds) => seconds <= 900,
);

/** The library refuses more days. */
const MAX_KEEP_DAYS = 36_500;

export function parseKeep(text: string): number {
  const days = (findSeconds(text, "d") ?? 0) / SECONDS_PER_UNIT.d;
  if (Number.isInteger(days) && days >= 1 && days <= MAX_KEEP_DAYS) return days;
  throw new InvalidArgumentError(
    `must be a whole number of days, 1 to ${MAX_KEEP_DAYS}; got ${JSON.stringify(text)}`,
  );
}

export interface FileCopyOptions {
  readonly recursive?: boolean;
  readonly force?: boolean;
  readonly inbox?: boolean;
  readonly settled?: number;
}

export function checkSettled(settled: number | undefined, recursive: boolean): void {
  if (settled === undefined || recursive) return;
  throw new Failure("--settled is for directories: add -r", "USAGE");
}
