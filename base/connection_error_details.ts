import { HiddenProperty } from "../internal/error_details.ts";
import type { Address } from "./address.ts";

type ConnectionErrorDescription = NonNullable<ReturnType<typeof describeConnectionError>>;

export type ConnectionFault = ConnectionErrorDescription["fault"];

export const CONNECTION_KEY: unique symbol = Symbol("connection details");

/** The details of an error. `fault` is missing if the connection isn't the reason. */
export type ConnectionErrorDetails =
  & Omit<Partial<ConnectionErrorDescription>, "fault">
  & { readonly fault?: ConnectionFault | undefined; readonly isRefusal?: boolean | undefined };

export const connectionErrorDetails: HiddenProperty<ConnectionErrorDetails> = new HiddenProperty(
  CONNECTION_KEY,
);

/**
 * Describes the error of a connection that could not be made, or that ended too early: what
 * happened, and where. The error comes from a connection of this package. An error of a disk, or of
 * a socket that your program uses itself, has no description, because errors of both have the same
 * classes.
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
export function describeConnectionError(error: unknown): {
  /**
   * The kind of the fault:
   *
   * - `"refused"`: no program listens at the address.
   * - `"reset"`: the peer, or a firewall, reset the connection.
   * - `"broken"`: the connection ended before a whole message, or a handshake, had arrived.
   * - `"unreachable"`: there is no route to the host, or the address is not of this network.
   * - `"timed out"`: the peer did not respond within the time-out of the program or of the system.
   * - `"unknown name"`: the name can't be resolved.
   * - `"unknown interface"`: this machine doesn't have the interface of a link-local address.
   */
  readonly fault:
    | "refused"
    | "reset"
    | "broken"
    | "unreachable"
    | "timed out"
    | "unknown name"
    | "unknown interface";
  /** The address, if the connection or its handshake failed; else `null`. */
  readonly address: Address | null;
  /** Whether the connection failed before the address had responded. */
  readonly isConnecting: boolean;
  /** The time-out in seconds, if the peer sent no byte in that time; else `null`. */
  readonly silentSeconds: number | null;
  /** The time-out in seconds, if the peer didn't read the sent bytes in that time; else `null`. */
  readonly unreadSeconds: number | null;
  /** The number of bytes of a body that are missing, if a body was cut off; else `null`. */
  readonly missingBytes: number | null;
  /**
   * The seconds after which the peer closed the connection without a response, if it did so only
   * after a while; else `null`. A peer that refuses a client closes at once. A peer whose
   * connections are all in use closes after two seconds.
   */
  readonly waitedSeconds: number | null;
} | null {
  const details = connectionErrorDetails.get(error);
  if (details?.fault === undefined) return null;
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
