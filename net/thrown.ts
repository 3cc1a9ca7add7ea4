/**
 * What was thrown, as text.
 *
 * @module
 */

/** Says what was thrown, which can be anything, even what can't be turned into text. */
export function describe(error: unknown): { message: string; stack: string } {
  try {
    if (!(error instanceof Error)) return { message: `${error}`, stack: Deno.inspect(error) };
    const message = `${error.name}: ${error.message}`;
    return { message, stack: `${error.stack ?? message}` };
  } catch {
    return { message: "a value that can't be shown", stack: "a value that can't be shown" };
  }
}
