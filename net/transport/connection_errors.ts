import {
  type ConnectionErrorDetails,
  connectionErrorDetails,
  type ConnectionFault,
  describeConnectionError,
} from "../../base/connection_error_details.ts";
import { errorCodeOf } from "../../internal/caught_errors.ts";

type ErrorClass = abstract new (...args: never[]) => Error;

const { errors } = Deno;

const SOCKET_FAULTS: readonly (readonly [ConnectionFault, readonly (ErrorClass | string)[]])[] = [
  ["refused", [errors.ConnectionRefused]],
  ["reset", [errors.ConnectionReset, errors.ConnectionAborted, errors.BrokenPipe]],
  ["broken", [errors.NotConnected, errors.UnexpectedEof, "ENETRESET"]],
  ["timed out", [errors.TimedOut]],
  [
    "unreachable",
    [errors.NetworkUnreachable, errors.AddrNotAvailable, "EHOSTUNREACH", "EHOSTDOWN", "ENETDOWN"],
  ],
];

function socketFaultOf(error: unknown): ConnectionFault | null {
  const code = errorCodeOf(error);
  const matchesError = (classOrCode: ErrorClass | string) =>
    typeof classOrCode === "string" ? code === classOrCode : error instanceof classOrCode;
  return SOCKET_FAULTS.find(([, classesAndCodes]) => classesAndCodes.some(matchesError))?.[0] ??
    null;
}

/**
 * Only code that uses a socket may call this function: errors of a network disk have the same
 * classes and codes.
 */
export function markSocketError<T>(
  error: T,
  details: ConnectionErrorDetails = {},
): T {
  if (!(error instanceof Error)) return error;
  const knownDetails = connectionErrorDetails.get(error);
  const fault = details.fault ?? knownDetails?.fault ?? socketFaultOf(error) ?? undefined;
  return connectionErrorDetails.set(error, { ...knownDetails, ...details, fault });
}

export function isResetError(error: unknown): boolean {
  return describeConnectionError(error)?.fault === "reset";
}
