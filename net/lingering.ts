/**
 * What a server's connection does after its last response. If a connection is closed while bytes
 * arrive, the system resets it, and the peer may lose a response that it has not read yet. So the
 * connection lingers: it reads and drops for a while.
 */

import type { Socket } from "../base/app/app.ts";
import type { Transport } from "./transport.ts";

/** A place for bytes that are dropped. */
const DISCARD_BUFFER = new Uint8Array(65536);

const LINGER_MILLISECONDS = 1000;
const LINGER_BYTES = 1048576;
/**
 * Milliseconds that a peer gets to read the last response, once this end has stopped reading: a
 * peer that sends a large body begins to read when its writes block.
 */
const DRAIN_MILLISECONDS = 20;
/**
 * How many such waits a peer gets over TLS. When a write fails, a peer loses bytes that it has not
 * decrypted yet, and decrypting takes a busy peer longer. Many short waits are better than a long
 * one: on a busy machine, where this process waits for the processor, the peer does, too.
 */
const TLS_DRAIN_ROUNDS = 10;
/** The most connections that linger without a slot of the server. */
const MAX_LINGERING = 64;

/**
 * Ends the writing side and drops bytes that arrive, up to the peer's end or a limit. Resolves when
 * the connection can be closed, or has been. Never rejects.
 */
export async function linger(transport: Transport, socket: Socket): Promise<void> {
  if (transport.closed) return;
  const closed = Promise.withResolvers<void>();
  transport.addCloseListener(() => closed.resolve());
  let timer = setTimeout(() => transport.close(), LINGER_MILLISECONDS);
  try {
    await socket.closeWrite?.();
    transport.deadline.close();
    let remainingBytes = LINGER_BYTES;
    let discarded: number | null = await transport.discardBuffered();
    while (discarded !== null && remainingBytes > discarded) {
      remainingBytes -= discarded;
      discarded = await transport.read(DISCARD_BUFFER);
    }
    if (discarded === null) return;
    clearTimeout(timer);
    const isEncrypted = socket.protocol !== undefined;
    for (
      let remainingRounds = isEncrypted ? TLS_DRAIN_ROUNDS : 1;
      remainingRounds > 0 && !transport.closed;
      remainingRounds--
    ) {
      const timeout = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, DRAIN_MILLISECONDS);
      });
      await Promise.race([closed.promise, timeout]);
    }
  } catch {
    // The caller closes the connection, whether or not the peer has ended it.
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Adds a connection that lingers without a slot: strangers whose requests are refused must not take
 * slots. If too many linger, the oldest is closed, so that strangers don't take all descriptors.
 */
export function addLingering<T extends { close(): void }>(
  connections: Set<T>,
  connection: T,
): void {
  if (connections.size >= MAX_LINGERING) {
    const [oldest] = connections;
    connections.delete(oldest!);
    oldest!.close();
  }
  connections.add(connection);
}
