/** The decision of `onConnect` about a peer, and the decisions of several apps as one. */

import { typeName } from "../quote.ts";

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

/** A decision that was read: an identity, `null` for `true`, or why the peer is refused. */
export type ConnectDecision =
  | { readonly identity: PeerIdentity | null }
  | { readonly refusal: string };

/** Reads what `onConnect` has returned. Whatever is not clearly a yes refuses the peer. */
export function readDecision(returned: unknown): ConnectDecision {
  if (returned === true) return { identity: null };
  if (typeof returned !== "object" || returned === null) return { refusal: "refused by onConnect" };
  const problem = identityProblem(returned);
  return problem === null
    ? { identity: returned as PeerIdentity }
    : { refusal: `refused, because the result of onConnect is no identity: ${problem}` };
}

function identityProblem(given: object): string | null {
  const unknown = Object.keys(given).find((name) => !PROPERTIES.includes(name));
  if (unknown !== undefined) return `it has the unknown property ${JSON.stringify(unknown)}`;
  const { user, signal, isTrusted } = given as Record<keyof PeerIdentity, unknown>;
  if (typeof user !== "string" || user === "") return `user must be a name; got ${typeName(user)}`;
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    return `signal must be an AbortSignal; got ${typeName(signal)}`;
  }
  if (isTrusted !== undefined && typeof isTrusted !== "function") {
    return `isTrusted must be a function; got ${typeName(isTrusted)}`;
  }
  return null;
}

/**
 * Joins two identities of one peer: both must trust the peer, as long as the session lasts; `null`
 * if they name different users.
 */
export function joinIdentities(one: PeerIdentity, other: PeerIdentity): PeerIdentity | null {
  if (one.user !== other.user) return null;
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
