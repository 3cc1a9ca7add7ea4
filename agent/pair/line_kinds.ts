import { STDIO } from "../machine/context.ts";

/** The start of the line for each command: a command refuses the line for the other. */
export const LINE_PREFIXES = { "degu join": "degu:", "degu receive": "degu-send:" } as const;

export type LineCommand = keyof typeof LINE_PREFIXES;

/** Tells the line of an invitation, or `-`, from another operand. */
export function isLine(word: string): boolean {
  const text = word.trimStart();
  return word === STDIO || Object.values(LINE_PREFIXES).some((prefix) => text.startsWith(prefix));
}

/** Returns the line as a `Device` takes it, whichever command it is for. */
export function toDeviceLine(line: string): string {
  return line.replace(LINE_PREFIXES["degu receive"], LINE_PREFIXES["degu join"]);
}
