/**
 * The lingering close of a server's connection after its last response. If a socket is closed while
 * bytes arrive, the kernel resets the connection, and the client may lose a response that it has
 * not read yet. So the server reads and discards bytes for up to a second.
 */

import type { Socket } from "../../base/app/app.ts";
import type { Transport } from "../transport/transport.ts";

const DISCARD_BUFFER = new Uint8Array(65536);

const LINGER_MILLISECONDS = 1000;
const MAX_LINGER_BYTES = 1048576;
/**
 * Milliseconds of a wait in which a client can read the last response after the server has stopped
 * reading. A client that sends a large body begins to read when its writes block.
 */
const DRAIN_MILLISECONDS = 20;
/**
 * The number of waits. If the server resets the connection, a client over TLS loses bytes that it
 * has not decrypted yet, and a client on Windows all bytes that it has not read yet. The time is
 * split into short waits: on a busy machine, where the client is slow, several short waits take
 * longer than one long wait.
 */
const DRAIN_ROUNDS = 10;
const MAX_LINGERING_CONNECTIONS = 64;

/** Never rejects. */
export async function linger(transport: Transport, socket: Socket): Promise<void> {
  if (transport.isClosed) return;
  const connectionClosed = Promise.withResolvers<void>();
  transport.addCloseListener(() => connectionClosed.resolve());
  let timer = setTimeout(() => transport.close(), LINGER_MILLISECONDS);
  try {
    await socket.closeWrite?.();
    transport.deadline.close();
    let remainingBytes = MAX_LINGER_BYTES;
    let discardedBytes: number | null = await transport.discardBuffered();
    while (discardedBytes !== null && remainingBytes > discardedBytes) {
      remainingBytes -= discardedBytes;
      discardedBytes = await transport.read(DISCARD_BUFFER);
    }
    if (discardedBytes === null) return;
    clearTimeout(timer);
    for (
      let remainingRounds = DRAIN_ROUNDS;
      remainingRounds > 0 && !transport.isClosed;
      remainingRounds--
    ) {
      const timeoutPromise = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, DRAIN_MILLISECONDS);
      });
      await Promise.race([connectionClosed.promise, timeoutPromise]);
    }
  } catch {
    // The caller closes the connection in any case.
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Adds a connection that lingers without a slot, so that clients whose requests are refused don't
 * occupy slots. If too many connections linger, closes the oldest, because each has a file
 * descriptor.
 */
export function addLingering<T extends { close(): void }>(
  connections: Set<T>,
  connection: T,
): void {
  if (connections.size >= MAX_LINGERING_CONNECTIONS) {
    const [oldestConnection] = connections;
    connections.delete(oldestConnection!);
    oldestConnection!.close();
  }
  connections.add(connection);
}
