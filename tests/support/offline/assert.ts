/**
 * Stands in for `@std/assert` if JSR is unreachable: the same names and signatures, as far as this
 * suite uses them, over `node:assert`.
 */
import nodeAssert from "node:assert/strict";
import { inspect } from "node:util";
import { equal } from "./equal.ts";

// `any`, as in the package, so that both accept the same classes.
// deno-lint-ignore no-explicit-any
type ErrorClass<E extends Error> = abstract new (...args: any[]) => E;

export class AssertionError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AssertionError";
  }
}

export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError(msg);
}

export function fail(msg?: string): never {
  throw new AssertionError(`Failed assertion${suffix(msg)}`);
}

/** Throws, with a diff, unless the values have equal contents. */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  if (equal(actual, expected)) return;
  const { message } = new nodeAssert.AssertionError({
    actual,
    expected,
    operator: "deepStrictEqual",
  });
  throw new AssertionError(`Values are not equal${suffix(msg)}\n${message}`);
}

export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  if (!equal(actual, expected)) return;
  throw new AssertionError(`Expected actual: ${show(actual)} not to be equal${suffix(msg)}`);
}

/** Throws unless both are the same value by `Object.is`. */
export function assertStrictEquals<T>(
  actual: unknown,
  expected: T,
  msg?: string,
): asserts actual is T {
  if (Object.is(actual, expected)) return;
  throw new AssertionError(
    `Values are not strictly equal${suffix(msg)}\n  ${show(actual)} !== ${show(expected)}`,
  );
}

// deno-lint-ignore no-explicit-any
export function assertInstanceOf<T extends abstract new (...args: any[]) => any>(
  actual: unknown,
  expectedType: T,
  msg = "",
): asserts actual is InstanceType<T> {
  if (actual instanceof expectedType) return;
  throw new AssertionError(
    `Expected object to be an instance of "${expectedType.name}" but was ${show(actual)}` +
      suffix(msg),
  );
}

export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  if (expected.test(actual)) return;
  throw new AssertionError(`Expected actual: "${actual}" to match: "${expected}"${suffix(msg)}`);
}

export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  if (actual.includes(expected)) return;
  throw new AssertionError(`Expected actual: "${actual}" to contain: "${expected}"${suffix(msg)}`);
}

export function assertThrows(fn: () => unknown, msg?: string): unknown;
/**
 * Throws unless `fn` throws an `ErrorClass` whose message includes `msgIncludes`; returns the
 * error.
 */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  ErrorClass: ErrorClass<E>,
  msgIncludes?: string,
  msg?: string,
): E;
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  classOrMsg?: ErrorClass<E> | string,
  msgIncludes?: string,
  msg?: string,
): unknown {
  const text = suffix(typeof classOrMsg === "string" ? classOrMsg : msg);
  try {
    fn();
  } catch (error) {
    return checkThrown(error, classOrMsg, msgIncludes, text);
  }
  throw new AssertionError(`Expected function to throw${text}`);
}

export function assertRejects(fn: () => PromiseLike<unknown>, msg?: string): Promise<unknown>;
/**
 * Rejects unless the promise of `fn` rejects with an `ErrorClass` whose message includes
 * `msgIncludes`.
 */
export function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  ErrorClass: ErrorClass<E>,
  msgIncludes?: string,
  msg?: string,
): Promise<E>;
export async function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  classOrMsg?: ErrorClass<E> | string,
  msgIncludes?: string,
  msg?: string,
): Promise<unknown> {
  const text = suffix(typeof classOrMsg === "string" ? classOrMsg : msg);
  let promise: PromiseLike<unknown>;
  try {
    promise = fn();
  } catch (cause) {
    throw new AssertionError(`Function throws when expected to reject${text}`, { cause });
  }
  if (typeof promise?.then !== "function") {
    throw new AssertionError(`Expected function to return a promise${text}`);
  }
  try {
    await promise;
  } catch (error) {
    return checkThrown(error, classOrMsg, msgIncludes, text);
  }
  throw new AssertionError(`Expected function to reject${text}`);
}

/** Throws unless an error is of the class, if given, and its message includes a text. */
function checkThrown<E extends Error>(
  error: unknown,
  ErrorClass: ErrorClass<E> | string | undefined,
  msgIncludes: string | undefined,
  text: string,
): unknown {
  if (typeof ErrorClass !== "function") return error;
  if (!(error instanceof ErrorClass)) {
    throw new AssertionError(
      `Expected error to be an instance of "${ErrorClass.name}", but was ${show(error)}${text}`,
      { cause: error },
    );
  }
  if (msgIncludes !== undefined && !error.message.includes(msgIncludes)) {
    throw new AssertionError(
      `Expected error message to include ${show(msgIncludes)}, but got ${
        show(error.message)
      }${text}`,
      { cause: error },
    );
  }
  return error;
}

function suffix(msg: string | undefined): string {
  return msg ? `: ${msg}` : "";
}

function show(value: unknown): string {
  return inspect(value, { depth: 6 });
}
