/**
 * Thrown values as text, and errors of the system: rewording, codes, and what they say
 * of a connection.
 */

const UNSHOWABLE = "a value that can't be shown";

/**
 * Formats a thrown value, which can be anything, even an object that can't be converted to text.
 */
function shown(show: () => string): string {
  try {
    return show();
  } catch {
    return UNSHOWABLE;
  }
}

/** The name and message of a thrown value. */
export function messageOf(error: unknown): string {
  return shown(() => error instanceof Error ? `${error.name}: ${error.message}` : `${error}`);
}

/**
 * The name, message and stack of a thrown value. A stack takes longer to make than most requests.
 */
export function stackOf(error: unknown): string {
  return shown(() =>
    error instanceof Error ? `${error.stack ?? messageOf(error)}` : Deno.inspect(error)
  );
}

/** The message alone, for people: the name of the error's class would tell them nothing more. */
export function plainMessageOf(error: unknown): string {
  return shown(() => error instanceof Error ? `${error.message}` : `${error}`);
}

/**
 * An error of the system with another message: of the same class, with the same `code`, and the
 * error as its `cause`. Any other value is returned unchanged: the error of a missing permission,
 * for one, says what to do.
 */
export function reworded(error: unknown, reword: (error: Error) => string): unknown {
  if (!(error instanceof Error)) return error;
  // A name that can't be resolved is an error without a class and without a code.
  if (!("code" in error) && error.constructor !== Error) return error;
  return withMessage(error, reword(error), error);
}

/**
 * An error with another message and the same `code`. The class, too, is the same if it is Deno's
 * own.
 */
export function withMessage(error: Error, message: string, cause: Error): Error {
  const Class = Object.values(Deno.errors).find((each) => error.constructor === each) ?? Error;
  const code = "code" in error ? { code: error.code } : undefined;
  return Object.assign(new Class(message, { cause }), code);
}

/**
 * What an error of the system says of a connection: nobody listens there, the peer has closed or
 * reset the connection, it broke off in another way, or nothing comes back from the host.
 */
export type ConnectionFault = "refused" | "reset" | "broken" | "unreachable";

type ErrorClass = abstract new (...args: never[]) => Error;

const { errors } = Deno;

/** The signs of each fault: classes, and codes for which Deno has no classes. */
const FAULTS: Readonly<Record<ConnectionFault, readonly (ErrorClass | string)[]>> = {
  refused: [errors.ConnectionRefused],
  reset: [errors.ConnectionReset, errors.ConnectionAborted, errors.BrokenPipe],
  broken: [errors.NotConnected, errors.UnexpectedEof, "ENETRESET"],
  unreachable: [
    ...[errors.TimedOut, errors.NetworkUnreachable, errors.AddrNotAvailable],
    ...["EHOSTUNREACH", "EHOSTDOWN", "ENETDOWN"],
  ],
};

/** What an error says of a connection; `null` for an error of something else. */
export function connectionFaultOf(error: unknown): ConnectionFault | null {
  const code = systemCode(error);
  const isSign = (sign: ErrorClass | string) =>
    typeof sign === "string" ? code === sign : error instanceof sign;
  const faults = Object.keys(FAULTS) as ConnectionFault[];
  return faults.find((fault) => FAULTS[fault].some(isSign)) ?? null;
}

/**
 * Reports whether nothing came back from an address: there is no way to it, or no answer in time. A
 * host that refuses or resets a connection is reachable.
 */
export function isUnreachable(error: unknown): boolean {
  return connectionFaultOf(error) === "unreachable";
}

/** The code of the operating system in an error, such as `"EHOSTUNREACH"`, if there is one. */
export function systemCode(error: unknown): unknown {
  return (error as { code?: unknown } | null | undefined)?.code;
}
