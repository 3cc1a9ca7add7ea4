import { type Address, formatCheckedAddress, isUnixAddress, zoneOf } from "../../base/address.ts";
import type { Socket } from "../../base/app/app.ts";
import { connectionErrorDetails } from "../../base/connection_error_details.ts";
import { errorCodeOf, withAdvice, withNewMessage } from "../../internal/caught_errors.ts";
import { checkMethods, wrongArgumentError } from "../../internal/checks.ts";
import { awaitUntilAborted, pause } from "../../internal/pause.ts";
import { endpointOf } from "./addresses.ts";
import { markSocketError } from "./connection_errors.ts";
import { Deadline } from "./deadline.ts";
import { ignoreLateAbort } from "./runtime.ts";

/** The limits of an attempt to connect, which the option `dial` of a `Client` gets. */
export interface ConnectLimits {
  /** Seconds that connecting and each wait of a handshake may take; `null` for no limit. */
  readonly timeout: number | null;
  /** Aborted when the caller no longer needs the socket. */
  readonly signal: AbortSignal | undefined;
}

export type Dial = (address: Address, limits: ConnectLimits) => Promise<Socket>;

/**
 * The dials of this package. Their sockets aren't recorded as used: the `dial` of another client
 * may return a socket of `createSocket()`, and is refused if it returns a recorded socket.
 */
export const ownDials = new WeakSet<Dial>();

const dialedSockets = new WeakSet<Socket>();

/**
 * Connects by the `dial` of a program, which may return any value at any time. Not async, so that
 * the stack of an error that `dial` makes has one frame less before the caller of the client.
 */
export function dialSocket(
  dial: Dial,
  address: Address,
  limits: ConnectLimits,
): Promise<Socket> {
  const connect = () =>
    Promise.try(dial, address, limits).then(takeSocket, (error) => {
      // A dial that uses another client rejects with the address of that client.
      throw connectionErrorDetails.get(error) ? error : withAddress(error, address, limits, true);
    });
  return limits.signal === undefined ? connect() : dialUntilAborted(connect, limits.signal);
}

async function dialUntilAborted(
  connect: () => Promise<Socket>,
  signal: AbortSignal,
): Promise<Socket> {
  signal.throwIfAborted();
  const dialed = connect();
  try {
    return await awaitUntilAborted(dialed, signal);
  } catch (error) {
    dialed.then((socket) => socket.close()).catch(() => {});
    throw error;
  }
}

function takeSocket(socket: Socket): Socket {
  checkMethods("dial()", socket, ["read", "write", "close"]);
  if (dialedSockets.has(socket)) {
    throw wrongArgumentError("dial()", "must return a new socket for each call");
  }
  dialedSockets.add(socket);
  return socket;
}

const CONNECTING_ADVICE: Readonly<Record<string, readonly [host: string, socket: string]>> = {
  EACCES: ["check the firewall", "check the permissions of the socket and of its directory"],
  ECONNREFUSED: [
    "no server listens at this port: check that the server runs, and the port",
    "no server listens at this socket: check that the server runs, and the path",
  ],
  ECONNRESET: [
    "the server closed at this moment: if it is in this program, await the calls before closing it",
    "the server closed at this moment: if it is in this program, await the calls before closing it",
  ],
  EHOSTUNREACH: ["check that both devices are on, and in one network", ""],
  ENETUNREACH: ["check that this device is in that network", ""],
  ENOENT: ["", "the socket doesn't exist: check that the server runs, and the path"],
};

/** The messages of Deno and of `node:net` for a host name without an address. */
const UNRESOLVED_NAME_PATTERN = /^(failed to lookup address information|getaddrinfo )/;

export function withLookupAdvice(error: unknown, address: Address): unknown {
  if (!(error instanceof Error) || !UNRESOLVED_NAME_PATTERN.test(error.message)) return error;
  const zone = zoneOf(String(address[0]));
  const problem = zone === null
    ? "the name can't be looked up; check the name, and the DNS"
    : `this machine has no interface ${zone}`;
  const message = `can't connect to ${formatCheckedAddress(address)}: ${problem}`;
  const lookupError = withNewMessage(error, () => message) as Error;
  const fault = zone === null ? "unknown name" : "unknown interface";
  return connectionErrorDetails.set(lookupError, { fault, address });
}

function withConnectAdvice(error: unknown, address: Address): unknown {
  const lookupError = withLookupAdvice(error, address);
  if (lookupError !== error) return lookupError;
  const hints = CONNECTING_ADVICE[String(errorCodeOf(error))] ?? ["", ""];
  const advice = isUnixAddress(address) ? hints[1] : hints[0];
  return withAdvice(error, `can't connect to ${formatCheckedAddress(address)}`, advice);
}

export async function connectSocket(
  address: Address,
  limits: ConnectLimits,
): Promise<Deno.TcpConn | Deno.UnixConn> {
  const endpoint = endpointOf(address);
  const conn = await runConnectAttempt<Deno.TcpConn | Deno.UnixConn>(
    address,
    limits,
    async (signal) => {
      try {
        return endpoint.transport === "tcp"
          ? await Deno.connect({ ...endpoint, signal })
          : await Deno.connect(endpoint);
      } catch (error) {
        // Deno rejects some attempts at once (no such socket, no route): without this pause, a loop
        // of attempts would block the event loop.
        await pause(0, signal);
        throw withConnectAdvice(error, address);
      }
    },
  );
  // Each message is one write, which must not wait for an acknowledgement (Nagle's algorithm).
  if ("setNoDelay" in conn) conn.setNoDelay(true);
  return conn;
}

export async function runConnectAttempt<T extends { close(): void }>(
  address: Address,
  limits: ConnectLimits,
  attempt: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const describe = () => `connecting to ${formatCheckedAddress(address)}`;
  try {
    return await runWithTimeoutAndSignal(describe, limits, attempt);
  } catch (error) {
    throw withAddress(error, address, limits, true);
  }
}

/**
 * Adds the address to an error of the connection. Returns the reason of the caller's signal
 * unchanged, because the connection isn't its cause.
 */
export function withAddress(
  error: unknown,
  address: Address,
  { signal }: ConnectLimits,
  isConnecting: boolean,
): unknown {
  if (!(error instanceof Error) || signal?.aborted && error === signal.reason) return error;
  // EINVAL: the system has no route between these addresses, for example on an interface without
  // IPv6.
  const hasNoRoute = isConnecting && errorCodeOf(error) === "EINVAL";
  const details = { address, isConnecting };
  return markSocketError(error, hasNoRoute ? { ...details, fault: "unreachable" } : details);
}

/**
 * Rejects if the attempt fails, takes longer than 1.0 to 1.25 times the time-out, or is aborted; a
 * result that arrives later is closed.
 */
export async function runWithTimeoutAndSignal<T extends { close(): void }>(
  describe: () => string,
  { timeout, signal }: ConnectLimits,
  attempt: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const attemptController = new AbortController();
  ignoreLateAbort(attemptController.signal);
  const abortAttempt = (reason: unknown) => {
    reject(reason);
    attemptController.abort(reason);
  };
  // A `using` declaration costs more processor time than all other code of this function.
  const deadline = new Deadline(timeout, () => {
    const timeoutError = new Deno.errors.TimedOut(`${describe()} took over ${timeout} s`);
    abortAttempt(markSocketError(timeoutError, { silentSeconds: timeout }));
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
