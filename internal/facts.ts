/**
 * What errors of one kind carry beside their public code: data for whoever tells people about them
 * in other words, as the program `degu` does. Messages are for reading, and may change.
 */
export class Facts<T extends object> {
  readonly #facts = new WeakMap<object, T>();

  /** Adds facts to an error; returns the error. */
  add<E extends Error>(error: E, facts: T): E {
    this.#facts.set(error, facts);
    return error;
  }

  /** The facts of an error, if it has any. */
  of(error: unknown): Partial<T> {
    return this.#facts.get(error as object) ?? {};
  }
}

/** What an error of a connection carries. */
interface ConnectionFacts {
  /** The address that was connected to, or whose handshake failed. */
  readonly address?: string;
  /** Whether nothing had answered there yet. */
  readonly isConnecting?: boolean;
  /** The name that can't be looked up. */
  readonly unknownName?: string;
  /** How long the peer kept the connection waiting. */
  readonly silentSeconds?: number;
  /** How long the peer has not read what was sent. */
  readonly unreadSeconds?: number;
  /** The bytes that were left to come when the peer ended the connection. */
  readonly missingBytes?: number;
}

export const connectionFacts: Facts<ConnectionFacts> = new Facts();

/** What an error of an argument or option carries: its name, and what is wrong with the value. */
interface ArgumentFacts {
  readonly label?: string;
  readonly problem?: string;
}

export const argumentFacts: Facts<ArgumentFacts> = new Facts();
