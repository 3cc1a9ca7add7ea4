import { type Address, formatCheckedAddress, zoneOf } from "../../base/address.ts";
import type { Socket } from "../../base/app/app.ts";
import { ConnectionError } from "../../base/errors.ts";
import { errorCodeOf, plainMessageOf, withNewMessage } from "../../internal/caught_errors.ts";
import { checkMethods, wrongArgumentError } from "../../internal/checks.ts";
import { awaitUntilAborted, pause } from "../../internal/pause.ts";
import { endpointOf } from "./addresses.ts";
import { isLookupError, toConnectionError } from "./connection_errors.ts";
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
      throw toConnectError(error, address, limits);
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

/**
 * Makes the error of a connection that could not be made. Returns the reason of the caller's signal
 * unchanged, because the connection isn't its cause; and the error of a dial that uses another
 * client, which has the address of that client.
 */
function toConnectError(
  error: unknown,
  address: Address,
  { signal }: Pick<ConnectLimits, "signal">,
  message?: string,
): unknown {
  if (!(error instanceof Error) || signal?.aborted && error === signal.reason) return error;
  const fields = { address, isConnecting: true, ...message === undefined ? {} : { message } };
  if (isLookupError(error)) {
    const zone = zoneOf(String(address[0]));
    const problem = zone === null
      ? "the name can't be looked up"
      : `this machine has no interface ${zone}`;
    return toConnectionError(error, {
      ...fields,
      fault: zone === null ? "unknown name" : "unknown interface",
      message: `can't connect to ${formatCheckedAddress(address)}: ${problem}`,
    });
  }
  // EINVAL: the system has no route between these addresses, for example on an interface without
  // IPv6.
  const isRouteMissing = errorCodeOf(error) === "EINVAL";
  return toConnectionError(error, isRouteMissing ? { ...fields, fault: "unreachable" } : fields);
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
        const reason = plainMessageOf(error);
        const message = `can't connect to ${formatCheckedAddress(address)}: ${reason}`;
        const connectError = toConnectError(error, address, { signal }, message);
        throw connectError === error ? withNewMessage(error, () => message) : connectError;
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
  const action = { text: "connecting to", address, isConnecting: true };
  try {
    return await runWithTimeoutAndSignal(action, limits, attempt);
  } catch (error) {
    throw toConnectError(error, address, limits);
  }
}

/**
 * Rejects if the attempt fails, takes longer than 1.0 to 1.25 times the time-out, or is aborted; a
 * result that arrives later is closed.
 */
export async function runWithTimeoutAndSignal<T extends { close(): void }>(
  { text, address, isConnecting }: {
    readonly text: string;
    readonly address: Address;
    readonly isConnecting: boolean;
  },
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
    const problem = `${text} ${formatCheckedAddress(address)} took over ${timeout} s`;
    const fields = { fault: "timed out", address, isConnecting, silentSeconds: timeout } as const;
    abortAttempt(new ConnectionError(problem, fields));
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
