/**
 * QR codes on a terminal.
 *
 * @module
 */

import { encode } from "npm:uqr@^0.1.3";
import type { Output } from "./output.ts";

/** Width of the quiet zone in modules (ISO/IEC 18004). */
const QUIET_ZONE = 4;

/** Two modules, one above the other, in one character. A terminal shows a filled one light, so these are inverted. */
const HALVES: readonly (readonly [lowerLight: string, lowerDark: string])[] = [
  ["█", "▀"],
  ["▄", " "],
];

/** Draws a text as a QR code if the terminal is large enough; otherwise says how large it must be. */
export function drawQr(output: Output, text: string): void {
  if (output.json) return;
  const lines = qrLines(text);
  const columns = lines[0]!.length;
  if (!Deno.stdout.isTerminal()) {
    return output.warn("--qr: the output is not a terminal, so no QR code is drawn");
  }
  const size = Deno.consoleSize();
  if (size.columns >= columns && size.rows > lines.length) return output.result(lines, {});
  output.warn(
    `--qr: needs a terminal of ${columns} columns and ${lines.length + 1} rows, and this one has ` +
      `${size.columns} and ${size.rows}: make it larger, or its text smaller, and invite again`,
  );
}

/** The lines of a QR code: a character is one module wide and two high. */
export function qrLines(text: string): string[] {
  const { data, size } = encode(text, { ecc: "L", border: QUIET_ZONE });
  const isDark = (row: number, column: number) => data[row]?.[column] === true ? 1 : 0;
  return Array.from(
    { length: Math.ceil(size / 2) },
    (_, line) =>
      Array.from(
        { length: size },
        (_, column) => HALVES[isDark(2 * line, column)]![isDark(2 * line + 1, column)],
      ).join(""),
  );
}
