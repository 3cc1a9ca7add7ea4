/** Failures of commands: exit codes, and messages that say what to do next. */

import { dirname } from "node:path";
import { EmptyPreambleError, TlsError, type TlsErrorCode } from "../../base.ts";
import { DeviceError, PairingError, type PairingErrorCode } from "../../device.ts";
import { isTransient, StatusError, TransferError, type TransferErrorCode } from "../../files.ts";
import { isReservedName } from "../files/reserved.ts";
import { isUnreachable, plainMessageOf, systemCode } from "../../net/thrown.ts";
import { HOSTS, mayUseMdns } from "./mdns_links.ts";
import { formatBytes } from "./output.ts";

export const FAILED = 1;
export const USAGE = 2;
/** A device is not paired with the other one, or the other one has refused. */
export const REFUSED = 3;
export const INTERRUPTED = 130;

/** The codes of errors for programs, with the exit code of a command that ends with one. */
export const ERROR_CODES = {
  USAGE,
  NOT_PAIRED: REFUSED,
  REFUSED,
  NO_ADDRESS: FAILED,
  NOT_THERE: FAILED,
  ALREADY_THERE: FAILED,
  NOT_PERMITTED: FAILED,
  FULL: FAILED,
  CHANGED: FAILED,
  FAILED,
  INTERRUPTED,
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

interface FailureOptions extends ErrorOptions {
  /** The code; if left out, that of the exit code or of the cause. */
  readonly code?: ErrorCode;
  readonly path?: string | undefined;
  readonly peer?: string | undefined;
}

/** A command failed; the message says what to do next. */
export class Failure extends Error {
  readonly exitCode: 1 | 2 | 3;
  readonly code: ErrorCode;
  readonly path: string | undefined;
  readonly peer: string | undefined;

  constructor(message: string, exitCode: 1 | 2 | 3 = FAILED, options: FailureOptions = {}) {
    super(message, options);
    this.exitCode = exitCode;
    const { code, path, peer } = options;
    const byExitCode = exitCode === USAGE ? "USAGE" : exitCode === REFUSED ? "REFUSED" : null;
    this.code = code ?? byExitCode ?? codeOf(options.cause);
    this.path = path;
    this.peer = peer;
  }
}

/** No address of a peer is known; a search may find one later. */
export class NoAddress extends Failure {}

/** The abort reason of a command that SIGINT or SIGTERM has interrupted. */
export class Interrupted extends Error {
  override readonly message = "interrupted";
}

const TLS_HINTS: Partial<Record<TlsErrorCode, string>> = {
  UNTRUSTED:
    "another device answers there, or the peer has a new identity: check the address, or " +
    'pair the two again with "degu pair"',
  REFUSED_BY_PEER: "the peer does not trust this device any more: pair the two again with " +
    '"degu pair"',
  EXPIRED: "check the clocks of both devices",
  NOT_YET_VALID: "check the clocks of both devices",
  NOT_TLS: "another program answers there: check the address and the port",
};

const FORGOTTEN_HINT =
  "it does not trust this device any more, or has just been stopped; if this device is missing in " +
  '"degu peers" there, pair the two again with "degu pair"';

const UNREACHABLE_HINT =
  'check that "degu serve" runs there, that the two are in one network, and that ' +
  "no firewall is in between; if its address has changed, give the new one with --address";

/** What is said where a peer could not be looked for. */
const NOT_LOOKED_FOR = `, or let it be looked for, with --allow-net=${
  HOSTS.join(",")
} --allow-sys=networkInterfaces`;

const HANGING_HINT = 'it may be busy, or hang: try again later, or start "degu serve" anew there';

/**
 * Errors that, beside the unreachable ones, mean "no address answers": the host answers, but
 * nothing there is a service for this program.
 */
const NOT_SERVING: readonly (abstract new (...args: never[]) => Error)[] = [
  Deno.errors.ConnectionRefused,
  Deno.errors.ConnectionReset,
  Deno.errors.ConnectionAborted,
];

export function exitCodeOf(error: unknown): number {
  if (error instanceof Failure) return error.exitCode;
  if (error instanceof Interrupted) return INTERRUPTED;
  if (error instanceof PairingError) return ERROR_CODES[codeOf(error)];
  // A closed connection and an answer without TLS say nothing about trust: no device has refused.
  if (error instanceof TlsError) return /^(CLOSED|NOT_TLS)$/.test(error.code) ? FAILED : REFUSED;
  return error instanceof EmptyPreambleError || isForgotten(error) ? REFUSED : FAILED;
}

/** Whether this device has forgotten the peer while the command ran. */
function isForgotten(error: unknown): boolean {
  return error instanceof DeviceError && error.code === "FORGOTTEN";
}

/** The codes of the statuses of a peer. */
const STATUS_CODES: Readonly<Record<number, ErrorCode>> = {
  ...{ 400: "CHANGED", 403: "NOT_PERMITTED", 404: "NOT_THERE", 405: "NOT_PERMITTED" },
  ...{ 412: "ALREADY_THERE", 507: "FULL" },
};

/** The codes of other failed transfers. */
const TRANSFER_CODES: Partial<Record<TransferErrorCode, ErrorCode>> = {
  ...{ CHANGED: "CHANGED", DIGEST_MISMATCH: "CHANGED", DISK_FULL: "FULL" },
  CONFLICT: "ALREADY_THERE",
};

/** The codes of failed pairings; all others mean that this device was refused. */
const PAIRING_CODES: Partial<Record<PairingErrorCode, ErrorCode>> = {
  ...{ NOT_A_LINE: "USAGE", GARBLED: "USAGE", OLDER: "USAGE", NEWER: "USAGE", EXPIRED: "USAGE" },
  ...{ OWN: "USAGE", NAME_TAKEN: "USAGE", UNREACHABLE: "NO_ADDRESS" },
};

/** The codes of errors of the system. */
const SYSTEM_CODES: readonly (readonly [system: RegExp, code: ErrorCode])[] = [
  [/^(EACCES|EPERM|EROFS)$/, "NOT_PERMITTED"],
  [/^(ENOSPC|EDQUOT)$/, "FULL"],
  [/^(ENOENT|ENOTDIR)$/, "NOT_THERE"],
  [/^(EEXIST|ENOTEMPTY)$/, "ALREADY_THERE"],
];

/** The code of an error, for programs. */
export function codeOf(error: unknown): ErrorCode {
  if (error instanceof Failure) return error.code;
  if (error instanceof Interrupted) return "INTERRUPTED";
  if (error instanceof PairingError) return PAIRING_CODES[error.code] ?? "REFUSED";
  if (isForgotten(error)) return "NOT_PAIRED";
  if (exitCodeOf(error) === REFUSED) return "REFUSED";
  if (error instanceof StatusError) {
    return isDirectoryGone(error) ? "NOT_THERE" : STATUS_CODES[error.status] ?? "FAILED";
  }
  if (error instanceof TransferError) return TRANSFER_CODES[error.code] ?? codeOf(error.cause);
  // A refusal was returned above: here an error of TLS means that no service for this program
  // answers.
  if (error instanceof TlsError || noAddressAnswers(error)) return "NO_ADDRESS";
  if (error instanceof Deno.errors.NotCapable) return "NOT_PERMITTED";
  if (isAlreadyThere(error)) return "ALREADY_THERE";
  const system = `${systemCode(error)}`;
  return SYSTEM_CODES.find(([each]) => each.test(system))?.[1] ?? "FAILED";
}

/** An error as `--json` prints it; without a peer of its own it is about `peer`. */
export function errorObject(error: unknown, peer: string | undefined): Record<string, unknown> {
  const { path, peer: own }: FailureOptions = error instanceof Failure ? error : {};
  // A failure with a path names the peer of the path; without a peer, the path is on this device.
  const about = own ?? (path === undefined ? peer : undefined);
  return { code: codeOf(error), message: explain(error), path, peer: about };
}

/** The reason for an error, with advice. */
export function explain(error: unknown): string {
  const [reason, hint] = reasonAndHint(error);
  return hint === undefined ? reason : `${reason}; ${hint}`;
}

/** The reason for an error, for a message that doesn't require any action yet. */
export function reasonOf(error: unknown): string {
  return reasonAndHint(error)[0];
}

function reasonAndHint(error: unknown): [reason: string, hint?: string | undefined] {
  if (!(error instanceof Error)) return [plainMessageOf(error)];
  if (error instanceof TlsError) return [error.message, TLS_HINTS[error.code]];
  if (error instanceof EmptyPreambleError) {
    return ["the peer closed the connection without an answer", FORGOTTEN_HINT];
  }
  if (error instanceof Deno.errors.NotCapable) {
    const [, path] = /^Requires all access to (".*"), /s.exec(error.message) ?? [];
    // In /proc, /sys and /dev, Deno admits only programs with all permissions.
    return path === undefined
      ? [error.message, "docs/permissions.md has the flags of each command"]
      : [`${path} is of the system, and Deno keeps programs away from it: choose another path`];
  }
  if (noAddressAnswers(error)) {
    const attempts = attemptsOf(error);
    const reasons = attempts.map(attemptProblem).join("; ");
    // A peer that hangs is connected: its kernel accepts, but its program sends nothing.
    const hangs = (each: unknown) => each instanceof Deno.errors.TimedOut && !isConnecting(each);
    return attempts.some(hangs) ? [`the peer does not answer: ${reasons}`, HANGING_HINT] : [
      `no address answers: ${reasons}`,
      attempts.some(isNoName)
        ? NO_NAME_HINT
        : `${UNREACHABLE_HINT}${mayUseMdns() ? "" : NOT_LOOKED_FOR}`,
    ];
  }
  const { message } = error;
  if (isDirectoryGone(error)) return [DIRECTORY_GONE];
  if (isAlreadyThere(error)) return [ALREADY_THERE];
  const problem = systemProblem(message, systemCode(error));
  return problem ?? [message.replace(/^file: .*?: (?=\/)/s, "")];
}

/** Whether a download was not to replace what has the name, perhaps a link to nothing. */
function isAlreadyThere(error: unknown): boolean {
  return error instanceof Deno.errors.AlreadyExists && systemCode(error) === undefined;
}

const DIRECTORY_GONE =
  "the directory that the peer serves is not there: is its disk mounted there?";

function isDirectoryGone(error: Error): boolean {
  return hasStatus(error, 503) &&
    error.message.includes("the directory that is served is not there");
}

function isConnecting({ message }: Error): boolean {
  return message.startsWith("connect");
}

const NO_NAME_HINT =
  "check the name, and that this device is in a network, or give an IP address with --address";

/** What the library says of a name that can't be looked up. */
const NO_NAME = /^can't connect to (.*):\d+: the name can't be looked up/s;

function attemptProblem(error: unknown): string {
  const message = plainMessageOf(error);
  const [, name] = isNoName(error) ? NO_NAME.exec(message) ?? [] : [];
  return name === undefined ? message : `the name ${name} can't be looked up`;
}

function isNoName(error: unknown): boolean {
  return /^(ENOTFOUND|EAI_AGAIN)$/.test(`${systemCode(error)}`);
}

/** The errors of all addresses, without the library's advice, which is meant for programs. */
function attemptsOf(error: Error): readonly unknown[] {
  const { cause } = error;
  const errors: unknown[] = cause instanceof AggregateError ? cause.errors : [];
  return errors.length > 0 ? errors : [error];
}

// Errors of the system, in words for people.

/**
 * Errors of the file system, as Deno and Node's modules write them:
 * `Permission denied (os error 13): stat '/x'`, `EACCES: permission denied, open '/x'`.
 */
const SYSTEM_ERROR =
  /(?:\b[A-Z]\w+: )?(?:\b[^:]* \(os error (\d+)\)|\b(E[A-Z]+): [^,]*)[:,] (\w+) '(.*?)'(?: -> '(.*)')?$/s;

/** The codes of Linux by their numbers, for lines of the log without a code. */
const CODES: Readonly<Record<string, string>> = {
  ...{ 1: "EPERM", 2: "ENOENT", 5: "EIO", 6: "ENXIO", 13: "EACCES", 16: "EBUSY", 17: "EEXIST" },
  ...{ 20: "ENOTDIR", 21: "EISDIR", 23: "ENFILE", 24: "EMFILE", 26: "ETXTBSY", 28: "ENOSPC" },
  ...{ 30: "EROFS", 36: "ENAMETOOLONG", 40: "ELOOP", 74: "EBADMSG", 116: "ESTALE" },
  ...{ 117: "EUCLEAN", 121: "EREMOTEIO", 122: "EDQUOT" },
};

/** Problems and advice, by the code of the system. */
const PATH_PROBLEMS: readonly (readonly [codes: RegExp, problem: string, advice: string])[] = [
  [
    /^(EACCES|EPERM)$/,
    "USER may not DO PATH",
    "change the permissions there, or run degu as a user who may",
  ],
  [
    /^EROFS$/,
    "PATH is on a disk that is read-only",
    "choose another place, or mount it for writing",
  ],
  [/^(ENOSPC|EDQUOT)$/, "there is no space left for PATH, or a quota is reached", "free some"],
  [/^ENOENT$/, "PATH is not there", "check the name, and whether its disk is mounted"],
  [/^ENOTDIR$/, "PATH leads through a file", "name a directory"],
  [/^EISDIR$/, "PATH is a directory", "name a file"],
  [/^(EEXIST|ENOTEMPTY)$/, "something is at PATH already", "choose another name"],
  [/^ELOOP$/, "the links of PATH lead in a circle", "mend them, or name what they were to lead to"],
  [/^ENAMETOOLONG$/, "the name PATH is too long for its disk", "choose a shorter one"],
  [/^(EBUSY|ETXTBSY)$/, "PATH is in use", "end the program that uses it, or try again later"],
  [/^(EMFILE|ENFILE)$/, "too many files are open", 'end other programs, or raise "ulimit -n"'],
  [
    /^(EIO|EBADMSG|EUCLEAN|ESTALE|EREMOTEIO|ENXIO)$/,
    "the disk does not give PATH (CODE)",
    "see what the log of the system says of the disk",
  ],
];

/** Operations that change the disk, so a denied one is a denied "write". */
const WRITES =
  /^(mkdir|rename|remove|unlink|rmdir|write|f?truncate|chmod|f?utime|symlink|link|copy|copyfile)$/;

/**
 * Names the user, the operation and the path, and gives advice; `null` for a text without a path.
 */
function systemProblem(text: string, given: unknown): [reason: string, hint: string] | null {
  const [, number = "", named, operation = "", from, to] = SYSTEM_ERROR.exec(text) ?? [];
  const path = to ?? from;
  if (path === undefined) return null;
  const code = named ?? (typeof given === "string" ? given : CODES[number] ?? "");
  const [, problem, advice] = PATH_PROBLEMS.find(([codes]) => codes.test(code)) ?? [];
  if (problem === undefined || advice === undefined) return null;
  // A reserved name means nothing to people, so the directory around it is named.
  const names = path.split("/");
  const reserved = names.findIndex(isReservedName);
  const shown = reserved < 0 ? path : names.slice(0, reserved).join("/") || dirname(path);
  const verb = reserved >= 0 || WRITES.test(operation)
    ? "write"
    : operation === "open"
    ? "open"
    : "read";
  const words = { USER: userName(), DO: verb, PATH: JSON.stringify(shown), CODE: code };
  return [
    problem.replace(/USER|DO|PATH|CODE/g, (word) => words[word as keyof typeof words]),
    advice,
  ];
}

/** Names the user of this process: by the uid if Deno permits to ask for it. */
export function userName(): string {
  const permission = { name: "sys", kind: "uid" } as const;
  const isKnown = Deno.build.os !== "windows" &&
    Deno.permissions.querySync(permission).state === "granted";
  return isKnown ? `the user with the uid ${Deno.uid()}` : "this user";
}

/**
 * Rewrites a line of the library's log for people: in the same words if it ends with an error of
 * the system, and with what to do here.
 */
export function explainLine(line: string): string {
  const problem = systemProblem(line, undefined);
  return problem === null
    ? inUnits(line.replace("invite again, or use the line", "run the same command again"))
    : `${line.replace(SYSTEM_ERROR, "")}${problem.join("; ")}`;
}

/** Whether an error means that nothing answers at an address, for whatever reason. */
function noAddressAnswers(error: unknown): boolean {
  return error instanceof DeviceError && error.code === "UNREACHABLE" || isUnreachable(error) ||
    NOT_SERVING.some((each) => error instanceof each);
}

/** Whether a peer is off, or not where it is looked for. */
export function isAway(error: unknown): boolean {
  return noAddressAnswers(error) || error instanceof NoAddress;
}

/** The advice for a path with unexpanded wildcards; `null` for any other path. */
export function wildcardHint(path: string): string | null {
  return /[*?[]/.test(path)
    ? "there are no wildcards: name each file, or a directory with -r"
    : null;
}

/** The reason why a file is not put in the place of another file. */
const CHANGED_THERE =
  "what is there changed meanwhile, and stays: look at it, and run the same command again";

export const ALREADY_THERE = "another file of this name is there: replace it with --force";

/** A reserved name is never the reason: see {@linkcode checkNotReserved}. */
const REFUSED_THERE = 'the peer may not write there: see what "degu serve" prints on it';

/** Refuses a path with a reserved name, at which nothing can be put or removed. */
export function checkNotReserved(names: readonly string[], shown: string): void {
  const reserved = names.find(isReservedName);
  if (reserved === undefined) return;
  throw new Failure(
    `${JSON.stringify(shown)}: the name ${
      JSON.stringify(reserved)
    } is reserved for unfinished files: ` +
      "choose another one",
  );
}

export type FileAction = "get" | "put" | "delete";

/** The meanings of the peer's statuses, by action. */
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
      "a directory has this name there, a file has that of its directory, or another command is sending it: look there, then run the same command again",
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
    412: CHANGED_THERE,
  },
};

