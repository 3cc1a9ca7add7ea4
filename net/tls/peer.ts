/**
 * What both ends check of a peer's certificate after the TLS library has verified it.
 *
 * @module
 */

import { TlsError } from "../../base/errors.ts";
import { type Certificate, usageProblem, validityProblem } from "./certificate.ts";
import { USABLE_KEYS } from "./keys.ts";
import { publicKeyOf } from "./signature.ts";

/**
 * Checks the certificate of the other end.
 *
 * @throws {TlsError} where it can't stand for that end now.
 */
export function checkPeer(whose: "client" | "server", certificate: Certificate): void {
  const now = Date.now();
  const refuse = (code: TlsError["code"], problem: string) =>
    new TlsError(code, `the ${whose}'s certificate ${problem}`);
  if (certificate.version !== 3) {
    throw refuse("UNTRUSTED", `has version ${certificate.version} in place of 3`);
  }
  const usage = usageProblem(certificate, `${whose}Auth`);
  if (usage !== null) throw refuse("WRONG_PURPOSE", usage);
  const validity = validityProblem(certificate, now);
  if (validity !== null) {
    const isEarly = now < certificate.validFrom.getTime();
    throw refuse(isEarly ? "NOT_YET_VALID" : "EXPIRED", validity);
  }
  if (publicKeyOf(certificate) === null) {
    throw refuse("WEAK", `has a key of an unsupported kind; must be ${USABLE_KEYS}`);
  }
}

/** The error where the TLS library has found a path to an authority, and nobody here can. */
export function noAuthority(whose: "client" | "server"): TlsError {
  return new TlsError(
    "UNTRUSTED",
    `none of the trusted authorities is known for certain to have vouched for the ${whose}`,
  );
}
