import {
  describeArgumentError,
  EmptyPreambleError,
  TlsError,
  TransferError,
  type TransferErrorCode,
} from "@degu/degu/base";
import { describeConnectionError, isTransient, StatusError } from "@degu/degu/client";
import { DeviceError, PairingError, type PairingErrorCode } from "@degu/degu/device";
import { ERROR_CODES, type ErrorCode, Failure, InterruptedError } from "./failed_command.ts";

export {
  ERROR_CODES,
  type ErrorCode,
  FAILED,
  Failure,
  type FailureOptions,
  INTERRUPTED,
  InterruptedError,
  REFUSED,
} from "./failed_command.ts";

/** A later search may find an address. */
export class NoAddressFailure extends Failure {}

export function exitCodeOf(error: unknown): number {
  return ERROR_CODES[codeOf(error)];
}

/**
 * Returns true if the peer has closed the connection without a response, but not at once: all its
 * connections may be in use.
 */
export function isLateClose(error: EmptyPreambleError): boolean {
  return (describeConnectionError(error)?.waitedSeconds ?? null) !== null;
}

function isRefusal(error: unknown): boolean {
  // A closed connection, and a response without TLS, are not refusals by a device.
  return error instanceof EmptyPreambleError && !isLateClose(error) ||
    error instanceof TlsError && error.code !== "CLOSED" && error.code !== "NOT_TLS";
}

const STATUS_CODES: Readonly<Record<number, ErrorCode>> = {
  ...{ 400: "CHANGED", 403: "NOT_PERMITTED", 404: "NOT_THERE", 405: "NOT_PERMITTED" },
  ...{ 412: "ALREADY_THERE", 414: "BAD_NAME", 507: "FULL" },
};

const TRANSFER_CODES: Partial<Record<TransferErrorCode, ErrorCode>> = {
  ...{ CHANGED: "CHANGED", DIGEST_MISMATCH: "CHANGED", DISK_FULL: "FULL", ROOT_GONE: "NOT_THERE" },
  ...{ EXISTS: "ALREADY_THERE", TARGET_CHANGED: "ALREADY_THERE", IN_THE_WAY: "ALREADY_THERE" },
  ...{ BAD_NAME: "BAD_NAME", IN_USE: "IN_USE", NO_DELETIONS: "NOT_PERMITTED" },
  ...{ SAME_NAME: "ALREADY_THERE", ONLY_ADDS: "ALREADY_THERE", OVER_LIMIT: "ALREADY_THERE" },
};

/** The codes of transfers for which the status of the peer is more specific. */
const REFUSED_CODES: ReadonlySet<TransferErrorCode> = new Set([
  ...["TARGET_CHANGED", "IN_THE_WAY", "ONLY_ADDS"] as const,
]);

/** The codes of failed pairings; all others mean that this device was refused. */
const PAIRING_CODES: Partial<Record<PairingErrorCode, ErrorCode>> = {
  ...{ NOT_A_LINE: "USAGE", GARBLED: "USAGE", OTHER_VERSION: "USAGE", EXPIRED: "USAGE" },
  ...{ OWN: "USAGE", NAME_TAKEN: "USAGE", UNREACHABLE: "NO_ADDRESS" },
};

const SYSTEM_CODES: readonly (readonly [system: RegExp, code: ErrorCode])[] = [
  [/^(EACCES|EPERM|EROFS)$/, "NOT_PERMITTED"],
  [/^(ENOSPC|EDQUOT)$/, "FULL"],
  [/^(ENOENT|ENOTDIR)$/, "NOT_THERE"],
  [/^(EEXIST|ENOTEMPTY)$/, "ALREADY_THERE"],
  [/^(ENAMETOOLONG|EILSEQ)$/, "BAD_NAME"],
  [/^(EBUSY|ETXTBSY)$/, "IN_USE"],
];

/** Returns the `code` of an error of the system or the library: `"ENOSPC"`, `"UNTRUSTED"`. */
export function errorCodeOf(error: unknown): unknown {
  return (error as { readonly code?: unknown } | null | undefined)?.code;
}

/** Returns true if a transfer has failed for a reason other than its connection or an argument. */
export function isTransferError(error: unknown): error is TransferError | StatusError {
  return error instanceof TransferError || error instanceof StatusError;
}

export function hasStatus(error: unknown, status: number): boolean {
  return error instanceof StatusError && error.status === status;
}

export function isConnectionLost(error: unknown): boolean {
  return !isTransferError(error) && isTransient(error);
}

export function codeOf(error: unknown): ErrorCode {
  if (error instanceof Failure) return error.code ?? codeOf(error.cause);
  if (error instanceof InterruptedError) return "INTERRUPTED";
  if (error instanceof PairingError) return PAIRING_CODES[error.code] ?? "REFUSED";
  if (error instanceof DeviceError && error.code === "FORGOTTEN") return "NOT_PAIRED";
  if (isRefusal(error)) return "REFUSED";
  if (error instanceof StatusError) return STATUS_CODES[error.status] ?? "FAILED";
  if (error instanceof TransferError) {
    const { code, cause } = error;
    const isRefused = cause instanceof StatusError && REFUSED_CODES.has(code);
    const refusedCode = isRefused ? STATUS_CODES[cause.status] : undefined;
    return refusedCode ?? TRANSFER_CODES[code] ?? codeOf(cause);
  }
  // Any other error of TLS means that another program responds.
  if (error instanceof TlsError || isUnreachable(error)) return "NO_ADDRESS";
  if (error instanceof Deno.errors.NotCapable) return "NOT_PERMITTED";
  const systemCode = `${errorCodeOf(error)}`;
  return SYSTEM_CODES.find(([pattern]) => pattern.test(systemCode))?.[1] ?? "FAILED";
}

export function isUnreachable(error: unknown): boolean {
  if (error instanceof DeviceError && error.code === "UNREACHABLE") return true;
  // A peer that closes the connection without a response is running.
  if (error instanceof EmptyPreambleError) return false;
  const description = describeConnectionError(error);
  return description !== null && description.fault !== "broken";
}

export function isPeerOffline(error: unknown): boolean {
  return isUnreachable(error) || error instanceof NoAddressFailure;
}

const LOST_PEER_CODES: ReadonlySet<ErrorCode> = new Set(["NO_ADDRESS", "NOT_PAIRED", "REFUSED"]);

export function isErrorOfOnePeer(error: unknown): boolean {
  return error instanceof Failure || LOST_PEER_CODES.has(codeOf(error));
}

const OPTIONS_OF_ARGUMENTS: Readonly<Record<string, string>> = {
  ...{ peerName: "as", listen: "listen", name: "name", seconds: "seconds", serving: "serving" },
};

/**
 * Converts the library's error about an argument to a failure that names the option; returns any
 * other error unchanged.
 */
export function toUsageFailure(error: unknown): unknown {
  const isName = error instanceof PairingError && error.code === "NAME_TAKEN";
  if (!(error instanceof RangeError || isName)) return error;
  const { argument = "", problem } = describeArgumentError(error) ?? {};
  const option = OPTIONS_OF_ARGUMENTS[argument];
  const text = option === undefined ? error.message : `--${option}: ${problem}`;
  return new Failure(text, "USAGE", { cause: error });
}
