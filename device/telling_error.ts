/**
 * Which of several errors to report when all addresses of a device have failed.
 *
 * @module
 */

import { TlsError, type TlsErrorCode } from "../base/errors.ts";

/** The most useful first: what the peer itself says or is, before what somebody else does. */
const TELLING: readonly TlsErrorCode[] = [
  "REFUSED_BY_PEER",
  "EXPIRED",
  "NOT_YET_VALID",
  "WRONG_PURPOSE",
  "WEAK",
  "POLICY",
  "WRONG_NAME",
  "NO_CERTIFICATE",
  "UNTRUSTED",
  "NOT_TLS",
  "CLOSED",
];

/** Of errors of the system: that a program may not connect, that nobody listens, that nothing answers. */
const TELLING_CLASSES: readonly (abstract new () => Error)[] = [
  Deno.errors.NotCapable,
  Deno.errors.PermissionDenied,
  Deno.errors.ConnectionRefused,
  Deno.errors.ConnectionReset,
  Deno.errors.TimedOut,
];

/** The most useful of several errors, of equal ones the first, with all of them as its `cause`. */
export function mostTelling(cause: AggregateError): Error {
  const { errors } = cause;
  const [first] = [...errors].sort((a, b) => rank(a) - rank(b));
  const best = first instanceof Error ? first : new Error(String(first));
  const others = errors.length === 1 ? "" : `; and ${errors.length - 1} more addresses fail`;
  const message = best.message + others;
  if (best instanceof TlsError) return new TlsError(best.code, message, { cause });
  const Class = Object.values(Deno.errors).find((each) => best.constructor === each) ?? Error;
  return Object.assign(
    new Class(message, { cause }),
    "code" in best ? { code: best.code } : {},
  );
}

function rank(error: unknown): number {
  if (error instanceof TlsError) return TELLING.indexOf(error.code);
  const index = TELLING_CLASSES.findIndex((each) => error instanceof each);
  return TELLING.length + (index < 0 ? TELLING_CLASSES.length : index);
}
