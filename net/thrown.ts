/**
 * Formats thrown values as text.
 *
 * @module
 */

const UNSHOWABLE = "a value that can't be shown";

/** The name and message of a thrown value, which can be anything, even what can't be converted to text. */
export function messageOf(error: unknown): string {
  try {
    return error instanceof Error ? `${error.name}: ${error.message}` : `${error}`;
  } catch {
    return UNSHOWABLE;
  }
}

/** The same with its stack, which takes longer to make than most requests. */
export function stackOf(error: unknown): string {
  try {
    if (!(error instanceof Error)) return Deno.inspect(error);
    return `${error.stack ?? messageOf(error)}`;
  } catch {
    return UNSHOWABLE;
  }
}

/** The message alone, without the name of the error's class: for people, where the class says nothing more. */
export function plainMessageOf(error: unknown): string {
  try {
    return error instanceof Error ? `${error.message}` : `${error}`;
  } catch {
    return UNSHOWABLE;
  }
}
