/** Connects, bounded by a time-out and a signal. */

import { type Address, addressText, isUnixAddress, zoneOf } from "../base/address.ts";
import type { Socket } from "../base/app/app.ts";
import { connectionErrorDetails } from "../base/connection_error_details.ts";
import { pause } from "../internal/pause.ts";
import { endpointOf } from "./addresses.ts";
import { Deadline } from "./deadline.ts";
import { systemCode, withNewMessage } from "./error_text.ts";

/** The bounds of an attempt. */
export interface ConnectLimits {
  /** Seconds, or `null`. */
  readonly timeout: number | null;
  readonly signal: AbortSignal | undefined;
}

/**
 * The maker of a client's sockets, the only difference between the classes of clients.
 */
export interface Dialer {
  /** The port that is left out of `host`. */
  readonly defaultPort: number;
  /** The names of the options that only clients with these sockets have. */
  readonly moreOptions: readonly string[];
  /** Connects a socket to the client's address. */
  connect(address: Address, limits: ConnectLimits): Promise<Socket>;
}

/** The advice for an error, by its code. */
const CONNECTING_ADVICE: Readonly<Record<string, readonly [host: string, socket: string]>> = {
  EACCES: ["check the firewall", "check who may use the socket and enter its directory"],
  ECONNREFUSED: [
    "nobody listens there: check that the server runs, and its port",
    "nobody listens there: check that the server runs, and where",
  ],
  EHOSTUNREACH: ["check that both devices are on, and in one network", ""],
  ENETUNREACH: ["check that this device is in that network", ""],
  ENOENT: ["", "there is no such socket: check that the server runs, and the path"],
};

/** The beginnings of the errors for a name without an address: of Deno, and of `node:net`. */
const UNRESOLVED = /^(failed to lookup address information|getaddrinfo )/;

function lookupAdvice(address: Address): string {
  return zoneOf(String(address[0])) === null
    ? "check the name, and the DNS"
    : "check the interface";
}

/** The error for a name that can't be looked up, with advice; any other error as it is. */
export function withLookupAdvice(error: unknown, address: Address): unknown {
  if (!(error instanceof Error) || !UNRESOLVED.test(error.message)) return error;
  const problem = `can't connect to ${addressText(address)}: the name can't be looked up`;
  const lookupError = withNewMessage(error, () => `${problem}; ${lookupAdvice(address)}`) as Error;
  return connectionErrorDetails.add(lookupError, { fault: "unknown name", address });
}

/** Adds the address, and advice, to an error of the system that names neither. */
function withConnectAdvice(error: unknown, address: Address): unknown {
  const lookupError = withLookupAdvice(error, address);
  if (lookupError !== error) return lookupError;
  const hints = CONNECTING_ADVICE[String(systemCode(error))] ?? ["", ""];
  const advice = isUnixAddress(address) ? hints[1] : hints[0];
  return withNewMessage(error, ({ message }) => {
    return `can't connect to ${addressText(address)}: ${message}${
      advice === "" ? "" : `; ${advice}`
    }`;
  });
}

export async function connectSocket(
  address: Address,
  limits: ConnectLimits,
): Promise<Deno.TcpConn | Deno.UnixConn> {
  const endpoint = endpointOf(address);
  const conn = await withConnectErrors<Deno.TcpConn | Deno.UnixConn>(
    address,
    limits,
    async (signal) => {
      try {
        return endpoint.transport === "tcp"
          ? await Deno.connect({ ...endpoint, signal })
          : await Deno.connect(endpoint);
      } catch (error) {
        // Deno rejects some attempts at once (no such socket, no route): a loop of attempts would
        // leave no turn to anything else.
        await pause(0, signal);
        throw withConnectAdvice(error, address);
      }
    },
  );
  // A message goes out in a single write, which must not wait for an acknowledgement.
  if ("setNoDelay" in conn) conn.setNoDelay(true);
  return conn;
}

/** Runs an attempt to connect by {@linkcode withTimeoutAndSignal}; adds the address to errors. */
export async function withConnectErrors<T extends { close(): void }>(
  address: Address,
  bounds: ConnectLimits,
  attempt: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const text = addressText(address);
  try {
    return await withTimeoutAndSignal(() => `connecting to ${text}`, bounds, attempt);
  } catch (error) {
    throw withAddress(error, address, bounds, true);
  }
}

/** Adds the address to the error of an attempt; the reason of the signal belongs to the caller. */
export function withAddress(
  error: unknown,
  address: Address,
  { signal }: ConnectLimits,
  isConnecting: boolean,
): unknown {
  if (!(error instanceof Error) || signal?.aborted && error === signal.reason) return error;
  const details = { ...connectionErrorDetails.of(error), address, isConnecting };
  // The system knows no way from this address to that one, such as by an interface without IPv6.
  const hasNoRoute = isConnecting && systemCode(error) === "EINVAL";
  return connectionErrorDetails.add(
    error,
    hasNoRoute ? { ...details, fault: "unreachable" } : details,
  );
}

/**
 * All signals share this function: a closure for each would keep its attempt in memory for long.
 */
const doNothing = () => {};

/**
 * Runs an attempt until it succeeds, takes 1.0 to 1.25 times the time-out, or is aborted. A result
 * that comes too late is closed.
 *
 * @param describe Names the attempt in the error.
 */
export async function withTimeoutAndSignal<T extends { close(): void }>(
  describe: () => string,
  { timeout, signal }: ConnectLimits,
  attempt: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const attemptController = new AbortController();
  // Deno.connect() calls this method after it has connected: an error would lose the open socket.
  attemptController.signal.throwIfAborted = doNothing;
  const abortAttempt = (reason: unknown) => {
    reject(reason);
    attemptController.abort(reason);
  };
  // A `using` declaration would take longer than all the rest of this function.
  const deadline = new Deadline(timeout, () => {
    const timeoutError = new Deno.errors.TimedOut(`${describe()} took over ${timeout} s`);
    abortAttempt(connectionErrorDetails.add(timeoutError, { silentSeconds: timeout }));
  });
  const onAbort = () => abortAttempt(signal!.reason);
  signal?.addEventListener("abort", onAbort);
  deadline.startWait();
  try {
    attempt(attemptController.signal)
      .then((result) => attemptController.signal.aborted ? result.close() : resolve(result))
      .catch(reject);
    return await promise;
  } finally {
    deadline.close();
    signal?.removeEventListener("abort", onAbort);
  }
}

/** Waits for a promise that can't be stopped, but only until the signal aborts. */
export async function untilAborted<T>(
  value: T | Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  if (signal === undefined) return await value;
  const abortion = Promise.withResolvers<never>();
  const onAbort = () => abortion.reject(signal.reason);
  signal.addEventListener("abort", onAbort);
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([abortion.promise, value]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** A signal that aborts with the first of those that were given; `undefined` if there are none. */
export function joinSignals(
  ...signals: readonly (AbortSignal | undefined)[]
): AbortSignal | undefined {
  const presentSignals = signals.filter((signal) => signal !== undefined);
  // A single signal is used as it is: to combine signals takes a tenth of the time of connecting.
  return presentSignals.length < 2 ? presentSignals[0] : AbortSignal.any(presentSignals);
}
