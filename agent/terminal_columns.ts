/**
 * The width of the terminal.
 *
 * @module
 */

const DEFAULT_COLUMNS = 80;

/** How many columns the terminal has; 80 if there is no terminal or its width is unknown. */
export function columnsOfTerminal(): number {
  try {
    return Deno.consoleSize().columns || DEFAULT_COLUMNS;
  } catch {
    return DEFAULT_COLUMNS;
  }
}
