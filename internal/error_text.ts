import { propertyOf } from "./error_details.ts";
import { isTooManyOpenFilesError } from "./system_errors.ts";

function formatSafely(format: () => string): string {
  try {
    return format();
  } catch {
    return "a value that can't be shown";
  }
}

export function messageOf(error: unknown): string {
  return formatSafely(() =>
    error instanceof Error ? `${error.name}: ${error.message}` : `${error}`
  );
}

/** Slow: a stack costs more than a request. */
export function stackOf(error: unknown): string {
  // Omit the stack of this error, because formatting a stack may need a file descriptor.
  if (isTooManyOpenFilesError(error)) return messageOf(error);
  return formatSafely(() =>
    error instanceof Error ? `${error.stack ?? messageOf(error)}` : Deno.inspect(error)
  );
}

export function plainMessageOf(error: unknown): string {
  return formatSafely(() => error instanceof Error ? `${error.message}` : `${error}`);
}

/**
 * Copies a system error with another message: the same class and `code`, and the original as its
 * `cause`. Returns any other value unchanged, such as the error of a missing permission, which has
 * advice of its own.
 */
export function withNewMessage(error: unknown, reword: (error: Error) => string): unknown {
  if (!(error instanceof Error)) return error;
  // The error for a name that can't be resolved has neither a class of Deno nor a code.
  if (!("code" in error) && error.constructor !== Error) return error;
  return copyWithMessage(error, reword(error), error);
}

export function withAdvice(error: unknown, problem: string, advice: string): unknown {
  const suffix = advice === "" ? "" : `; ${advice}`;
  return withNewMessage(error, ({ message }) => `${problem}: ${message}${suffix}`);
}

export function copyWithMessage(error: Error, message: string, cause: Error): Error {
  const ErrorClass =
    Object.values(Deno.errors).find((errorClass) => error.constructor === errorClass) ??
      Error;
  const code = "code" in error ? { code: error.code } : undefined;
  return Object.assign(new ErrorClass(message, { cause }), code);
}

export function errorCodeOf(error: unknown): unknown {
  return propertyOf(error, "code");
}
