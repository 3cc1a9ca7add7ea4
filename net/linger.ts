/**
 * The end of a connection after its last response.
 *
 * @module
 */

import type { Transport } from "./transport.ts";

const LINGER_MILLISECONDS = 1000;
const LINGER_BYTES = 1048576;
/** How long a peer that only writes may take to begin to read once its writes block. */
const LAST_CHANCE_MILLISECONDS = 20;
/** Over TLS a peer loses what it has not decrypted when a write fails, which takes a busy one longer. */
const LAST_CHANCE_ENCRYPTED_MILLISECONDS = 200;

/**
 * Ends the writing side and drops what arrives, so that a reset can't destroy the last response. Resolves
 * when the connection can be closed, or has been. Never rejects.
 *
 * @param encrypted Whether this is a TLS connection.
 */
export async function linger(transport: Transport, encrypted: boolean): Promise<void> {
  if (transport.closed) return;
  const closed = Promise.withResolvers<void>();
  transport.addCloseListener(() => closed.resolve());
  let timer = setTimeout(() => transport.close(), LINGER_MILLISECONDS);
  try {
    await transport.closeWrite();
    if (!await transport.drain(LINGER_BYTES)) {
      clearTimeout(timer);
      const chance = encrypted ? LAST_CHANCE_ENCRYPTED_MILLISECONDS : LAST_CHANCE_MILLISECONDS;
      timer = setTimeout(() => transport.close(), chance);
      await closed.promise;
    }
  } catch {
    // The caller closes it anyway.
  } finally {
    clearTimeout(timer);
  }
}
