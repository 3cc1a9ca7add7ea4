import { printable } from "@degu/degu/base";
import { isSystemError } from "@degu/degu/internal";

/**
 * Makes an error safe for a log: the message and the stack of a file system error contain its path.
 */
export function makeErrorPrintable(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const message = printable(error.message);
  if (message === error.message) return error;
  const printableCopy = new Error(message);
  const { name, code, errno } = error as { name: string; code?: unknown; errno?: unknown };
  return Object.assign(printableCopy, {
    name,
    ...(code === undefined ? {} : { code }),
    ...(errno === undefined ? {} : { errno }),
  });
}

/** Removes the stack of an error of the system: the reason is a disk or a limit, and not a bug. */
export function removeSystemStack(error: unknown): unknown {
  if (isSystemError(error)) {
    error.stack = `${error.name}: ${error.message}`;
  }
  return error;
}
