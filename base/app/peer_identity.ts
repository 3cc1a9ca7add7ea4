/** The decision of `onConnect` about a peer, and the decisions of several apps as one. */

import { quote, typeName } from "../../internal/quote.ts";

/** The peer that an app accepts, by its name, and how long the app trusts it. */
export interface PeerIdentity {
  /** The name of the peer: `session.user`, which reads the property each time. */
  readonly user: string;
  /** Aborted once the peer is not trusted any more; the session ends with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Reports whether the peer is trusted at the time of the call; anything but `true`, and an error,
   * means no. `session.isTrusted()` calls it, and the server once before the first request.
   */
  isTrusted?(): boolean | Promise<boolean>;
}

const PROPERTIES: readonly string[] = ["user", "signal", "isTrusted"];

/**
 * Reads what `onConnect` has returned: the identity of an accepted peer, `true` for a peer without
 * one, `false` for a refused peer.
 *
 * @throws {TypeError} if the value is an object and no identity: a mistake of the app.
 */
export function readDecision(returned: unknown): PeerIdentity | boolean {
  if (typeof returned !== "object" || returned === null) return returned === true;
  const problem = identityProblem(returned);
  if (problem === null) return returned as PeerIdentity;
  throw new TypeError(`the result of onConnect must be true, false or an identity: ${problem}`);
}

function identityProblem(given: object): string | null {
  const unknown = Object.keys(given).find((name) => !PROPERTIES.includes(name));
  if (unknown !== undefined) {
    return `it has the unknown property ${JSON.stringify(unknown)}; it can have ${
      PROPERTIES.join(", ")
    }`;
  }
  const { user, signal, isTrusted } = given as Record<keyof PeerIdentity, unknown>;
  if (user === "") return "user must be a name; got an empty text";
  if (typeof user !== "string") return `user must be a name; got ${typeName(user)}`;
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    return `signal must be an AbortSignal; got ${typeName(signal)}`;
  }
  if (isTrusted !== undefined && typeof isTrusted !== "function") {
    return `isTrusted must be a function; got ${typeName(isTrusted)}`;
  }
  return null;
}

/**
 * Joins two identities of one peer: both must trust the peer, as long as the session lasts.
 *
 * @throws {TypeError} if the identities name different users.
 */
export function joinIdentities(one: PeerIdentity, other: PeerIdentity): PeerIdentity {
  if (one.user !== other.user) {
    const users = `${quote(one.user)} and ${quote(other.user)}`;
    throw new TypeError(`the identities of a peer must have the same user; got ${users}`);
  }
  const signals = [one.signal, other.signal].filter((signal) => signal !== undefined);
  return {
    get user() {
      return one.user;
    },
    ...(signals.length === 0 ? {} : { signal: AbortSignal.any(signals) }),
    isTrusted: async () => await isTrustedBy(one) && await isTrustedBy(other),
  };
}

/** Asks whether the peer of an identity is trusted now. Never rejects. */
export async function isTrustedBy(identity: PeerIdentity): Promise<boolean> {
  if (identity.signal?.aborted === true) return false;
  if (identity.isTrusted === undefined) return true;
  try {
    return await identity.isTrusted() === true;
  } catch {
    return false;
  }
}
