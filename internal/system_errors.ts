import { isInstance, propertyOf } from "./error_details.ts";

/**
 * Some errors of Deno, such as for a damaged inode, have only a number in the message: the result
 * is then `"errno 117"`.
 */
export function fileErrorCodeOf(error: unknown): unknown {
  const code = propertyOf(error, "code");
  const message = propertyOf(error, "message");
  if (code !== undefined || typeof message !== "string") return code;
  const [, number] = /\(os error (\d+)\)/.exec(message) ?? [];
  if (number === undefined) return undefined;
  // 32 is ERROR_SHARING_VIOLATION, and 33 is ERROR_LOCK_VIOLATION.
  if (Deno.build.os === "windows" && (number === "32" || number === "33")) return "EBUSY";
  return CODES_OF_NUMBERS[number] ?? `errno ${number}`;
}

const CODES_OF_NUMBERS: Readonly<Record<string, string>> = { "23": "ENFILE", "24": "EMFILE" };

const MAX_CAUSE_DEPTH = 8;

export function isTooManyOpenFilesError(
  error: unknown,
  maxDepth: number = MAX_CAUSE_DEPTH,
): boolean {
  if (typeof error !== "object" || error === null) return false;
  const code = fileErrorCodeOf(error);
  if (code === "EMFILE" || code === "ENFILE") return true;
  if (maxDepth === 0) return false;
  try {
    const errors = propertyOf(error, "errors");
    const causes: unknown[] = [propertyOf(error, "cause"), ...Array.isArray(errors) ? errors : []];
    return causes.some((cause) => isTooManyOpenFilesError(cause, maxDepth - 1));
  } catch {
    // A thrown value can be a proxy that throws.
    return false;
  }
}

const SYSTEM_CODE = /^(?:E[A-Z0-9]+|errno \d+|UNKNOWN)$/;

export function isSystemError(error: unknown): error is Error {
  return isInstance(error, Error) && SYSTEM_CODE.test(`${fileErrorCodeOf(error)}`);
}

/** Removes the stack of an error of the system: the reason is a disk or a limit, and not a bug. */
export function removeSystemStack(error: unknown): unknown {
  if (isSystemError(error)) {
    error.stack = `${error.name}: ${error.message}`;
  }
  return error;
}
