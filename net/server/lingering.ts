/**
 * The lingering close of a server's connection after its last response. If a socket is closed while
 * bytes arrive, the kernel resets the connection, and the client may lose a response that it has
 * not read yet: many clients read only after they have sent the whole body. So the server reads and
 * discards what arrives.
 */

import type { Socket } from "../../base/app/app.ts";
import { findMost, PeerTable } from "../transport/slots.ts";
import type { Transport } from "../transport/transport.ts";

const DISCARD_BUFFER = new Uint8Array(65536);

const MAX_SILENCE_MILLISECONDS = 2000;
const MAX_LINGER_MILLISECONDS = 10_000;
const MAX_LINGERING_CONNECTIONS = 64;

/** Never rejects. */
export async function linger(transport: Transport, socket: Socket): Promise<void> {
  if (transport.isClosed) return;
  const endTime = performance.now() + MAX_LINGER_MILLISECONDS;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const startTimer = () => {
    clearTimeout(timer);
    const remainingMilliseconds = Math.max(endTime - performance.now(), 0);
    const delay = Math.min(MAX_SILENCE_MILLISECONDS, remainingMilliseconds);
    timer = setTimeout(() => transport.close(), delay);
  };
  startTimer();
  try {
    await socket.closeWrite?.();
    transport.deadline.close();
    await transport.discardBuffered();
    while (await transport.read(DISCARD_BUFFER) !== null) startTimer();
  } catch {
    // The caller closes the connection in any case.
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Adds a connection that lingers. It has no slot, so that a client that sends without end doesn't
 * occupy a slot. If too many connections linger, closes the oldest of the peer with the most,
 * because each has a file descriptor.
 */
export function addLingering<T extends { readonly peerKey: string; close(): void }>(
  connections: Set<T>,
  connection: T,
): void {
  connections.add(connection);
  if (connections.size <= MAX_LINGERING_CONNECTIONS) return;
  const peers = new PeerTable();
  for (const { peerKey } of connections) peers.add(peerKey, "open");
  const oldestConnection = findMost(
    connections,
    ({ peerKey }) => peers.findOrAdd(peerKey).rank("open"),
  )!;
  connections.delete(oldestConnection);
  oldestConnection.close();
}
