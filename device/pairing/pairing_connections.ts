/** Strangers can connect, but can't keep a port busy. */

import { ConnectionClosedError, DeguError, type Socket } from "../../base.ts";
import type { ResponseTuple, Session } from "../../server.ts";

const MAX_REQUEST_MILLISECONDS = 2000;
/**
 * The maximum number of connections that have not sent a valid request yet. A further connection
 * closes the oldest of them. A joiner sends its request at once, so idle strangers can't keep the
 * joiner out.
 */
const MAX_SILENT_CONNECTIONS = 64;

export interface PairingConnection {
  readonly session: Session;
  readonly socket: Socket;
  /** True until a valid request has arrived. */
  isWaiting: boolean;
  requestTimer?: ReturnType<typeof setTimeout>;
}

export class PairingConnections {
  /** The oldest connection is first. */
  readonly #connections = new Map<Session, PairingConnection>();

  add(session: Session, socket: Socket): true {
    const connection = { session, socket, isWaiting: true };
    this.#connections.set(session, connection);
    session.store.set("connection", { [Symbol.dispose]: () => this.#remove(connection) });
    this.#startTimeLimit(connection);
    const waitingConnections = [...this.#connections.values()].filter(({ isWaiting }) => isWaiting);
    if (waitingConnections.length > MAX_SILENT_CONNECTIONS) {
      const [oldestConnection] = waitingConnections;
      this.#remove(oldestConnection!);
      oldestConnection!.session.close(
        new ConnectionClosedError("closed in favor of a newer connection"),
      );
    }
    return true;
  }

  find(session: Session): PairingConnection | undefined {
    return this.#connections.get(session);
  }

  restartTimeLimit(connection: PairingConnection): void {
    connection.isWaiting = false;
    this.#startTimeLimit(connection);
  }

  removeTimeLimit(connection: PairingConnection): void {
    connection.isWaiting = false;
    clearTimeout(connection.requestTimer);
  }

  #startTimeLimit(connection: PairingConnection): void {
    clearTimeout(connection.requestTimer);
    const reason = new Deno.errors.TimedOut("the request took too long");
    connection.requestTimer = setTimeout(
      () => connection.session.close(reason),
      MAX_REQUEST_MILLISECONDS,
    );
  }

  closeOthers(remainingSession: Session, reason: Error): void {
    for (const session of [...this.#connections.keys()]) {
      if (session !== remainingSession) session.close(reason);
    }
  }

  #remove({ session, requestTimer }: PairingConnection): void {
    clearTimeout(requestTimer);
    this.#connections.delete(session);
  }
}

/** The returned response satisfies the type of an app, and is never sent. */
export function closeSession(
  session: Session,
  reason: unknown = new DeguError("the connection was refused"),
): ResponseTuple {
  session.close(reason);
  return [403, "Forbidden", {}, null];
}
