import {
  type ConnectionErrorDescription,
  connectionErrorDetails,
  type ConnectionFault,
} from "../base/connection_error_details.ts";
import { errorCodeOf, isInstance } from "../internal/caught_errors.ts";

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
    typeof classOrCode === "string" ? code === classOrCode : isInstance(error, classOrCode);
  return SOCKET_FAULTS.find(([, classesAndCodes]) => classesAndCodes.some(matchesError))?.[0] ??
    null;
}

/**
 * Only code that uses a socket may call this function: errors of a network disk have the same
 * classes and codes.
 */
export function markSocketError<T>(
  error: T,
  details: Partial<ConnectionErrorDescription> = {},
): T {
  if (!isInstance(error, Error)) return error;
  const knownDetails = connectionErrorDetails.get(error);
  const fault = details.fault ?? knownDetails?.fault ?? socketFaultOf(error) ?? undefined;
  return connectionErrorDetails.set(error, { ...knownDetails, ...details, fault });
}

/**
 * Describes the error of a connection that could not be made, or that ended too early: what
 * happened, and where. The error comes from a connection of this package or of another copy of this
 * package: the details are a property that isn't enumerable, `Symbol.for("degu.connection")`. An
 * error of a disk, or of a socket that your program uses itself, has no description, because errors
 * of both have the same classes.
 *
 * - A `TlsError` `"CLOSED"`, an `EmptyPreambleError` and a `ProtocolError` `"BODY_INCOMPLETE"` or
 *   `"PREAMBLE_INCOMPLETE"` are `"broken"`, or `"reset"` if the peer has reset the connection.
 * - A `ConnectionClosedError` `"CLOSED"` has the description of the error that closed the
 *   connection. If the server's last response had `connection: close`, the fault is `"broken"`.
 * - A `DeviceError` `"UNREACHABLE"` has the description of the most informative attempt; its
 *   `cause` is an `AggregateError` of all attempts.
 *
 * @param error A thrown value.
 * @returns `null` if the connection isn't the reason: for the error of a status, for an error of
 * TLS or of the peer's bytes that isn't listed above, and for the reason of your own signal.
 *
 * @example
 * ```ts
 * import { Client, describeConnectionError } from "@degu/degu";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const client = new Client(["127.0.0.1", 1]); // no server listens at this port
 * const error = await assertRejects(() => client.request("GET", "/"));
 * const { fault, address, isConnecting } = describeConnectionError(error)!;
 * assertEquals([fault, address, isConnecting], ["refused", ["127.0.0.1", 1], true]);
 * ```
 */
export function describeConnectionError(error: unknown): ConnectionErrorDescription | null {
  const details = connectionErrorDetails.copyOf(error);
  if (details.fault === undefined) return null;
  return {
    fault: details.fault,
    address: details.address ?? null,
    isConnecting: details.isConnecting ?? false,
    silentSeconds: details.silentSeconds ?? null,
    unreadSeconds: details.unreadSeconds ?? null,
    missingBytes: details.missingBytes ?? null,
    waitedSeconds: details.waitedSeconds ?? null,
  };
}
