import { argumentErrorDetails } from "./error_details.ts";
import { quote, typeNameOf } from "./quote.ts";

export function wrongTypeError(label: string, expected: string, value: unknown): TypeError {
  return wrongArgumentError(label, `must be ${expected}; got ${typeNameOf(value)}`);
}

export function wrongArgumentError(label: string, problem: string): TypeError {
  return argumentErrorDetails.set(new TypeError(`${label}: ${problem}`), {
    argument: label,
    problem,
  });
}

export function notConstructibleError(name: string, advice: string): TypeError {
  return new TypeError(`new ${name}(): the constructor is internal; use ${advice}`);
}

/** The first argument of constructors that programs can't call. */
export const CONSTRUCTOR_KEY: unique symbol = Symbol("constructor key");

export function checkConstructorKey(key: unknown, name: string, advice: string): void {
  if (key !== CONSTRUCTOR_KEY) throw notConstructibleError(name, advice);
}

export function notAllowedError(
  label: string,
  problem: string,
  options?: ErrorOptions,
): RangeError {
  const error = new RangeError(`${label}: ${problem}`, options);
  return argumentErrorDetails.set(error, { argument: label, problem });
}

type Check<T> = (label: string, value: unknown) => asserts value is T;

function makeCheck<T>(expected: string, isValid: (value: unknown) => boolean): Check<T> {
  return (label, value) => {
    if (!isValid(value)) throw wrongTypeError(label, expected, value);
  };
}

export const checkString: Check<string> = makeCheck(
  "a string",
  (value) => typeof value === "string",
);

export const checkBoolean: Check<boolean> = makeCheck(
  "a boolean",
  (value) => typeof value === "boolean",
);

/** `NaN` is allowed. */
export const checkNumber: Check<number> = makeCheck(
  "a number",
  (value) => typeof value === "number",
);

export const checkFunction: (label: string, value: unknown) => void = makeCheck(
  "a function",
  (value) => typeof value === "function",
);

export const checkObject: Check<object> = makeCheck(
  "an object",
  (value) => typeof value === "object" && value !== null,
);

export const checkSignal: Check<AbortSignal | undefined> = makeCheck(
  "an AbortSignal",
  (value) => value === undefined || value instanceof AbortSignal,
);

export const checkArray: Check<readonly unknown[]> = makeCheck("an array", Array.isArray);

export const checkUint8Array: Check<Uint8Array> = makeCheck(
  "a Uint8Array",
  (value) => value instanceof Uint8Array,
);

export function checkInteger(
  label: string,
  value: unknown,
  min: number,
  max: number,
): asserts value is number {
  if (typeof value !== "number") throw wrongTypeError(label, "a number", value);
  const isExact = Number.isSafeInteger(value) || (value === Infinity && max === Infinity);
  if (isExact && value >= min && value <= max) return;
  const expected = max === Infinity
    ? `an integer of ${min} or more, or Infinity`
    : `an integer from ${min} to ${max}`;
  throw notAllowedError(label, `must be ${expected}; got ${value}`);
}

export function makeIntegerCheck(min: number, max: number): OptionCheck<number> {
  return (label, value) => checkInteger(label, value, min, max);
}

export function makeNumberCheck(min: number, max: number): OptionCheck<number> {
  return (label, value) => {
    checkNumber(label, value);
    if (value >= min && value <= max) return;
    throw notAllowedError(label, `must be a number from ${min} to ${max}; got ${value}`);
  };
}

export function makeChoiceCheck(...choices: string[]): OptionCheck<string> {
  return (label, value) => {
    checkString(label, value);
    if (choices.includes(value)) return;
    const expected = choices.map((choice) => quote(choice)).join(" or ");
    throw notAllowedError(label, `must be ${expected}; got ${quote(value)}`);
  };
}

export function checkMethods(label: string, value: unknown, names: readonly string[]): void {
  for (const name of names) {
    const method = (value as Record<string, unknown> | null | undefined)?.[name];
    if (typeof method === "function") continue;
    throw wrongTypeError(label, `an object with the method ${name}`, value);
  }
}

/** Refuses options of a base class that a derived class would ignore. */
export function checkAbsent(options: object, names: readonly string[], owner: string): void {
  for (const name of names) {
    if ((options as Record<string, unknown>)[name] === undefined) continue;
    throw wrongArgumentError("options", `${owner} doesn't have the option ${name}`);
  }
}

type OptionCheck<T> = (label: string, value: T) => void;

export type OptionChecks<T> = {
  readonly [Name in keyof T]-?: OptionCheck<Exclude<T[Name], undefined>>;
};

export function checkOptions<T extends object>(
  options: T,
  checks: OptionChecks<NoInfer<T>>,
  additionalNames: readonly string[] = [],
): { [Name in keyof T]: Exclude<T[Name], undefined> } {
  const copy = copyOptions(options, [...Object.keys(checks), ...additionalNames]);
  for (const name of Object.keys(checks) as (keyof T & string)[]) {
    const value = copy[name];
    if (value === undefined) delete copy[name];
    else checks[name](name, value as Exclude<T[typeof name], undefined>);
  }
  return copy as ReturnType<typeof checkOptions<T>>;
}

/** Copies options, so that later changes can't bypass the checks. */
export function copyOptions<T extends object>(
  options: T,
  allowedNames: readonly string[],
  label = "options",
): T {
  checkObject(label, options);
  const copy = { ...options };
  for (const name of Object.keys(copy)) {
    if (allowedNames.includes(name)) continue;
    throw wrongArgumentError(
      label,
      `unknown option ${quote(name)}; the options are ${allowedNames.join(", ")}`,
    );
  }
  return copy;
}
