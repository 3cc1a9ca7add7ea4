/**
 * The end of a connection after its last response.
 *
 * @module
 */

import type { Transport } from "./transport.ts";

const LINGER_MILLISECONDS = 1000;
const LINGER_BYTES = 1048576;
const LAST_CHANCE_MILLISECONDS = 200;

/**
 * Ends the writing side and drops what arrives, so that no reset outruns the last response. Resolves
 * when the connection can be closed, or has been. Never rejects.
 */
export async function linger(transport: Transport): Promise<void> {
  if (transport.closed) return;
  const closed = Promise.withResolvers<void>();
  const { onClose } = transport;
  transport.onClose = () => {
    closed.resolve();
    onClose?.();
  };
  let timer = setTimeout(() => transport.close(), LINGER_MILLISECONDS);
  try {
    await transport.closeWrite();
    if (!await transport.drain(LINGER_BYTES)) {
      // A peer that only writes comes to read when its writes begin to wait.
      clearTimeout(timer);
      timer = setTimeout(() => transport.close(), LAST_CHANCE_MILLISECONDS);
      await closed.promise;
    }
  } catch {
    // It was to be closed anyway.
  } finally {
    clearTimeout(timer);
  }
}
