/** The details of connections in errors, as properties under a registered symbol. */

import { Facts } from "../internal/facts.ts";
import type { Address } from "./address.ts";

/**
 * What happened to a connection.
 *
 * - `"refused"`: nothing listens at the address.
 * - `"reset"`: the peer, or a firewall, reset the connection.
 * - `"broken"`: the connection ended before a whole message, or a handshake, had arrived.
 * - `"unreachable"`: there is no route to the host, or the address is not of this network.
 * - `"timed out"`: the peer did not answer in time, by a time-out of this end or of the system.
 * - `"unknown name"`: the name can't be resolved.
 */
export type ConnectionFault =
  | "refused"
  | "reset"
  | "broken"
  | "unreachable"
  | "timed out"
  | "unknown name";

/** What happened to a connection, where, and how far it had come. */
export interface ConnectionErrorDescription {
  /** What happened. */
  readonly fault: ConnectionFault;
  /** The address, if the connection or its handshake failed; else `null`. */
  readonly address: Address | null;
  /** Whether nothing had answered at the address yet. */
  readonly isConnecting: boolean;
  /** The time-out, if the peer sent nothing for so many seconds; else `null`. */
  readonly silentSeconds: number | null;
  /** The time-out, if the peer didn't read for so many seconds what was sent; else `null`. */
  readonly unreadSeconds: number | null;
  /** The bytes of a body that were left to come; else `null`. */
  readonly missingBytes: number | null;
}

/** The key under which an error has the details of its connection. */
export const CONNECTION: unique symbol = Symbol.for("degu.connection");

/** The details that an error has itself; an error of the system has a class or a code instead. */
export type ConnectionFacts = Partial<ConnectionErrorDescription>;

export const connectionFacts: Facts<ConnectionFacts> = new Facts(CONNECTION);
