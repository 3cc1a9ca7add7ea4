/**
 * How a server gets its connections: accepts one, waits for a free slot, starts to serve it.
 *
 * @module
 */

import type { Socket } from "../base/app/app.ts";
import type { Accepted, Listener } from "./listener.ts";
import type { Slots } from "./slots.ts";
import type { Logger } from "./standard_logger.ts";

/** What the loop needs to know about its server. */
interface ServerState {
  readonly logger: Logger;
  /** True once the server is stopping. */
  readonly stopping: boolean;
}

/**
 * Accepts connections until the server is stopping.
 *
 * @param start Starts to serve a connection, for which there is a slot.
 */
export async function serveConnections(
  listener: Listener,
  slots: Slots,
  state: ServerState,
  start: (accepted: Accepted) => void,
): Promise<void> {
  for (;;) {
    const accepted = await accept(listener, state);
    if (accepted === null) return;
    const isFree = !state.stopping && (slots.isFree || await slots.wait());
    // Checked in the same turn as the start: the server may stop in any earlier turn.
    if (isFree && !state.stopping) {
      start(accepted);
      continue;
    }
    if (!state.stopping) state.logger.info(`${accepted.name}: closed, because no slot became free`);
    closeQuietly(accepted.socket);
  }
}

/** The next connection; `null` once the server is stopping. */
async function accept(listener: Listener, state: ServerState): Promise<Accepted | null> {
  if (state.stopping) return null;
  try {
    return await listener.accept();
  } catch (error) {
    if (state.stopping) return null;
    throw error;
  }
}

function closeQuietly(socket: Socket): void {
  try {
    socket.close();
  } catch {
    // The peer closed it first.
  }
}
