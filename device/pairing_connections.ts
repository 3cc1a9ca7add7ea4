/**
 * The connections to a port of an invitation. Strangers can connect, but can't keep the port busy.
 */

import { ConnectionClosedError, DeguError, type ResponseTuple, type Socket } from "../base.ts";
import type { Session } from "../server.ts";

/** The time limit of a request, which stops slow peers. */
const REQUEST_MILLISECONDS = 2000;
/**
 * The most connections that have not sent a valid request yet. When one more arrives, the oldest is
 * closed: a joiner sends its request at once, and idle strangers can't keep it out.
 */
const MAX_WAITING = 64;

/** A connection to a port of an invitation. */
export interface PairingConnection {
  readonly session: Session;
  readonly socket: Socket;
  /** A newer connection may replace this one, which has not sent a valid request yet. */
  isWaiting: boolean;
  timer?: ReturnType<typeof setTimeout>;
}

export class PairingConnections {
  /** The oldest first. */
  readonly #connections = new Map<Session, PairingConnection>();

  /** Adds a connection, and limits the time until its request has arrived. */
  add(session: Session, socket: Socket): true {
    const connection = { session, socket, isWaiting: true };
    this.#connections.set(session, connection);
    session.store.set("connection", { [Symbol.dispose]: () => this.#remove(connection) });
    this.#limitTime(connection);
    const waitingConnections = [...this.#connections.values()].filter(({ isWaiting }) => isWaiting);
    if (waitingConnections.length > MAX_WAITING) {
      const [oldest] = waitingConnections;
      this.#remove(oldest!);
      oldest!.session.close(new ConnectionClosedError("closed in favor of a newer connection"));
    }
    return true;
  }

  /** The connection of a session, unless it has been closed. */
  of(session: Session): PairingConnection | undefined {
    return this.#connections.get(session);
  }

  /** Restarts the time limit of a connection that has sent a valid request. */
  accept(connection: PairingConnection): void {
    connection.isWaiting = false;
    this.#limitTime(connection);
  }

  /** Removes the time limit of a connection that has sent a valid request. */
  keep(connection: PairingConnection): void {
    connection.isWaiting = false;
    clearTimeout(connection.timer);
  }

  #limitTime(connection: PairingConnection): void {
    clearTimeout(connection.timer);
    const reason = new Deno.errors.TimedOut("the request took too long");
    connection.timer = setTimeout(() => connection.session.close(reason), REQUEST_MILLISECONDS);
  }

  /** Closes all sessions but one. */
  closeOthers(kept: Session, reason: Error): void {
    for (const session of [...this.#connections.keys()]) {
      if (session !== kept) session.close(reason);
    }
  }

  #remove({ session, timer }: PairingConnection): void {
    clearTimeout(timer);
    this.#connections.delete(session);
  }
}

/** Closes a session. The returned response is never sent. */
export function closeSession(
  session: Session,
  reason: unknown = new DeguError("the connection was refused"),
): ResponseTuple {
  session.close(reason);
  return [403, "Forbidden", {}, null];
}
