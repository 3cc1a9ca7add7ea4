/**
 * Checks of arguments and options. Each takes the label that its error begins with: the name of the
 * argument or option, or its path in a larger value, as in `response[2]["content-type"]`.
 *
 * @module
 */

import { quote, typeName } from "./errors.ts";

/** The error for a value of a wrong type: `label: must be a string; got number`. */
export function wrongType(label: string, wanted: string, value: unknown): TypeError {
  return new TypeError(`${label}: must be ${wanted}; got ${typeName(value)}`);
}

/**
 * Checks that a value is a string.
 *
 * @throws {TypeError} if it is not.
 */
export function checkString(label: string, value: unknown): asserts value is string {
  if (typeof value !== "string") throw wrongType(label, "a string", value);
}

/**
 * Checks that a value is `true` or `false`.
 *
 * @throws {TypeError} if it is neither.
 */
export function checkBoolean(label: string, value: unknown): asserts value is boolean {
  if (typeof value !== "boolean") throw wrongType(label, "a boolean", value);
}

/**
 * Checks that a value is a number; `NaN` is one.
 *
 * @throws {TypeError} if it is not.
 */
export function checkNumber(label: string, value: unknown): asserts value is number {
  if (typeof value !== "number") throw wrongType(label, "a number", value);
}

/**
 * Checks that a value is a safe integer within bounds. `Infinity` is allowed only if it is `most`.
 *
 * @throws {TypeError} if it is not a number.
 * @throws {RangeError} if it is not an integer, or is out of bounds.
 */
export function checkInteger(
  label: string,
  value: unknown,
  least: number,
  most: number,
): asserts value is number {
  checkNumber(label, value);
  const isExact = Number.isSafeInteger(value) || (value === Infinity && most === Infinity);
  if (isExact && value >= least && value <= most) return;
  const wanted = most === Infinity
    ? `an integer of ${least} or more, or Infinity`
    : `an integer from ${least} to ${most}`;
  throw new RangeError(`${label}: must be ${wanted}; got ${value}`);
}

/**
 * Checks that a value is a function or a class.
 *
 * @throws {TypeError} if it is not.
 */
export function checkFunction(label: string, value: unknown): void {
  if (typeof value !== "function") throw wrongType(label, "a function", value);
}

/**
 * Checks that a value is an object; a function is not one.
 *
 * @throws {TypeError} if it is not.
 */
export function checkObject(label: string, value: unknown): asserts value is object {
  if (typeof value !== "object" || value === null) throw wrongType(label, "an object", value);
}

/**
 * Checks that a value is an array.
 *
 * @throws {TypeError} if it is not.
 */
export function checkArray(label: string, value: unknown): asserts value is readonly unknown[] {
  if (!Array.isArray(value)) throw wrongType(label, "an array", value);
}

/**
 * Checks that a value is an array of bytes.
 *
 * @throws {TypeError} if it is not a `Uint8Array`.
 */
export function checkUint8Array(label: string, value: unknown): asserts value is Uint8Array {
  if (!(value instanceof Uint8Array)) throw wrongType(label, "a Uint8Array", value);
}

/**
 * Checks that a value has methods with these names.
 *
 * @throws {TypeError} if one is missing.
 */
export function checkMethods(label: string, value: unknown, names: readonly string[]): void {
  for (const name of names) {
    if (typeof (value as Record<string, unknown> | null | undefined)?.[name] === "function") {
      continue;
    }
    throw wrongType(label, `an object with the method ${name}`, value);
  }
}

/**
 * Copies options, so later changes can't bypass the checks.
 *
 * @param label The name of the options in errors.
 * @throws {TypeError} if they are not an object, or one of them is unknown (usually misspelled).
 */
export function copyOptions<T extends object>(
  options: T,
  known: readonly string[],
  label = "options",
): T {
  checkObject(label, options);
  const copy = { ...options };
  for (const name of Object.keys(copy)) {
    if (known.includes(name)) continue;
    throw new TypeError(
      `${label}: unknown option ${quote(name)}; the options are ${known.join(", ")}`,
    );
  }
  return copy;
}