const IS_OTHER_VERSION = "; is another version of degu running there?";

/** The meanings of the other codes, for a file that is copied. */
const COPY_PROBLEMS: Partial<Record<TransferErrorCode, string>> = {
  CHANGED: "it changed while it was copied: run the same command again",
  DIGEST_MISMATCH: "what arrived is not what was sent: run the same command again",
};

/** Advice that the library gives to programs, and its replacement for people. */
const ADVICE: readonly (readonly [RegExp, string])[] = [
  [/^"(?:[^"\\]|\\.)*"(?:: | (?=can't))/s, ""],
  // The path of the target is left out: the message goes on with that of the unfinished file.
  [/^.*?: (?=another download to the same file is in progress)/s, ""],
  [/^another file has this name at the target.*/s, ALREADY_THERE],
  [/[;:] (it needs a FilesApp$|the server needs a FilesApp.*)/, IS_OTHER_VERSION],
  [/\bcall again\b/g, "run the same command again"],
  [/\bwith delete: true\b/, "with --delete"],
  [
    /\bmaxDelete (\d+) allows/,
    "--max-delete $1 allows; look at them with --dry-run, without --max-delete, then raise it",
  ],
  [/, or leave it out by a filter$/, ""],
];

/** Writes the figures of a message on space for people. */
function inUnits(text: string): string {
  return text.replace(
    /(\d+)(?: bytes)?(?= are (?:needed|free))/g,
    (_whole, bytes) => formatBytes(Number(bytes)),
  );
}

