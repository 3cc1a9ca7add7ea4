/**
 * Details of errors, for programs: a message is for people, and may change. The details are
 * properties under registered symbols, so that all copies of the package in a program can read the
 * details. They are not enumerable, so that `console.log` and `Deno.inspect` don't print them.
 */

/**
 * Reads a property of a thrown value, which can be any value, such as a proxy or an object with a
 * getter that throws. Returns `undefined` in place of an error, so that the thrown value isn't
 * replaced by the error of the getter.
 */
export function propertyOf(value: unknown, key: PropertyKey): unknown {
  try {
    return (value as { readonly [key: PropertyKey]: unknown } | null | undefined)?.[key];
  } catch {
    return undefined;
  }
}

/**
 * Reports whether a thrown value is an instance of a class. Returns false for a proxy whose prototype
 * can't be read, for which `instanceof` throws an error that would replace the thrown value.
 */
export function isInstance<T>(
  value: unknown,
  ClassOfValue: abstract new (...args: never[]) => T,
): value is T {
  try {
    return value instanceof ClassOfValue;
  } catch {
    return false;
  }
}

/** A property of objects under a symbol, which is not enumerable. */
export class HiddenProperty<T> {
  readonly #key: symbol;

  constructor(key: symbol) {
    this.#key = key;
  }

  /** Sets the property of an object; returns the object. */
  set<O extends object>(object: O, value: T): O {
    Reflect.defineProperty(object, this.#key, { value, configurable: true });
    return object;
  }

  /**
   * Returns the property of an object, or a copy if the property is an object whose fields other code
   * could change. Returns `undefined` for an object without it, and if it can't be read.
   */
  get(value: unknown): T | undefined {
    const property = propertyOf(value, this.#key);
    if (typeof property !== "object" && typeof property !== "function") return property as T;
    try {
      return { ...property } as T;
    } catch {
      return undefined;
    }
  }

  /** Removes the property from an object. */
  remove(object: object): void {
    Reflect.deleteProperty(object, this.#key);
  }
}

/** The problem of an argument or an option. */
export interface ArgumentErrorDescription {
  /** The name, or the path in a larger value: `headers["content-type"]`. */
  readonly argument: string;
  /** The requirement that the value breaks, without the name. */
  readonly problem: string;
}

export const argumentErrorDetails: HiddenProperty<ArgumentErrorDescription> = new HiddenProperty(
  Symbol.for("degu.argument"),
);

/**
 * Whether the same call may succeed a moment later.
 *
 * - `true`: the call may succeed.
 * - `false`: the call would fail again.
 * - `"maybe processed"`: the call may succeed, but the server, which sent no response, may have
 *   processed the request.
 */
export type Transience = boolean | "maybe processed";

/** The key of the {@linkcode Transience} of an error. */
export const TRANSIENT: unique symbol = Symbol.for("degu.transient");

export const transience: HiddenProperty<Transience> = new HiddenProperty(TRANSIENT);
