/**
 * Errors of connecting to a host that gives no sign of life.
 *
 * @module
 */

const CLASSES: readonly (abstract new (...args: never[]) => Error)[] = [
  Deno.errors.TimedOut,
  Deno.errors.NetworkUnreachable,
  Deno.errors.AddrNotAvailable,
];

/** Deno has no separate classes for these. */
const CODES: ReadonlySet<unknown> = new Set(["EHOSTUNREACH", "EHOSTDOWN", "ENETDOWN"]);

/**
 * Reports whether nothing came back from an address: there is no way to it, or no answer in time. A host that
 * refuses or resets a connection is reachable.
 */
export function isUnreachable(error: unknown): boolean {
  return CLASSES.some((each) => error instanceof each) || CODES.has(systemCode(error));
}

/** The code of the operating system in an error, such as `"EHOSTUNREACH"`, if it has one. */
export function systemCode(error: unknown): unknown {
  return (error as { code?: unknown } | null | undefined)?.code;
}
