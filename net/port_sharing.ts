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

/**
 * Whether Deno's own sockets can share a port. They need `--unstable-net`, without which Deno ends the
 * process; `node:net` needs no flag.
 */
export function denoSharesPorts(): boolean {
  // It exists with the flag only.
  return typeof Deno.listenDatagram === "function";
}
