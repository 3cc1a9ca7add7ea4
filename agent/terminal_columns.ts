/**
 * The width of the terminal.
 *
 * @module
 */

const DEFAULT_COLUMNS = 80;

/** How many columns the terminal has; 80 if there is none, or it does not say. */
export function columnsOfTerminal(): number {
  try {
    return Deno.consoleSize().columns || DEFAULT_COLUMNS;
  } catch {
    return DEFAULT_COLUMNS;
  }
}
