/**
 * How long an invitation still waits, on a terminal.
 *
 * @module
 */

import type { Output } from "./output.ts";
import { columnsOfTerminal } from "./terminal_columns.ts";

const encoder = new TextEncoder();

/**
 * Shows the time that is left in the last line of the terminal, until disposed of; nothing without a terminal or
 * with `--quiet`.
 */
export async function startCountdown({ quiet }: Output, expires: Date): Promise<Disposable> {
  if (quiet || !Deno.stderr.isTerminal()) return { [Symbol.dispose]: () => {} };
  // Takes long to load, and is needed on a terminal only.
  const { fitText } = await import("./fit_text.ts");
  const end = performance.now() + expires.getTime() - Date.now();
  const show = () => {
    // A line that wraps could not be cleared.
    write(`\r\x1b[K${fitText(countdownText(end - performance.now()), columnsOfTerminal() - 1)}`);
  };
  show();
  const timer = setInterval(show, 1000);
  return {
    [Symbol.dispose]: () => {
      clearInterval(timer);
      write("\r\x1b[K");
    },
  };
}

/** The text for a remaining time in milliseconds. */
export function countdownText(milliseconds: number): string {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  const minutes = Math.floor(seconds / 60);
  return `waiting for the other device: ${minutes}:${String(seconds % 60).padStart(2, "0")} left`;
}

function write(text: string): void {
  try {
    Deno.stderr.writeSync(encoder.encode(text));
  } catch {
    // The terminal was closed; the invitation stays open.
  }
}
