/** Arguments of public constructors that only this package can pass. */

/**
 * An argument that only this package can pass. No public module exports this class, so programs
 * can't make an instance.
 */
export class InternalArgument<T> {
  readonly #value: T;

  constructor(value: T) {
    this.#value = value;
  }

  /** Returns the wrapped argument; the default for any other value. */
  static read<T>(given: InternalArgument<T> | undefined, defaultValue: T): T {
    return given instanceof InternalArgument ? given.#value : defaultValue;
  }
}

/** The first argument of internal constructors. Programs can't pass it, so the rest can change. */
export const INTERNAL: InternalArgument<null> = new InternalArgument(null);

/** Refuses a program's call of an internal constructor; `advice` names what to call instead. */
export function checkInternal(given: InternalArgument<null>, name: string, advice: string): void {
  if (given !== INTERNAL) throw new TypeError(`a program can't make a ${name}: use ${advice}`);
}
