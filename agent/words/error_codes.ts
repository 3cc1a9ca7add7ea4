import { describeArgumentError, EmptyPreambleError, TlsError } from "@degu/degu/base";
import { TransferError, type TransferErrorCode } from "@degu/degu/files/base";
import { ConnectionError, isTransient, StatusError } from "@degu/degu/client";
import { DeviceError, PairingError, type PairingErrorCode } from "@degu/degu/device";
import { type ErrorCode, EXIT_CODES, Failure, InterruptedError } from "../failure.ts";

export function exitCodeOf(error: unknown): number {
  return EXIT_CODES[codeOf(error)];
}

function isRefusal(error: unknown): boolean {
  // A closed connection, and a response without TLS, are not refusals by a device.
  return error instanceof ConnectionError && error.isRefusal ||
    error instanceof TlsError && error.code !== "CLOSED" && error.code !== "NOT_TLS";
}

const CODES_BY_STATUS: Readonly<Record<number, ErrorCode>> = {
  400: "CHANGED",
  403: "NOT_PERMITTED",
  404: "NOT_FOUND",
  405: "NOT_PERMITTED",
  412: "ALREADY_EXISTS",
  414: "BAD_NAME",
  507: "FULL",
};

const CODES_BY_TRANSFER_CODE: Partial<Record<TransferErrorCode, ErrorCode>> = {
  BAD_NAME: "BAD_NAME",
  CHANGED: "CHANGED",
  DIGEST_MISMATCH: "CHANGED",
  DISK_FULL: "FULL",
  EXISTS: "ALREADY_EXISTS",
  IN_THE_WAY: "ALREADY_EXISTS",
  IN_USE: "IN_USE",
  NO_DELETIONS: "NOT_PERMITTED",
  ONLY_ADDS: "ALREADY_EXISTS",
  OVER_HALF: "ALREADY_EXISTS",
  ROOT_GONE: "NOT_FOUND",
  SAME_NAME: "ALREADY_EXISTS",
  TARGET_CHANGED: "ALREADY_EXISTS",
};

/** Codes that are less specific than the status that the peer has sent. */
const VAGUE_TRANSFER_CODES = new Set<TransferErrorCode>([
  "TARGET_CHANGED",
  "IN_THE_WAY",
  "ONLY_ADDS",
]);

/** All other codes of pairings mean that this device was refused. */
const CODES_BY_PAIRING_CODE: Partial<Record<PairingErrorCode, ErrorCode>> = {
  NOT_AN_INVITATION: "USAGE",
  GARBLED: "USAGE",
  OTHER_VERSION: "USAGE",
  EXPIRED: "USAGE",
  OWN: "USAGE",
  NAME_TAKEN: "USAGE",
  UNREACHABLE: "NO_ADDRESS",
};

const CODES_BY_SYSTEM_CODE: readonly (readonly [system: RegExp, code: ErrorCode])[] = [
  [/^(EACCES|EPERM|EROFS)$/, "NOT_PERMITTED"],
  [/^(ENOSPC|EDQUOT)$/, "FULL"],
  [/^(ENOENT|ENOTDIR)$/, "NOT_FOUND"],
  [/^(EEXIST|ENOTEMPTY)$/, "ALREADY_EXISTS"],
  [/^(ENAMETOOLONG|EILSEQ)$/, "BAD_NAME"],
  [/^(EADDRINUSE|EBUSY|ETXTBSY)$/, "IN_USE"],
];

/** The codes of Linux that decide what a program does, for texts that have only a number. */
const CODES_OF_NUMBERS: Readonly<Record<string, string>> = {
  "23": "ENFILE",
  "24": "EMFILE",
  "122": "EDQUOT",
};

function nameErrorNumber(number: number): string {
  return CODES_OF_NUMBERS[number] ?? `errno ${number}`;
}

export function findSystemCode(text: string): string | undefined {
  const [, number] = /\(os error (\d+)\)/.exec(text) ?? [];
  return number === undefined ? undefined : nameErrorNumber(Number(number));
}

export function errorCodeOf(error: unknown): unknown {
  const { code, errno } = (error ?? {}) as { readonly code?: unknown; readonly errno?: unknown };
  // Errors that `node:fs` has no name for.
  const isUnnamed = code === "UNKNOWN" && typeof errno === "number";
  return isUnnamed ? nameErrorNumber(Math.abs(errno)) : code;
}

