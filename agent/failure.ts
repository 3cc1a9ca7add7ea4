/**
 * How commands fail: exit codes, and messages that say what to do next.
 *
 * @module
 */

import { EmptyPreambleError, TlsError, type TlsErrorCode } from "../base.ts";
import { plainMessageOf } from "../net/thrown.ts";
import { isUnreachable, systemCode } from "../net/unreachable.ts";

/** Something failed. */
export const FAILED = 1;
/** The command line is wrong. */
export const USAGE = 2;
/** This device, or the other one, is not paired, or the other one has refused. */
export const REFUSED = 3;
/** A signal has ended the command. */
export const INTERRUPTED = 130;

/** A command failed; the message says what to do next. */
export class Failure extends Error {
  /** The name of the class. */
  override readonly name: string = "Failure";
  /** What the process exits with. */
  readonly exitCode: 1 | 2 | 3;

  /** Makes an error for an exit code. */
  constructor(exitCode: 1 | 2 | 3, message: string, options?: ErrorOptions) {
    super(message, options);
    this.exitCode = exitCode;
  }
}

/** The abort reason of a command that SIGINT or SIGTERM has interrupted. */
export class Interrupted extends Error {
  /** The name of the class. */
  override readonly name: string = "Interrupted";

  /** Makes the reason. */
  constructor() {
    super("interrupted");
  }
}

/** The reader of the output has closed it, as `head` does, so the command ends without a message. */
export class OutputClosed extends Error {
  /** The name of the class. */
  override readonly name: string = "OutputClosed";
}

/** What a TLS error means between two devices. */
const TLS_HINTS: Partial<Record<TlsErrorCode, string>> = {
  UNTRUSTED:
    "another device answers there, or the peer has a new identity: check the address, or " +
    'pair the two again with "degu invite" and "degu join"',
  REFUSED_BY_PEER: "the peer does not trust this device any more: pair the two again with " +
    '"degu invite" and "degu join"',
  EXPIRED: "check the clocks of both devices",
  NOT_YET_VALID: "check the clocks of both devices",
  NOT_TLS: "another program answers there: check the address and the port",
};

/** TLS errors that say nothing of this device or its trust: nobody has refused. */
const NOT_REFUSED: readonly TlsErrorCode[] = ["CLOSED", "NOT_TLS"];

/** What to do if the peer hangs up. */
const FORGOTTEN_HINT =
  "it does not trust this device any more, or has just been stopped; if this device is missing in " +
  '"degu peers" there, pair the two again with "degu invite" and "degu join"';

/** What to do if no address answers. */
const UNREACHABLE_HINT =
  'check that "degu serve" runs there, that the two are in one network, and that ' +
  "no firewall is in between; if its address has changed, give the new one with --address, or look for it with --find";

/** What also ends with "no address answers": a host that answers, but with no service that this program could use. */
const NOT_SERVING: readonly (abstract new (...args: never[]) => Error)[] = [
  Deno.errors.ConnectionRefused,
  Deno.errors.ConnectionReset,
  Deno.errors.ConnectionAborted,
];

/** The same for a name without an address. */
const UNKNOWN_NAME: readonly unknown[] = ["ENOTFOUND", "EAI_AGAIN"];

/** The exit code for an error that a command has failed with. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof Failure) return error.exitCode;
  if (error instanceof Interrupted) return INTERRUPTED;
  if (error instanceof TlsError) {
    return NOT_REFUSED.includes(error.code) ? FAILED : REFUSED;
  }
  return error instanceof EmptyPreambleError ? REFUSED : FAILED;
}

/** What to tell the user about an error: what happened, and what to do. */
export function explain(error: unknown): string {
  const path = systemPathOf(error);
  if (path !== null) {
    return `${path} is of the system, and Deno keeps programs away from it: choose another path`;
  }
  const hint = hintOf(error);
  return hint === undefined ? reasonOf(error) : `${reasonOf(error)}; ${hint}`;
}

/** What happened, for a message that doesn't require any action yet. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return plainMessageOf(error);
  if (error instanceof EmptyPreambleError) {
    return "the peer closed the connection without an answer";
  }
  return noAddressAnswers(error) ? `no address answers: ${attemptsOf(error)}` : error.message;
}

/** What to do, unless the error says it. */
function hintOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if (error instanceof TlsError) return TLS_HINTS[error.code];
  if (error instanceof EmptyPreambleError) return FORGOTTEN_HINT;
  if (error instanceof Deno.errors.NotCapable) return "docs/agent.md has the flags of each command";
  return noAddressAnswers(error) ? UNREACHABLE_HINT : undefined;
}

/** The path, in quotes, that Deno lets only programs use which may do everything: in /proc, /sys or /dev. */
function systemPathOf(error: unknown): string | null {
  if (!(error instanceof Deno.errors.NotCapable)) return null;
  return /^Requires all access to (".*"), /s.exec(error.message)?.[1] ?? null;
}

/** Why each address failed, without the library's advice, which is meant for programs. */
function attemptsOf({ message, cause }: Error): string {
  const errors: unknown[] = cause instanceof AggregateError ? cause.errors : [];
  return errors.map(plainMessageOf).join("; ") || message;
}

/** Whether an error means that nothing answers at an address, for whatever reason. */
export function noAddressAnswers(error: unknown): boolean {
  return isUnreachable(error) || NOT_SERVING.some((each) => error instanceof each) ||
    UNKNOWN_NAME.includes(systemCode(error));
}
