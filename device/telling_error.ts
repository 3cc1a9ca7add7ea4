/**
 * Which of several errors to report when all addresses of a device have failed.
 *
 * @module
 */

import { addressText } from "../base/address.ts";
import type { Address } from "../base/address_rules.ts";
import { quote, TlsError, type TlsErrorCode } from "../base/errors.ts";

/** The most useful first: what the peer says, before what others cause. */
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

/** The order of system errors: connecting is not permitted, nobody listens, nobody answers. */
const TELLING_CLASSES: readonly (abstract new () => Error)[] = [
  Deno.errors.NotCapable,
  Deno.errors.PermissionDenied,
  Deno.errors.ConnectionRefused,
  Deno.errors.ConnectionReset,
  Deno.errors.TimedOut,
];

/** The peer that was tried, and where. */
export interface Sought {
  readonly name: string;
  readonly addresses: readonly Address[];
  /** Whether the addresses are the stored ones. */
  readonly stored: boolean;
}

/** The likely cause if a peer refuses this device, and what to do. */
export function forgottenHint(name: string): string {
  return `${quote(name)} has probably forgotten this device: pair the two again`;
}

/**
 * The most useful of several errors (the first of equal ones), with all of them as its `cause`. Its message also
 * says what to do.
 */
export function mostTelling(cause: AggregateError, sought: Sought): Error {
  const { errors } = cause;
  const [first] = [...errors].sort((a, b) => rank(a) - rank(b));
  const best = first instanceof Error ? first : new Error(String(first));
  const more = errors.length - 1;
  const others = more === 0 ? "" : `; and ${more} more address${more === 1 ? " fails" : "es fail"}`;
  const message = best.message + others + hintFor(best, sought);
  if (best instanceof TlsError) return new TlsError(best.code, message, { cause });
  const Class = Object.values(Deno.errors).find((each) => best.constructor === each) ?? Error;
  return Object.assign(
    new Class(message, { cause }),
    "code" in best ? { code: best.code } : {},
  );
}

/** What to do, unless the error already says so. */
function hintFor(error: Error, sought: Sought): string {
  if (error instanceof TlsError) {
    return error.code === "REFUSED_BY_PEER" ? `; ${forgottenHint(sought.name)}` : "";
  }
  const isOwn = error instanceof Deno.errors.NotCapable ||
    error instanceof Deno.errors.PermissionDenied;
  return isOwn ? "" : `; ${unreachableHint(sought)}`;
}

function unreachableHint({ name, addresses, stored }: Sought): string {
  const noun = addresses.length === 1 ? "address" : "addresses";
  const where = `${stored ? "its stored" : "the given"} ${noun} ${
    addresses.map(addressText).join(", ")
  }`;
  const other = stored ? "pass the option addresses" : "pass other addresses";
  const hint = `start its server, ${other}, or pair the two again while it serves`;
  return `${quote(name)} doesn't serve at ${where}: ${hint}`;
}

function rank(error: unknown): number {
  if (error instanceof TlsError) return TELLING.indexOf(error.code);
  const index = TELLING_CLASSES.findIndex((each) => error instanceof each);
  return TELLING.length + (index < 0 ? TELLING_CLASSES.length : index);
}
