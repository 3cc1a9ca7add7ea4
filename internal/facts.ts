/**
 * Details of errors, for programs: a message is for reading, and may change. They are properties
 * under registered symbols, so that several copies of the package in one program read each other's,
 * and not enumerable, so that nothing prints them.
 */

/**
 * A property of a thrown value, which can be anything: also an object with a getter that throws, or
 * a proxy. An error of the look must not take the place of the one that is looked at.
 */
export function propertyOf(value: unknown, key: PropertyKey): unknown {
  try {
    return (value as { readonly [key: PropertyKey]: unknown } | null | undefined)?.[key];
  } catch {
    return undefined;
  }
}

/** A property of objects, under a symbol. */
export class Facts<T> {
  readonly #key: symbol;

  constructor(key: symbol) {
    this.#key = key;
  }

  /** Adds facts to an object, or replaces them; returns the object. */
  add<O extends object>(object: O, facts: T): O {
    Reflect.defineProperty(object, this.#key, { value: facts, configurable: true });
    return object;
  }

  /** The facts of an object, if it has any, and lets them be read. */
  of(value: unknown): T | undefined {
    return propertyOf(value, this.#key) as T | undefined;
  }

  /** Removes the facts that were added to an object. */
  remove(object: object): void {
    Reflect.deleteProperty(object, this.#key);
  }
}

/** What is wrong with an argument or an option. */
export interface ArgumentErrorDescription {
  /** The name, or the path in a larger value: `headers["content-type"]`. */
  readonly argument: string;
  /** What the value must be, without the name. */
  readonly problem: string;
}

export const argumentFacts: Facts<ArgumentErrorDescription> = new Facts(
  Symbol.for("degu.argument"),
);

/**
 * Whether the same call may succeed a moment later.
 *
 * - `true`: it may.
 * - `false`: it would fail again.
 * - `"unanswered"`: it may, but the request that got no answer may have been acted on.
 */
export type Transience = boolean | "unanswered";

/** The key of whether an error is transient. */
export const TRANSIENT: unique symbol = Symbol.for("degu.transient");

export const transience: Facts<Transience> = new Facts(TRANSIENT);
