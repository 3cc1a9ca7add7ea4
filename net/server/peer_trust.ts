import { makeRefusalEnd, type SessionEndRecorder } from "./session_end.ts";

const DISTRUST_REASON = "checkTrusted() found that the peer is not trusted";
const ANONYMOUS_REASON =
  "checkTrusted() found that the peer is anonymous: it has neither a certificate nor an identity; " +
  "serve over TLS, or return an identity from onConnect";
const UNKNOWN_TRUST_REASON = "checkTrusted() could not read whether the peer is trusted";
export const DISTRUSTED_AUTHORITY = "the client's authority is not trusted any more";
export const DISTRUSTED_AUTHORITY_END = makeRefusalEnd(`UNTRUSTED: ${DISTRUSTED_AUTHORITY}`);

/** What a server's connection knows about the trust of its peer. */
export class PeerTrust {
  readonly #endRecorder: SessionEndRecorder;
  #isAnonymousLogged = false;
  /** Why the current response is the last one; `null` if the peer is trusted. */
  distrustReason: string | null = null;
  /**
   * The error with which `onConnect` failed to decide whether to accept the peer; the server then
   * responds to the first request with 503. `null` if the peer was accepted.
   */
  connectError: unknown = null;

  constructor(endRecorder: SessionEndRecorder) {
    this.#endRecorder = endRecorder;
  }

  /** Returns whether the session must end. */
  onDistrust(trust: "untrusted" | "anonymous" | "unknown"): boolean {
    if (trust === "anonymous") {
      if (!this.#isAnonymousLogged) this.#endRecorder.log(makeRefusalEnd(ANONYMOUS_REASON));
      this.#isAnonymousLogged = true;
      return false;
    }
    if (this.distrustReason !== null) return false;
    this.distrustReason = trust === "unknown" ? UNKNOWN_TRUST_REASON : DISTRUST_REASON;
    const logLine = `${this.distrustReason}; the session ends after its current response`;
    this.#endRecorder.log(makeRefusalEnd(logLine));
    return true;
  }
}
