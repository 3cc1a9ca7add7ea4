/** Reads a property of a thrown value, which can be any value. */
export function propertyOf(value: unknown, key: PropertyKey): unknown {
  return (value as { readonly [key: PropertyKey]: unknown } | null | undefined)?.[key];
}

const MAX_CAUSE_DEPTH = 8;

/**
 * Reports whether a condition is true for an error, for one of its causes, or for one of the errors
 * of an `AggregateError` among these.
 */
export function hasCause(
  error: unknown,
  condition: (cause: unknown) => boolean,
  maxDepth: number = MAX_CAUSE_DEPTH,
): boolean {
  if (condition(error)) return true;
  if (maxDepth === 0 || typeof error !== "object" || error === null) return false;
  const errors = propertyOf(error, "errors");
  const causes: unknown[] = [propertyOf(error, "cause"), ...Array.isArray(errors) ? errors : []];
  return causes.some((cause) => hasCause(cause, condition, maxDepth - 1));
}

/**
 * Returns the error that code of an app has thrown, or another error in place of a value that
 * can't be read, such as a revoked proxy. Call this function where such values enter.
 */
export function toReadableError(thrownValue: unknown): unknown {
  try {
    hasCause(thrownValue, (cause) => {
      void (cause instanceof Error);
      fileErrorCodeOf(cause);
      return false;
    });
    return thrownValue;
  } catch {
    return new Error("the thrown value can't be read");
  }
}

// ───────────────────────── texts

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
  return formatSafely(() => {
    // Omit the stack of this error, because formatting a stack may need a file descriptor.
    if (isTooManyOpenFilesError(error)) return messageOf(error);
    return error instanceof Error ? `${error.stack ?? messageOf(error)}` : Deno.inspect(error);
  });
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
  return copyWithMessage(error, reword(error));
}

/**
 * Makes the error of an open file or directory: the system doesn't report its path. The new error
 * has the `code` of the system's error, and its class if that is one of `Deno.errors`. The path and
 * the operation are fields, and in the message, as the errors of Deno and Node have them. The
 * system's error is the `cause`. Returns any other value unchanged.
 */
export function withPath(error: unknown, operation: string, path: string): unknown {
  // Deno's error of a path has no field for the path: its message ends with the quoted path.
  if (!isSystemError(error) || "path" in error || error.message.endsWith(` '${path}'`)) {
    return error;
  }
  const hasOperation = propertyOf(error, "syscall") === operation;
  const message = `${error.message}${hasOperation ? "" : `: ${operation}`} '${path}'`;
  return Object.assign(copyWithMessage(error, message), { operation, path });
}

export function copyWithMessage(error: Error, message: string, cause: Error = error): Error {
  const ErrorClass =
    Object.values(Deno.errors).find((errorClass) => error.constructor === errorClass) ??
      Error;
  const code = "code" in error ? { code: error.code } : undefined;
  return Object.assign(new ErrorClass(message, { cause }), code);
}

export function errorCodeOf(error: unknown): unknown {
  return propertyOf(error, "code");
}

// ───────────────────────── errors of the system

/**
 * Deno has no name for some errors of Linux, such as for a damaged inode or a full quota. Its own
 * errors then have only a number in the message, and those of `node:fs` the code `"UNKNOWN"`. If
 * the number isn't known, the result is `"errno 132"`.
 */
export function fileErrorCodeOf(error: unknown): unknown {
  const code = propertyOf(error, "code");
  if (code !== undefined && code !== "UNKNOWN") return code;
  const number = errorNumberOf(error);
  if (number === undefined) return code;
  // 32 is ERROR_SHARING_VIOLATION, and 33 is ERROR_LOCK_VIOLATION.
  if (Deno.build.os === "windows" && (number === "32" || number === "33")) return "EBUSY";
  return CODES_OF_NUMBERS[number] ?? `errno ${number}`;
}

function errorNumberOf(error: unknown): string | undefined {
  const errno = propertyOf(error, "errno");
  if (typeof errno === "number") return `${Math.abs(errno)}`;
  const message = propertyOf(error, "message");
  return typeof message === "string" ? /\(os error (\d+)\)/.exec(message)?.[1] : undefined;
}

const CODES_OF_NUMBERS: Readonly<Record<string, string>> = {
  "19": "ENODEV",
  "23": "ENFILE",
  "24": "EMFILE",
  "31": "EMLINK",
  "74": "EBADMSG",
  "116": "ESTALE",
  "117": "EUCLEAN",
  "122": "EDQUOT",
};

export function isTooManyOpenFilesError(error: unknown): boolean {
  return hasCause(error, (cause) => {
    const code = fileErrorCodeOf(cause);
    return code === "EMFILE" || code === "ENFILE";
  });
}

const SYSTEM_CODE = /^(?:E[A-Z0-9]+|errno \d+|UNKNOWN)$/;

export function isSystemError(error: unknown): error is Error {
  const code = fileErrorCodeOf(error);
  return error instanceof Error && typeof code === "string" && SYSTEM_CODE.test(code);
}

export async function ignoreNotFound<T>(result: Promise<T>): Promise<T | null> {
  try {
    return await result;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}