export function isTransferError(error: unknown): error is TransferError | StatusError {
  return error instanceof TransferError || error instanceof StatusError;
}

export function hasStatus(error: unknown, status: number): boolean {
  return error instanceof StatusError && error.status === status;
}

export function isLinkRefusal(error: unknown): boolean {
  return error instanceof StatusError && error.headers["refusal-reason"] === "link";
}

const PEER_PROBLEM_CODES: ReadonlySet<TransferErrorCode> = new Set([
  ...["BAD_LIST", "CHANGED", "INCOMPLETE", "ROOT_GONE", "UNEXPECTED_RESPONSE", "UNREADABLE"],
] as TransferErrorCode[]);

/** Returns true if a peer could not read a file, false if this device could not store it. */
export function isPeerProblem(error: unknown): boolean {
  if (error instanceof Failure) return isPeerProblem(error.cause);
  return error instanceof StatusError || error instanceof TransferError &&
      (PEER_PROBLEM_CODES.has(error.code) || error.cause instanceof StatusError);
}

export function isConnectionLost(error: unknown): boolean {
  return !isTransferError(error) && isTransient(error);
}

/** Returns true if the next file would fail with the same error: the peer is unreachable. */
export function isFinalError(error: unknown): boolean {
  // The list of one directory was cut, perhaps because the directory was removed.
  if (error instanceof TransferError && error.code === "BAD_LIST") return false;
  return isTransient(error) || error instanceof ConnectionError;
}

export function codeOf(error: unknown): ErrorCode {
  if (error instanceof Failure) return error.code ?? codeOf(error.cause);
  if (error instanceof InterruptedError) return "INTERRUPTED";
  if (error instanceof PairingError) return CODES_BY_PAIRING_CODE[error.code] ?? "REFUSED";
  if (error instanceof DeviceError && error.code === "FORGOTTEN") return "NOT_PAIRED";
  if (isRefusal(error)) return "REFUSED";
  if (error instanceof StatusError) return CODES_BY_STATUS[error.status] ?? "FAILED";
  if (error instanceof TransferError) {
    const { code, cause } = error;
    const isRefused = cause instanceof StatusError && VAGUE_TRANSFER_CODES.has(code) &&
      !isLinkRefusal(cause);
    const refusedCode = isRefused ? CODES_BY_STATUS[cause.status] : undefined;
    return refusedCode ?? CODES_BY_TRANSFER_CODE[code] ?? codeOf(cause);
  }
  // Any other error of TLS means that another program responds.
  if (error instanceof TlsError || isUnreachable(error)) return "NO_ADDRESS";
  if (error instanceof Deno.errors.NotCapable) return "NOT_PERMITTED";
  const systemCode = `${errorCodeOf(error)}`;
  return CODES_BY_SYSTEM_CODE.find(([pattern]) => pattern.test(systemCode))?.[1] ?? "FAILED";
}

/** Faults of peers that run, and of this program. */
const RESPONDING_FAULTS: ReadonlySet<ConnectionError["fault"]> = new Set([
  "broken",
  "tls",
  "closed",
]);

export function isUnreachable(error: unknown): boolean {
  if (error instanceof DeviceError && error.code === "UNREACHABLE") return true;
  // A peer that closes the connection without a response is running.
  if (error instanceof EmptyPreambleError) return false;
  return error instanceof ConnectionError && !RESPONDING_FAULTS.has(error.fault);
}

const OPTIONS_OF_ARGUMENTS: Readonly<Record<string, string>> = {
  peerName: "as",
  listen: "listen",
  name: "name",
  seconds: "seconds",
  serving: "serving",
};

export function toUsageFailure(error: unknown): unknown {
  const isNameTaken = error instanceof PairingError && error.code === "NAME_TAKEN";
  if (!(error instanceof RangeError || isNameTaken)) return error;
  const { argument = "", problem } = describeArgumentError(error) ?? {};
  const option = OPTIONS_OF_ARGUMENTS[argument];
  const text = option === undefined ? error.message : `--${option}: ${problem}`;
  return new Failure(text, "USAGE", { cause: error });
}
