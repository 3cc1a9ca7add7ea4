/**
 * The lingering close of a server's connection after its last response. If a socket is closed while
 * bytes arrive, the kernel resets the connection, and the client may lose a response that it has
 * not read yet. So the server reads and discards bytes for a while.
 */

import type { Socket } from "../base/app/app.ts";
import type { Transport } from "./transport.ts";

/** The target of reads whose bytes are discarded. */
const DISCARD_BUFFER = new Uint8Array(65536);

const LINGER_MILLISECONDS = 1000;
const LINGER_BYTES = 1048576;
/**
 * Milliseconds that a client gets to read the last response, once the server has stopped reading: a
 * client that sends a large body begins to read when its writes block.
 */
const DRAIN_MILLISECONDS = 20;
/**
 * The number of such waits over TLS, where a client needs longer: if one of its writes fails, it
 * loses bytes that it has not decrypted yet. Short waits adapt to a busy machine, because this
 * process is delayed as well.
 */
const TLS_DRAIN_ROUNDS = 10;
/** The most connections that linger without a slot of the server. */
const MAX_LINGERING = 64;

/**
 * Closes the writing side and discards received bytes, up to the client's close or a limit.
 * Resolves when the connection can be closed, or has been. Never rejects.
 */
export async function linger(transport: Transport, socket: Socket): Promise<void> {
  if (transport.closed) return;
  const closeSignal = Promise.withResolvers<void>();
  transport.addCloseListener(() => closeSignal.resolve());
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
      await Promise.race([closeSignal.promise, timeout]);
    }
  } catch {
    // The caller closes the connection in any case.
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Adds a connection that lingers without a slot, so that clients whose requests are refused don't
 * occupy slots. If too many linger, closes the oldest, so that they don't use up the descriptors.
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
