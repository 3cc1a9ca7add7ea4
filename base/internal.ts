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

/** The first argument of constructors that programs can't call, so that these can change. */
export const INTERNAL: Internal<null> = new Internal(null);

/** Refuses a program's call of an internal constructor; `advice` names what to call instead. */
export function checkInternal(given: Internal<null>, name: string, advice: string): void {
  if (given !== INTERNAL) throw new TypeError(`a program can't make a ${name}: use ${advice}`);
}
