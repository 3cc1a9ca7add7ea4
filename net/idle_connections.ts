/** Connections that nobody uses at the moment, and that the next request takes. */

import { isLasting } from "./client_connection.ts";
import { Deadline } from "./deadline.ts";
import type { Connected } from "./requester.ts";

export class IdleConnections {
  /** Seconds after which a connection is closed, or `null`. */
  readonly #seconds: number | null;
  #connections: Connected[] = [];
  /** By connection, since a timer for each wait would take longer than all the rest. */
  readonly #deadlines = new Map<Connected, Deadline>();

  constructor(seconds: number | null) {
    this.#seconds = seconds;
  }

  /** The connection that was used last, since it is the least likely to be closed by now. */
  take(): Connected | null {
    while (this.#connections.length > 0) {
      const connection = this.#connections.pop()!;
      this.#deadlines.get(connection)?.stopReading();
      if (!connection.closed) return connection;
      this.drop(connection);
    }
    return null;
  }

  /** Keeps a connection if it will make another request, and closes it otherwise. */
  put(connection: Connected): void {
    if (!isLasting(connection)) return this.drop(connection);
    this.#connections.push(connection);
    if (this.#seconds === null) return;
    let deadline = this.#deadlines.get(connection);
    if (deadline === undefined) {
      deadline = new Deadline(this.#seconds, () => this.drop(connection));
      this.#deadlines.set(connection, deadline);
    }
    deadline.startReading();
  }

  /** Closes a connection, and forgets it. */
  drop(connection: Connected): void {
    this.#deadlines.get(connection)?.close();
    this.#deadlines.delete(connection);
    const at = this.#connections.indexOf(connection);
    if (at >= 0) this.#connections.splice(at, 1);
    connection.close();
  }

  /** Closes all connections. */
  close(): void {
    for (const connection of [...this.#connections]) this.drop(connection);
  }
}
