/**
 * Assertions that many tests share: about the error of a parser and the error of a caller's
 * mistake, and dictionaries in a shape that compares by value.
 */

import { assert, assertEquals, assertInstanceOf, fail } from "@std/assert";
import { BodyError, ContentRange, ProtocolError, Range } from "@degu/degu/base";
import type { FlatHeaders } from "./wire_grammar.ts";

/** Returns the error that a call throws; fails the test if the call doesn't throw. */
export function catchThrown(call: () => unknown, label: string): unknown {
  let result: unknown;
  try {
    result = call();
  } catch (error) {
    return error;
  }
  return fail(`${label} was accepted: ${Deno.inspect(result).slice(0, 200)}`);
}

/** Fails a test with an unexpected error. Only this function formats errors, which is slow. */
function wrong(label: string, error: unknown): never {
  return fail(`${label} failed with ${Deno.inspect(error)}`);
}

/** Asserts that an error is a `ProtocolError` whose code is one of `codes`. */
function assertCode(error: unknown, codes: readonly string[], label: string) {
  if (!(error instanceof ProtocolError)) wrong(label, error);
  assert(codes.includes(error.code), `${label}: ${error.code} is none of ${codes.join(", ")}`);
}

/**
 * The value that a parser returns, or null if it throws a `ProtocolError`; any other error fails
 * the test. `what` names the input in that failure; it may be the input itself.
 */
export function parseOrNull<T>(parse: () => T, label: string): T | null {
  try {
    return parse();
  } catch (error) {
    return error instanceof ProtocolError ? null : wrong(label, error);
  }
}

/** Asserts that a parser refuses its input with a `ProtocolError` whose code is one of `codes`. */
export function assertProtocolError(parse: () => unknown, codes: readonly string[], label: string) {
  assertCode(catchThrown(parse, label), codes, label);
}

/** Asserts that a promise rejects with a `ProtocolError` whose code is one of `codes`. */
export async function assertProtocolRejection(
  promise: Promise<unknown>,
  codes: readonly string[],
  what: string,
) {
  assertCode(await catchRejection(promise, what), codes, what);
}

/** The reason with which a promise rejects; fails the test if the promise resolves. */
export async function catchRejection(promise: Promise<unknown>, label: string): Promise<unknown> {
  let result: unknown;
  try {
    result = await promise;
  } catch (error) {
    return error;
  }
  return fail(`${label} resolved to ${Deno.inspect(result).slice(0, 200)}`);
}

export async function assertBodyError(promise: Promise<unknown>, label: string) {
  const error = await catchRejection(promise, label);
  if (!(error instanceof BodyError)) wrong(label, error);
}

/**
 * Asserts that a body failed because its source ended too early: the caller's source broke its
 * promise (`BodyError`), or the bytes ended inside a message (`BODY_INCOMPLETE`).
 */
export async function assertCutShort(promise: Promise<unknown>, label: string) {
  const error = await catchRejection(promise, label);
  if (!(error instanceof BodyError)) assertCode(error, ["BODY_INCOMPLETE"], label);
}

/** Makes an assertion that a call throws an error of one of these classes. */
function asserting(...classes: readonly ErrorConstructor[]) {
  return (call: () => unknown, label: string): void => {
    const error = catchThrown(call, label);
    if (!classes.some((each) => error instanceof each)) wrong(label, error);
  };
}

/** Asserts that a call throws a `TypeError`: an argument has the wrong type. */
export const assertTypeError = asserting(TypeError);
/**
 * Asserts that a call throws a `RangeError`: an argument of the right type has a value that is not
 * allowed.
 */
export const assertRangeError = asserting(RangeError);
/**
 * Asserts that a call throws a `TypeError` or a `RangeError`: a caller's mistake, never a peer's.
 */
export const assertCallerError = asserting(TypeError, RangeError);

/** Calls a function with arguments that its signature does not allow. */
export function callWith(
  callee: (...args: never[]) => unknown,
  ...args: readonly unknown[]
): unknown {
  return Reflect.apply(callee, undefined, args);
}

/** Calls a constructor with arguments that its signature does not allow. */
export function constructWith(
  constructor: abstract new (...args: never[]) => unknown,
  ...args: readonly unknown[]
): unknown {
  return Reflect.construct(constructor, args);
}

/** A header dictionary as a plain object, ranges as their wire text after checking their class. */
export function flatten(headers: Record<string, unknown>): FlatHeaders {
  const flat: FlatHeaders = {};
  for (const [name, value] of Object.entries(headers)) {
    if (name === "range") assert(value instanceof Range, "range is kept as a Range");
    if (name === "content-range") assert(value instanceof ContentRange, "kept as a ContentRange");
    if (name === "content-length") assertEquals(typeof value, "number");
    flat[name] = typeof value === "number" ? value : String(value);
  }
  return flat;
}

/** A piece of text for the names of steps: escaped and cut. */
export function formatLabel(text: string): string {
  const quoted = JSON.stringify(text);
  return quoted.length <= 70 ? quoted : `${quoted.slice(0, 60)}… (${text.length})`;
}

/** The message of the error that a call throws. */
export function catchMessage(call: () => unknown): string {
  const error = catchThrown(call, "a mistake");
  assertInstanceOf(error, Error);
  return error.message;
}
