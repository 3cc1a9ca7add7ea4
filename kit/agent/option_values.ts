/** The values of options, and what is wrong with them. */

import { InvalidArgumentError } from "commander";
import { PairingError } from "../../device.ts";
import { Failure, USAGE } from "./failure.ts";

/** Reads an option that may be given several times. */
export function repeated<T>(parse: (text: string) => T): (text: string, before?: T[]) => T[] {
  return (text, before = []) => [...before, parse(text)];
}

/**
 * Reads an option that may be given once: otherwise the first of two directories would be ignored
 * silently.
 */
export function parseOnce(text: string, before?: string): string {
  if (before === undefined) return text;
  throw new InvalidArgumentError(
    `it can be given only once, and ${JSON.stringify(before)} is given already`,
  );
}

/** Reads a number of seconds, such as `1.5`. */
export function parseSeconds(text: string): number {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text);
  throw new InvalidArgumentError(
    `must be a number of seconds, 0 or more; got ${JSON.stringify(text)}`,
  );
}

/** Refuses an option that does nothing without directories: nobody would see that. */
export function checkSettled(settled: number | undefined, recursive: boolean): void {
  if (settled === undefined || recursive) return;
  throw new Failure("--settled is for directories: add -r", USAGE);
}

/**
 * The library's error about an argument, with the argument's name on the command line; any other
 * error as it is.
 */
export function usageError(error: unknown): unknown {
  const isName = error instanceof PairingError && error.code === "NAME_TAKEN";
  if (!(error instanceof RangeError || isName)) return error;
  const { message } = error;
  const [, argument = "", rest = message] = /^(\w+): (.*)$/s.exec(message) ?? [];
  const isOption = ["listen", "name", "seconds", "serving"].includes(argument);
  const text = argument === "peerName" ? `--as: ${rest}` : isOption ? `--${message}` : message;
  return new Failure(text, USAGE, { cause: error });
}
