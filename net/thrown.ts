/**
 * Formats thrown values as text.
 *
 * @module
 */

/** Describes a thrown value, which can be anything, even something that can't be converted to text. */
export function describe(error: unknown): { message: string; stack: string } {
  try {
    if (!(error instanceof Error)) return { message: `${error}`, stack: Deno.inspect(error) };
    const message = `${error.name}: ${error.message}`;
    return { message, stack: `${error.stack ?? message}` };
  } catch {
    return { message: "a value that can't be shown", stack: "a value that can't be shown" };
  }
}
