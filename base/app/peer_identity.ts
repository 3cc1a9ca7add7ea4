import { unknownTrustErrors } from "../../internal/error_details.ts";
import { quote, typeNameOf } from "../../internal/quote.ts";
import { ResponseError, statusOf } from "./app_result.ts";

/** The name of a peer that an app accepts, and whether the app still trusts it. */
export interface PeerIdentity {
  /** The name of the peer, which `session.user` reads at each access. */
  readonly user: string;
  /** Aborted when the peer is no longer trusted; the session ends with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Reports whether the peer is trusted at the time of the call. The server calls this function
   * after `onConnect` and before each request, and `session.ifTrusted()` calls it. After any result
   * but `true`, and after an error, the peer isn't trusted: the app doesn't get the request, the
   * server answers with 403, and the session ends.
   *
   * A {@linkcode ResponseError} with the status 503 means that the trust can't be determined now,
   * for example because a disk can't be read: the server answers the request with 503, so that the
   * peer can repeat it later. So does a call that takes longer than the `timeout` of the server.
   */
  isTrusted?(): boolean | Promise<boolean>;
}

const IDENTITY_PROPERTIES: readonly string[] = ["user", "signal", "isTrusted"];

export function checkOnConnectResult(result: unknown): PeerIdentity | boolean {
  if (typeof result === "boolean") return result;
  const problem = findIdentityProblem(result);
  if (problem === null) return result as PeerIdentity;
  throw new TypeError(
    "onConnect must return true to accept the peer, false to refuse it, or an identity such as " +
      `{ user: "anna" }: ${problem}`,
  );
}

function findIdentityProblem(given: unknown): string | null {
  if (typeof given !== "object" || given === null) return `got ${typeNameOf(given)}`;
  const unknownName = Object.keys(given).find((name) => !IDENTITY_PROPERTIES.includes(name));
  if (unknownName !== undefined) {
    return `it has the unknown property ${JSON.stringify(unknownName)}; it can have ${
      IDENTITY_PROPERTIES.join(", ")
    }`;
  }
  const { user, signal, isTrusted } = given as Record<keyof PeerIdentity, unknown>;
  if (user === "") return "user must be a name; got an empty text";
  if (typeof user !== "string") return `user must be a name; got ${typeNameOf(user)}`;
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    return `signal must be an AbortSignal; got ${typeNameOf(signal)}`;
  }
  if (isTrusted !== undefined && typeof isTrusted !== "function") {
    return `isTrusted must be a function; got ${typeNameOf(isTrusted)}`;
  }
  return null;
}

export function joinIdentities(identity: PeerIdentity, otherIdentity: PeerIdentity): PeerIdentity {
  if (identity.user !== otherIdentity.user) {
    const users = `${quote(identity.user)} and ${quote(otherIdentity.user)}`;
    throw new TypeError(`the identities of a peer must have the same user; got ${users}`);
  }
  const signals = [identity.signal, otherIdentity.signal].filter((signal) => signal !== undefined);
  const canLoseTrust = identity.isTrusted !== undefined || otherIdentity.isTrusted !== undefined;
  return {
    get user() {
      return identity.user;
    },
    ...(signals.length === 0 ? {} : { signal: AbortSignal.any(signals) }),
    ...(!canLoseTrust ? {} : {
      isTrusted: async () => await callIsTrusted(identity) && await callIsTrusted(otherIdentity),
    }),
  };
}

/** Whether an error of a trust check means that the trust can't be determined now. */
export function isUnknownTrustError(error: unknown): boolean {
  return unknownTrustErrors.get(error) === true;
}

/** Makes the error of a trust check that can't be made now. */
export function unknownTrustError(problem: string, cause?: unknown): ResponseError {
  const error = new ResponseError([503, "Service Unavailable", {}, null]);
  const name = "UnknownTrustError";
  // Without a stack, because the reason is the system, and not a bug.
  Object.assign(error, { name, message: problem, cause, stack: `${name}: ${problem}` });
  return unknownTrustErrors.set(error, true);
}

/** @throws the error of the `isTrusted` of the identity. */
export async function callIsTrusted(identity: Omit<PeerIdentity, "user">): Promise<boolean> {
  try {
    return identity.isTrusted === undefined || await identity.isTrusted() === true;
  } catch (error) {
    const isUnknown = error instanceof ResponseError && statusOf(error.response) === 503;
    if (isUnknown) unknownTrustErrors.set(error, true);
    throw error;
  }
}
