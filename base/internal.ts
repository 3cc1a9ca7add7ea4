/** Arguments of public constructors that only this package can pass. */

/** Holds such an argument: no entry exports this class, so nobody else can make one. */
export class Internal<T> {
  readonly #value: T;

  constructor(value: T) {
    this.#value = value;
  }

  /** The argument, or the default if something else or nothing was passed. */
  static read<T>(given: Internal<T> | undefined, otherwise: T): T {
    return given instanceof Internal ? given.#value : otherwise;
  }
}
