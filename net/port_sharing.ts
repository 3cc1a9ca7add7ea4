/**
 * How a port is shared by listeners.
 *
 * @module
 */

/** How a port is shared by listeners. */
export interface PortSharing {
  /** Whether other sockets of the same user may listen there, too (SO_REUSEPORT). */
  readonly reusePort: boolean;
  /**
   * The file descriptor of a socket that listens there already, to take over; only over TLS at a port.
   * `null` to make one.
   */
  readonly fd: number | null;
}

/** For a server alone. */
export const NOT_SHARED: PortSharing = { reusePort: false, fd: null };
