/**
 * Errors as plain data, which a worker can post with all their details.
 *
 * @module
 */

/** An error as it is posted. What was thrown and isn't an error has no `stack`. */
export interface PlainError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  /** Whether it is a `DOMException`, whose name is not that of its class. */
  readonly isDomException: boolean;
  /** What it was caused by, if anything. */
  cause?: PlainValue;
  /** The errors of an `AggregateError`. */
  errors?: PlainValue[];
}

/** A cause or a nested error: an error, or another value that can be cloned. */
export type PlainValue =
  | { readonly error: PlainError }
  | { readonly value: unknown };

/** Converts what was thrown; it never throws, and the result can be cloned. */
export function toPlainError(thrown: unknown): PlainError {
  try {
    if (thrown instanceof Error) return plainErrorOf(thrown, new Map());
    return makePlain(typeof thrown === "string" ? thrown : Deno.inspect(thrown));
  } catch {
    // For example, a getter throws, or there are too many causes for the stack.
    return makePlain("what was thrown can't be read");
  }
}

function makePlain(message: string): PlainError {
  return { name: "Error", message, stack: undefined, isDomException: false };
}

/** Restores an error, with its class if that is a built-in one. */
export function fromPlainError(plain: PlainError): Error {
  return errorOf(plain, new Map());
}

/** An error may be among its own causes. */
function plainErrorOf(error: Error, seen: Map<Error, PlainError>): PlainError {
  const known = seen.get(error);
  if (known !== undefined) return known;
  const { stack } = error;
  const plain: PlainError = {
    // JavaScript lets them be of any type.
    name: String(error.name),
    message: String(error.message),
    stack: typeof stack === "string" ? stack : undefined,
    isDomException: error instanceof DOMException,
  };
  seen.set(error, plain);
  if (error.cause !== undefined) plain.cause = toPlainValue(error.cause, seen);
  if (error instanceof AggregateError && Array.isArray(error.errors)) {
    plain.errors = error.errors.map((each) => toPlainValue(each, seen));
  }
  return plain;
}

function toPlainValue(value: unknown, seen: Map<Error, PlainError>): PlainValue {
  if (value instanceof Error) return { error: plainErrorOf(value, seen) };
  try {
    return { value: structuredClone(value) };
  } catch {
    return { value: Deno.inspect(value) };
  }
}

function errorOf(plain: PlainError, seen: Map<PlainError, Error>): Error {
  const known = seen.get(plain);
  if (known !== undefined) return known;
  const { name, stack, cause, errors } = plain;
  const error = makeError(plain);
  seen.set(plain, error);
  if (error.name !== name) define(error, "name", name);
  if (stack !== undefined) define(error, "stack", stack);
  if (cause !== undefined) define(error, "cause", fromPlainValue(cause, seen));
  if (errors !== undefined) {
    define(error, "errors", errors.map((each) => fromPlainValue(each, seen)));
  }
  return error;
}

function fromPlainValue(plain: PlainValue, seen: Map<PlainError, Error>): unknown {
  return "error" in plain ? errorOf(plain.error, seen) : plain.value;
}

/** Their constructors don't take just a message. */
const TAKE_MORE: ReadonlySet<string> = new Set(["AggregateError", "SuppressedError"]);

function makeError({ name, message, errors, isDomException }: PlainError): Error {
  if (isDomException) return new DOMException(message, name);
  if (errors !== undefined) return new AggregateError([], message);
  const Class = (Deno.errors as Record<string, unknown>)[name] ??
    (globalThis as Record<string, unknown>)[name];
  const known = typeof Class === "function" && Class.prototype instanceof Error;
  if (!known || TAKE_MORE.has(name)) return new Error(message);
  try {
    return new (Class as ErrorConstructor)(message);
  } catch {
    // A program may have replaced the global class.
    return new Error(message);
  }
}

/** Not enumerable, as in a real error. */
function define(error: Error, name: string, value: unknown): void {
  Object.defineProperty(error, name, { value, writable: true, configurable: true });
}
