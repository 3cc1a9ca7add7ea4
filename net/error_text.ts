/** Thrown values as text, and errors of the system: rewording, and codes. */

import { propertyOf } from "../internal/error_details.ts";

const UNPRINTABLE = "a value that can't be shown";

/**
 * Formats a thrown value, which can be anything, even an object that can't be converted to text.
 */
function formatSafely(show: () => string): string {
  try {
    return show();
  } catch {
    return UNPRINTABLE;
  }
}

/** The name and message of a thrown value. */
export function messageOf(error: unknown): string {
  return formatSafely(() =>
    error instanceof Error ? `${error.name}: ${error.message}` : `${error}`
  );
}

/**
 * The name, message and stack of a thrown value. A stack takes longer to make than most requests.
 */
export function stackOf(error: unknown): string {
  return formatSafely(() =>
    error instanceof Error ? `${error.stack ?? messageOf(error)}` : Deno.inspect(error)
  );
}

/** The message alone, for people: the name of the error's class would tell them nothing more. */
export function plainMessageOf(error: unknown): string {
  return formatSafely(() => error instanceof Error ? `${error.message}` : `${error}`);
}

/**
 * An error of the system with another message: of the same class, with the same `code`, and the
 * error as its `cause`. Any other value is returned unchanged: the error of a missing permission,
 * for one, says what to do.
 */
export function withNewMessage(error: unknown, reword: (error: Error) => string): unknown {
  if (!(error instanceof Error)) return error;
  // A name that can't be resolved is an error without a class and without a code.
  if (!("code" in error) && error.constructor !== Error) return error;
  return copyWithMessage(error, reword(error), error);
}

/**
 * An error with another message and the same `code`. The class, too, is the same if it is Deno's
 * own.
 */
export function copyWithMessage(error: Error, message: string, cause: Error): Error {
  const Class = Object.values(Deno.errors).find((errorClass) => error.constructor === errorClass) ??
    Error;
  const code = "code" in error ? { code: error.code } : undefined;
  return Object.assign(new Class(message, { cause }), code);
}

/** The code of the operating system in an error, such as `"EHOSTUNREACH"`, if there is one. */
export function systemCode(error: unknown): unknown {
  return propertyOf(error, "code");
}
