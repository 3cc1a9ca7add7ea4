/**
 * The connections to a port of an invitation: strangers can make them, but can't keep the port
 * busy.
 */

import type { Socket } from "../../base/app/app.ts";
import type { ResponseTuple } from "../../base/app/message.ts";
import type { Session } from "../../base/app/session.ts";
import { ConnectionClosedError, DeguError } from "../../base/errors.ts";

/** Time until the request has arrived: stops slow peers. */
const REQUEST_MILLISECONDS = 2000;
/**
 * Connections that have not sent a right request yet. When too many wait, the oldest is closed: an
 * honest peer sends its request at once, and idle strangers can't keep it out.
 */
const MAX_WAITING = 64;

/** A connection. */
export interface Visit {
  readonly session: Session;
  readonly socket: Socket;
  /** Whether its right request is still to come, so that a newer connection may replace it. */
  isWaiting: boolean;
  timer?: ReturnType<typeof setTimeout>;
}

export class Visits {
  /** The oldest first. */
  readonly #visits = new Map<Session, Visit>();

  /** Lets in a connection, and lets it wait for its request. */
  welcome(session: Session, socket: Socket): true {
    const visit = { session, socket, isWaiting: true };
    this.#visits.set(session, visit);
    session.store.set("visit", { [Symbol.dispose]: () => this.#forget(visit) });
    this.#limit(visit);
    const [oldest, ...newer] = [...this.#visits.values()].filter(({ isWaiting }) => isWaiting);
    if (newer.length === MAX_WAITING) {
      this.#forget(oldest!);
      oldest!.session.close(new ConnectionClosedError("closed in favor of a newer connection"));
    }
    return true;
  }

  /** The connection of a session, unless it has been closed. */
  of(session: Session): Visit | undefined {
    return this.#visits.get(session);
  }

  /** Gives a connection as long again, unless it may stay. */
  extend(visit: Visit): void {
    if (visit.isWaiting) this.#limit(visit);
  }

  /** Gives a connection that has sent its right request as long again, for its next one. */
  accept(visit: Visit): void {
    visit.isWaiting = false;
    this.#limit(visit);
  }

  /** Lets a connection stay that has sent its right request. */
  keep(visit: Visit): void {
    visit.isWaiting = false;
    clearTimeout(visit.timer);
  }

  #limit(visit: Visit): void {
    clearTimeout(visit.timer);
    const reason = new Deno.errors.TimedOut("the request took too long");
    visit.timer = setTimeout(() => visit.session.close(reason), REQUEST_MILLISECONDS);
  }

  /** Closes all connections but one. */
  closeOthers(kept: Session, reason: Error): void {
    for (const session of [...this.#visits.keys()]) {
      if (session !== kept) session.close(reason);
    }
  }

  #forget({ session, timer }: Visit): void {
    clearTimeout(timer);
    this.#visits.delete(session);
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