/** Whether a transfer failed by itself: neither the connection nor an argument is the reason. */
export function isOfTransfer(error: unknown): error is TransferError | StatusError {
  return error instanceof TransferError || error instanceof StatusError;
}

/** Whether the peer answered with a status. */
export function hasStatus(error: unknown, status: number): boolean {
  return error instanceof StatusError && error.status === status;
}

/** The reason why a file could not be copied or removed, with advice. */
export function explainTransfer(error: unknown, action: FileAction): string {
  if (error instanceof TransferError) {
    return (action !== "delete" ? COPY_PROBLEMS[error.code] : undefined) ??
      inUnits(ADVICE.reduce((text, [from, to]) => text.replace(from, to), error.message));
  }
  if (!(error instanceof StatusError)) return explain(error);
  const { message, status, needed } = error;
  if (needed !== null) {
    const space = `the peer has too little space for the ${
      formatBytes(needed)
    } that are left to send`;
    return `${space}: free some there and run the same command again`;
  }
  // With --force, too, a file is replaced only as it was seen.
  if (status === 412 && message.includes("changed meanwhile")) return CHANGED_THERE;
  const problem = PROBLEMS[action][status];
  if (problem !== undefined) return problem;
  if (isDirectoryGone(error)) return DIRECTORY_GONE;
  if (status >= 500) {
    return `the peer has a problem of its own (status ${status}): see what "degu serve" prints there`;
  }
  return status >= 300 && status < 400
    ? "it is a directory by now: run the same command again"
    : `the peer has answered with status ${status}${IS_OTHER_VERSION}`;
}

/**
 * Whether the next file would fail with the same error, because the peer can't be reached or a disk
 * is full. A file that is larger than the free space fails alone.
 */
export function endsCommand(error: unknown): boolean {
  if (
    error instanceof TransferError && error.code === "DISK_FULL" ||
    error instanceof StatusError && error.status === 507
  ) return error.needed === null;
  return isTransient(error) || error instanceof TlsError || error instanceof EmptyPreambleError;
}
