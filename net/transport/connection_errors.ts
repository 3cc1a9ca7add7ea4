import { ConnectionError, DeguError } from "../../base/errors.ts";
import { errorCodeOf, propertyOf } from "../../internal/caught_errors.ts";

type ErrorClass = abstract new (...args: never[]) => Error;
type Fault = ConnectionError["fault"];

const { errors } = Deno;

/** Errors of `node:` have codes, those of rustls only classes, and those of Deno's sockets both. */
const SOCKET_FAULTS: readonly (readonly [Fault, readonly (ErrorClass | string)[]])[] = [
  ["refused", [errors.ConnectionRefused, "ECONNREFUSED"]],
  ["reset", [errors.ConnectionReset, errors.ConnectionAborted, errors.BrokenPipe]],
  ["reset", ["ECONNRESET", "ECONNABORTED", "EPIPE"]],
  ["reset", ["ERR_STREAM_DESTROYED", "ERR_STREAM_WRITE_AFTER_END"]],
  ["broken", [errors.NotConnected, errors.UnexpectedEof, "ENOTCONN", "ENETRESET"]],
  ["timed out", [errors.TimedOut, "ETIMEDOUT"]],
  ["unreachable", [errors.NetworkUnreachable, errors.AddrNotAvailable, "EADDRNOTAVAIL"]],
  ["unreachable", ["ENETUNREACH", "EHOSTUNREACH", "EHOSTDOWN", "ENETDOWN"]],
];

function socketFaultOf(error: Error): Fault | null {
  const code = errorCodeOf(error);
  const isError = (classOrCode: ErrorClass | string) =>
    typeof classOrCode === "string" ? code === classOrCode : error instanceof classOrCode;
  return SOCKET_FAULTS.find(([, kinds]) => kinds.some(isError))?.[0] ?? null;
}

/**
 * Makes the error of a connection from an error of its socket. Returns any other error unchanged.
 * Only code that uses a socket may call this function: errors of a network disk have the same
 * classes and codes.
 */
export function toConnectionError(
  error: unknown,
  { message, ...fields }:
    & { readonly message?: string }
    & Partial<Pick<ConnectionError, "address" | "isConnecting" | "fault">> = {},
): unknown {
  if (!(error instanceof Error) || error instanceof DeguError) return error;
  const fault = fields.fault ?? socketFaultOf(error);
  if (fault === null) return error;
  const code = errorCodeOf(error);
  return new ConnectionError(message ?? error.message, {
    ...fields,
    fault,
    code: typeof code === "string" ? code : null,
    cause: error,
  });
}

/** The message of Deno for a name without an address: the error has neither a class nor a code. */
const LOOKUP_MESSAGE = /^failed to lookup address information/;

/** Reports whether no address was found for a host name. */
export function isLookupError(error: unknown): boolean {
  return error instanceof Error &&
    (propertyOf(error, "syscall") === "getaddrinfo" || LOOKUP_MESSAGE.test(error.message));
}

export function isResetError(error: unknown): boolean {
  return error instanceof ConnectionError && error.fault === "reset";
}

/** Whether the system has reported a reset, and not only that the connection has ended. */
export function isResetBySystem(error: unknown): boolean {
  return error instanceof errors.ConnectionReset || errorCodeOf(error) === "ECONNRESET";
}
