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

/** Converts what was thrown. */
export function toPlainError(thrown: unknown): PlainError {
  if (thrown instanceof Error) return takeApart(thrown, new Map());
  const message = typeof thrown === "string" ? thrown : Deno.inspect(thrown);
  return { name: "Error", message, stack: undefined, isDomException: false };
}

/** Restores an error, with its class if that is a built-in one. */
export function fromPlainError(plain: PlainError): Error {
  return putTogether(plain, new Map());
}

/** An error may be among its own causes. */
function takeApart(error: Error, seen: Map<Error, PlainError>): PlainError {
  const known = seen.get(error);
  if (known !== undefined) return known;
  const { name, message, stack } = error;
  const isDomException = error instanceof DOMException;
  const plain: PlainError = { name, message, stack, isDomException };
  seen.set(error, plain);
  if (error.cause !== undefined) plain.cause = toPlainValue(error.cause, seen);
  if (error instanceof AggregateError) {
    plain.errors = error.errors.map((each) => toPlainValue(each, seen));
  }
  return plain;
}

function toPlainValue(value: unknown, seen: Map<Error, PlainError>): PlainValue {
  if (value instanceof Error) return { error: takeApart(value, seen) };
  try {
    return { value: structuredClone(value) };
  } catch {
    return { value: Deno.inspect(value) };
  }
}

function putTogether(plain: PlainError, seen: Map<PlainError, Error>): Error {
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
  return "error" in plain ? putTogether(plain.error, seen) : plain.value;
}

/** Its constructor doesn't take just a message. */
const SUPPRESSED_ERROR = "SuppressedError";

function makeError({ name, message, errors, isDomException }: PlainError): Error {
  if (isDomException) return new DOMException(message, name);
  if (errors !== undefined) return new AggregateError([], message);
  const Class = (Deno.errors as Record<string, unknown>)[name] ??
    (globalThis as Record<string, unknown>)[name];
  const known = typeof Class === "function" && Class.prototype instanceof Error;
  return known && name !== SUPPRESSED_ERROR
    ? new (Class as ErrorConstructor)(message)
    : new Error(message);
}

/** As an error has it: not enumerable. */
function define(error: Error, name: string, value: unknown): void {
  Object.defineProperty(error, name, { value, writable: true, configurable: true });
}
