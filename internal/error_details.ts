import { propertyOf } from "./caught_errors.ts";

/** A property that isn't enumerable, so that `console.log` and `Deno.inspect` don't print it. */
export class HiddenProperty<T> {
  readonly #key = Symbol();

  set<O extends object>(object: O, value: T): O {
    Reflect.defineProperty(object, this.#key, { value, configurable: true });
    return object;
  }

  get(value: unknown): T | undefined {
    return propertyOf(value, this.#key) as T | undefined;
  }
}

export const argumentErrorDetails: HiddenProperty<{
  /** The name, or the path in a larger value: `headers["content-type"]`. */
  readonly argument: string;
  readonly problem: string;
}> = new HiddenProperty();

/**
 * Describes the error for an argument or option with a wrong type or a value that isn't allowed.
 *
 * @param error A thrown value.
 * @returns The name of the argument, or its path in a larger value, such as
 * `headers["content-type"]`; and the requirement that the value breaks. `null` for any other value.
 *
 * @example
 * ```ts
 * import { Client } from "@degu/degu";
 * import { describeArgumentError } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * try {
 *   new Client(["127.0.0.1", 80], { timeout: -1 });
 * } catch (error) {
 *   const { argument, problem } = describeArgumentError(error)!;
 *   assertEquals(argument, "timeout");
 *   assertEquals(`${argument}: ${problem}`, (error as Error).message);
 * }
 * ```
 */
export function describeArgumentError(
  error: unknown,
): { readonly argument: string; readonly problem: string } | null {
  const details = argumentErrorDetails.get(error);
  return details === undefined ? null : { ...details };
}

/**
 * Marks an error that cuts a response, and that the app has reported in its own log line: the error
 * of a disk or of a peer, and not of the app.
 */
export const reportedErrors: HiddenProperty<true> = new HiddenProperty();

/** Marks an error that means that the trust in a peer can't be determined now. */
export const unknownTrustErrors: HiddenProperty<true> = new HiddenProperty();

/** Hides the fields that are `null` from `console.log` and `Deno.inspect`. */
export function hideNullFields(error: Error): void {
  for (const [name, value] of Object.entries(error)) {
    if (value === null) Reflect.defineProperty(error, name, { enumerable: false });
  }
}

/** Overrides a getter of an error that has been made. Not enumerable, like the getter. */
export function setErrorFlag<E extends Error>(
  error: E,
  flag: "isTransient" | "maybeProcessed",
  value: boolean,
): E {
  Reflect.defineProperty(error, flag, { value, configurable: true });
  return error;
}
