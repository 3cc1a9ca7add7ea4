/**
 * The connections to a port of an invitation: strangers can make them, but can't keep the port
 * busy.
 */

import { ConnectionClosedError, DeguError, type ResponseTuple, type Socket } from "../base.ts";
import type { Session } from "../server.ts";

/** Time until the request has arrived: stops slow peers. */
const REQUEST_MILLISECONDS = 2000;
/**
 * Connections that have not sent a right request yet. When too many wait, the oldest is closed: an
 * honest peer sends its request at once, and idle strangers can't keep it out.
 */
const MAX_WAITING = 64;

/** A connection. */
export interface PairingClient {
  readonly session: Session;
  readonly socket: Socket;
  /** Whether its right request is still to come, so that a newer connection may replace it. */
  isWaiting: boolean;
  timer?: ReturnType<typeof setTimeout>;
}

export class PairingClients {
  /** The oldest first. */
  readonly #clients = new Map<Session, PairingClient>();

  /** Lets in a connection, and lets it wait for its request. */
  welcome(session: Session, socket: Socket): true {
    const client = { session, socket, isWaiting: true };
    this.#clients.set(session, client);
    session.store.set("client", { [Symbol.dispose]: () => this.#forget(client) });
    this.#limit(client);
    const [oldest, ...newer] = [...this.#clients.values()].filter(({ isWaiting }) => isWaiting);
    if (newer.length === MAX_WAITING) {
      this.#forget(oldest!);
      oldest!.session.close(new ConnectionClosedError("closed in favor of a newer connection"));
    }
    return true;
  }

  /** The connection of a session, unless it has been closed. */
  of(session: Session): PairingClient | undefined {
    return this.#clients.get(session);
  }

  /** Gives a connection that has sent its right request as long again, for its next one. */
  accept(client: PairingClient): void {
    client.isWaiting = false;
    this.#limit(client);
  }

  /** Lets a connection stay that has sent its right request. */
  keep(client: PairingClient): void {
    client.isWaiting = false;
    clearTimeout(client.timer);
  }

  #limit(client: PairingClient): void {
    clearTimeout(client.timer);
    const reason = new Deno.errors.TimedOut("the request took too long");
    client.timer = setTimeout(() => client.session.close(reason), REQUEST_MILLISECONDS);
  }

  /** Closes all connections but one. */
  closeOthers(kept: Session, reason: Error): void {
    for (const session of [...this.#clients.keys()]) {
      if (session !== kept) session.close(reason);
    }
  }

  #forget({ session, timer }: PairingClient): void {
    clearTimeout(timer);
    this.#clients.delete(session);
  }
}

/** Closes a connection; the response it returns is never sent. */
export function hangUp(
  session: Session,
  reason: unknown = new DeguError("the connection was refused"),
): ResponseTuple {
  session.close(reason);
  return [403, "Forbidden", {}, null];
}
