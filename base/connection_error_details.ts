import { HiddenProperty } from "../internal/error_details.ts";
import type { Address } from "./address.ts";

/**
 * The reason why a connection failed.
 *
 * - `"refused"`: no program listens at the address.
 * - `"reset"`: the peer, or a firewall, reset the connection.
 * - `"broken"`: the connection ended before a whole message, or a handshake, had arrived.
 * - `"unreachable"`: there is no route to the host, or the address is not of this network.
 * - `"timed out"`: the peer did not respond within the time-out of the program or of the system.
 * - `"unknown name"`: the name can't be resolved.
 */
export type ConnectionFault =
  | "refused"
  | "reset"
  | "broken"
  | "unreachable"
  | "timed out"
  | "unknown name";

/** The fault of a connection, its address, and the state in which the connection was. */
export interface ConnectionErrorDescription {
  /** The kind of the fault. */
  readonly fault: ConnectionFault;
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
}

export const CONNECTION_KEY: unique symbol = Symbol.for("degu.connection");

/** The details of an error. `fault` is missing if the connection isn't the reason. */
export type ConnectionErrorDetails =
  & Omit<Partial<ConnectionErrorDescription>, "fault">
  & { readonly fault?: ConnectionFault | undefined };

export const connectionErrorDetails: HiddenProperty<ConnectionErrorDetails> = new HiddenProperty(
  CONNECTION_KEY,
);
