import { dirname } from "node:path";
import { isReservedName } from "@degu/degu/files/base";

/**
 * Errors of the file system, as Deno and Node's modules write them:
 * `Permission denied (os error 13): stat '/x'`, `EACCES: permission denied, open '/x'`.
 */
export const SYSTEM_ERROR_PATTERN =
  /(?:\b[A-Z]\w+: )?(?:\b([^:]*) \(os error \d+\)|\b(?:E[A-Z]+|UNKNOWN): ([^,]*))[:,] \w+ '(.*?)'(?: -> '(.*)')?$/s;

/** The codes of Linux that decide what a program does, for texts that have only a number. */
const CODES_OF_NUMBERS: Readonly<Record<string, string>> = {
  "23": "ENFILE",
  "24": "EMFILE",
  "122": "EDQUOT",
};

export function findSystemCode(text: string): string | undefined {
  const [, number] = /\(os error (\d+)\)/.exec(text) ?? [];
  return number === undefined ? undefined : nameErrorNumber(Number(number));
}

export function nameErrorNumber(number: number): string {
  return CODES_OF_NUMBERS[number] ?? `errno ${number}`;
}

/** Returns the path and the reason of the system: `"/x": permission denied`. */
export function describeSystemProblem(text: string, errorCode: unknown): string | null {
  const [, denoReason, nodeReason, firstPath, secondPath] = SYSTEM_ERROR_PATTERN.exec(text) ?? [];
  const path = secondPath ?? firstPath;
  const reason = denoReason ?? nodeReason;
  if (path === undefined || reason === undefined) return null;
  // Users don't know reserved names: show the directory that contains the reserved name.
  const names = path.split("/");
  const reservedIndex = names.findIndex(isReservedName);
  const shownPath = reservedIndex < 0
    ? path
    : names.slice(0, reservedIndex).join("/") || dirname(path);
  const shownReason = reason === "unknown error" ? `${reason} (${errorCode})` : reason;
  const firstLetter = shownReason.charAt(0).toLowerCase();
  return `${JSON.stringify(shownPath)}: ${firstLetter}${shownReason.slice(1).replace(/\.$/, "")}`;
}
