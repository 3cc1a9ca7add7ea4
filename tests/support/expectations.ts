/** Assertions about errors of parsers and of callers, and header dictionaries as plain objects. */

import { assert, assertEquals, assertInstanceOf, fail } from "@std/assert";
import { BodyError, type Chunk, ConnectionError, ProtocolError } from "@degu/degu/base";
import { decodeLatin1, type FlatHeaders } from "./wire_grammar.ts";

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
function failWithError(label: string, error: unknown): never {
  return fail(`${label} failed with ${Deno.inspect(error)}`);
}

/** Asserts that an error is a `ProtocolError` whose code is one of `codes`. */
function assertCode(error: unknown, codes: readonly string[], label: string) {
  if (!(error instanceof ProtocolError || error instanceof ConnectionError)) {
    failWithError(label, error);
  }
  assert(
    error.code !== null && codes.includes(error.code),
    `${label}: ${error.code} is none of ${codes.join(", ")}`,
  );
}

/**
 * Returns the result of a parser, or `null` if it throws a `ProtocolError`. Any other error fails
 * the test.
 */
export function parseOrNull<T>(parse: () => T, label: string): T | null {
  try {
    return parse();
  } catch (error) {
    return error instanceof ProtocolError || error instanceof ConnectionError
      ? null
      : failWithError(label, error);
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
  label: string,
) {
  assertCode(await catchRejection(promise, label), codes, label);
}

/** Returns the rejection reason of a promise; fails the test if the promise resolves. */
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
  if (!(error instanceof BodyError)) failWithError(label, error);
}

/**
 * Asserts that a body failed because its source ended too early: with `BodyError` if the caller's
 * source did, and with `BODY_INCOMPLETE` if the bytes ended inside a message.
 */
export async function assertCutShort(promise: Promise<unknown>, label: string) {
  const error = await catchRejection(promise, label);
  if (!(error instanceof BodyError)) assertCode(error, ["BODY_INCOMPLETE"], label);
}

/** Makes an assertion that a call throws an error of one of these classes. */
function makeAssertion(...classes: readonly ErrorConstructor[]) {
  return (call: () => unknown, label: string): void => {
    const error = catchThrown(call, label);
    if (!classes.some((errorClass) => error instanceof errorClass)) failWithError(label, error);
  };
}

/** Asserts that a call throws a `TypeError`: an argument has the wrong type. */
export const assertTypeError = makeAssertion(TypeError);
/**
 * Asserts that a call throws a `RangeError`: an argument of the right type has a value that is not
 * allowed.
 */
export const assertRangeError = makeAssertion(RangeError);
/**
 * Asserts that a call throws a `TypeError` or a `RangeError`: a caller's mistake, never a peer's.
 */
export const assertCallerError = makeAssertion(TypeError, RangeError);

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

/** Returns a chunk as text: `["k=v", "data"]`. */
export function flattenChunk([extension, data]: Chunk): [string | null, string] {
  return [extension && extension.join("="), decodeLatin1(data)];
}

/** Converts a header dictionary to a plain object; ranges become their wire text. */
export function flatten(headers: Record<string, unknown>): FlatHeaders {
  const flat: FlatHeaders = Object.create(null);
  for (const [name, value] of Object.entries(headers)) {
    if (name === "content-length") assertEquals(typeof value, "number");
    flat[name] = typeof value === "number" || Array.isArray(value) ? value : String(value);
  }
  return flat;
}

/** Makes the name of a step from a text: escaped, and at most 70 characters. */
export function formatLabel(text: string): string {
  const quotedText = JSON.stringify(text);
  return quotedText.length <= 70 ? quotedText : `${quotedText.slice(0, 60)}… (${text.length})`;
}

export function catchMessage(call: () => unknown): string {
  const error = catchThrown(call, "a mistake");
  assertInstanceOf(error, Error);
  return error.message;
}
