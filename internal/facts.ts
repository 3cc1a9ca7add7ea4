/**
 * Details of errors, for programs: a message is for reading, and may change. They are properties
 * under registered symbols, so that several copies of the package in one program read each other's,
 * and not enumerable, so that nothing prints them.
 */

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

  /** The facts of an object, if it has any. */
  of(value: unknown): T | undefined {
    return (value as { readonly [key: symbol]: T | undefined } | null | undefined)?.[this.#key];
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
