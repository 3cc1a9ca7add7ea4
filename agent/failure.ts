/** How commands fail: exit codes, and messages that say what to do next. */

import { EmptyPreambleError, TlsError, type TlsErrorCode } from "../base.ts";
import { isTransient, TransferError, type TransferErrorCode } from "../files.ts";
import { isUnreachable, plainMessageOf, systemCode } from "../net/thrown.ts";

export const FAILED = 1;
export const USAGE = 2;
/** This device, or the other one, is not paired, or the other one has refused. */
export const REFUSED = 3;
export const INTERRUPTED = 130;

/** A command failed; the message says what to do next. */
export class Failure extends Error {
  readonly exitCode: 1 | 2 | 3;

  constructor(message: string, exitCode: 1 | 2 | 3 = FAILED, options?: ErrorOptions) {
    super(message, options);
    this.exitCode = exitCode;
  }
}

/** The abort reason of a command that SIGINT or SIGTERM has interrupted. */
export class Interrupted extends Error {
  override readonly message = "interrupted";
}

/** The reader of the output has closed it, as `head` does, so the command ends without a message. */
export class OutputClosed extends Error {}

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

const FORGOTTEN_HINT =
  "it does not trust this device any more, or has just been stopped; if this device is missing in " +
  '"degu peers" there, pair the two again with "degu invite" and "degu join"';

const UNREACHABLE_HINT =
  'check that "degu serve" runs there, that the two are in one network, and that ' +
  "no firewall is in between; if its address has changed, give the new one with --address, or look for it with --find";

/** What also ends with "no address answers": a host that answers, but with no service that this program could use. */
const NOT_SERVING: readonly (abstract new (...args: never[]) => Error)[] = [
  Deno.errors.ConnectionRefused,
  Deno.errors.ConnectionReset,
  Deno.errors.ConnectionAborted,
];

export function exitCodeOf(error: unknown): number {
  if (error instanceof Failure) return error.exitCode;
  if (error instanceof Interrupted) return INTERRUPTED;
  // These say nothing of this device or its trust: nobody has refused.
  if (error instanceof TlsError) return /^(CLOSED|NOT_TLS)$/.test(error.code) ? FAILED : REFUSED;
  return error instanceof EmptyPreambleError ? REFUSED : FAILED;
}

/** What happened, and what to do. */
export function explain(error: unknown): string {
  const [reason, hint] = read(error);
  return hint === undefined ? reason : `${reason}; ${hint}`;
}

/** What happened, for a message that doesn't require any action yet. */
export function reasonOf(error: unknown): string {
  return read(error)[0];
}

function read(error: unknown): [reason: string, hint?: string | undefined] {
  if (!(error instanceof Error)) return [plainMessageOf(error)];
  if (error instanceof TlsError) return [error.message, TLS_HINTS[error.code]];
  if (error instanceof EmptyPreambleError) {
    return ["the peer closed the connection without an answer", FORGOTTEN_HINT];
  }
  if (error instanceof Deno.errors.NotCapable) {
    const [, path] = /^Requires all access to (".*"), /s.exec(error.message) ?? [];
    // In /proc, /sys or /dev: Deno lets only programs use it that may do everything.
    return path === undefined
      ? [error.message, "docs/agent.md has the flags of each command"]
      : [`${path} is of the system, and Deno keeps programs away from it: choose another path`];
  }
  if (!noAddressAnswers(error)) return [error.message];
  return [`no address answers: ${attemptsOf(error)}`, UNREACHABLE_HINT];
}

/** Why each address failed, without the library's advice, which is meant for programs. */
function attemptsOf({ message, cause }: Error): string {
  const errors: unknown[] = cause instanceof AggregateError ? cause.errors : [];
  return errors.map(plainMessageOf).join("; ") || message;
}

/** Whether an error means that nothing answers at an address, for whatever reason. */
export function noAddressAnswers(error: unknown): boolean {
  return isUnreachable(error) || NOT_SERVING.some((each) => error instanceof each) ||
    /^(ENOTFOUND|EAI_AGAIN)$/.test(`${systemCode(error)}`); // a name without an address
}

/** Why a file is not put: it would replace another one. */
export const ALREADY_THERE = "another file of this name is there: replace it with --force";

const REFUSED_THERE = "the peer refuses it: the name is reserved, or its inbox can't be written";

export type FileAction = "get" | "put" | "delete";

/** What the statuses of the peer mean for what was to be done. */
const PROBLEMS: Readonly<Record<FileAction, Readonly<Record<number, string>>>> = {
  get: {
    403: "the peer may not read it, or its disk does not give it",
    404: "it is not there any more",
  },
  put: {
    400: "it was refused: if it changed while it was sent, run the same command again",
    403: REFUSED_THERE,
    404: "the peer refuses the name, or takes no files any more",
    405: "the peer takes no files any more",
    409:
      "a directory has this name there, a file has that of its directory, or another command is sending it: run the same command again",
    412: ALREADY_THERE,
    413: "it is larger than the peer accepts",
    414: "its path is too long for the peer",
    507:
      "the peer has no space left, or its quota is reached: free some there and run the same command again",
  },
  delete: {
    403: REFUSED_THERE,
    404: "it is not there any more",
    409: "the directory is not empty: remove first what is in it",
  },
};

const IS_OTHER_VERSION = "; is another version of degu running there?";

/** What the other codes mean if a file was to be copied. */
const COPY_PROBLEMS: Partial<Record<TransferErrorCode, string>> = {
  DISK_FULL:
    "this device has no space left, or its quota is reached: free some and run the same command again",
  CHANGED: "it changed while it was copied: run the same command again",
  DIGEST_MISMATCH: "what arrived is not what was sent: run the same command again",
  IN_USE: "another download to the same file is under way: wait for it",
};

/** The advice of the library for programs, and what it means for those who use this one. */
const ADVICE: readonly (readonly [RegExp, string])[] = [
  [/^"(?:[^"\\]|\\.)*"(?:: | (?=can't))/s, ""],
  [/^another file has this name at the target.*/s, ALREADY_THERE],
  [/[;:] (call again with verify: false|the server needs a FilesApp).*/, IS_OTHER_VERSION],
  [/\bcall again\b/g, "run the same command again"],
  [/\bwith delete: true\b/, "with --delete"],
  [/, or leave it out by a filter$/, ""],
];

/** Says why a file could not be moved, and what to do. */
export function explainTransfer(error: unknown, action: FileAction): string {
  if (!(error instanceof TransferError)) return explain(error);
  const { code, message } = error;
  const status = error.status ?? 0;
  if (code !== "STATUS") {
    return (action !== "delete" ? COPY_PROBLEMS[code] : undefined) ??
      ADVICE.reduce((text, [from, to]) => text.replace(from, to), message);
  }
  const problem = PROBLEMS[action][status];
  if (problem !== undefined) return problem;
  const [isGone] = /the directory that is served is not there.*$/.exec(message) ?? [];
  if (isGone !== undefined) return isGone;
  if (status >= 500) {
    return `the peer has a problem of its own (status ${status}): see what "degu serve" prints there`;
  }
  return status >= 300 && status < 400
    ? "it is a directory by now: run the same command again"
    : `the peer has answered with status ${status}${IS_OTHER_VERSION}`;
}

/** Whether after an error the next file would fail as well: the peer can't be reached, or a disk is full. */
export function endsCommand(error: unknown): boolean {
  if (error instanceof TransferError && (error.code === "DISK_FULL" || error.status === 507)) {
    return true;
  }
  return isTransient(error) || error instanceof TlsError || error instanceof EmptyPreambleError;
}
