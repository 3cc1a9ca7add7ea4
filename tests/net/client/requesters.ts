/** Objects that make requests or connections like a client, and wrap one. */

import { assert } from "@std/assert";
import type { BodyOut, HeadersToSend, Method, Response } from "@degu/degu/base";
import {
  type Client,
  type Connection,
  ConnectionPool,
  type Connector,
  type Requester,
} from "@degu/degu/client";

/** A wrapper as in the documentation of Python Degu, with only four arguments. */
class WrappedConnection {
  readonly #conn: Connection;

  constructor(conn: Connection) {
    this.#conn = conn;
  }

  get closed(): boolean {
    return this.#conn.closed;
  }

  close(): void {
    this.#conn.close();
  }

  request(method: Method, uri: string, headers: HeadersToSend, body: BodyOut): Promise<Response> {
    assert(typeof headers === "object" && body !== undefined, "always with headers and a body");
    return this.#conn.request(method, uri, headers, body);
  }
}

export class WrappedClient {
  readonly #client: Client;
  connections = 0;

  constructor(client: Client) {
    this.#client = client;
  }

  async connect(): Promise<WrappedConnection> {
    this.connections++;
    return new WrappedConnection(await this.#client.connect());
  }

  request(method: Method, uri: string, headers: HeadersToSend, body: BodyOut): Promise<Response> {
    assert(typeof headers === "object" && body !== undefined, "always with headers and a body");
    return this.#client.request(method, uri, headers, body);
  }
}

/** Wraps the connections of a client, as a program does that counts or logs requests. */
export class WrappedConnector implements Connector {
  readonly #client: Client;

  constructor(client: Client) {
    this.#client = client;
  }

  async connect(options?: { signal?: AbortSignal | undefined }) {
    const conn = await this.#client.connect(options);
    return {
      request: (...message: Parameters<Requester["request"]>) => conn.request(...message),
      close: () => conn.close(),
      get closed() {
        return conn.closed;
      },
    };
  }
}

/**
 * Returns each kind of requester for the same server. A pool, not a single connection, makes
 * concurrent requests.
 */
export async function makeRequesters(client: Client) {
  const wrapped = new WrappedClient(client);
  const conn = await client.connect();
  const pool = new ConnectionPool(client);
  const singlePool = new ConnectionPool(client, { maxConnections: 1 });
  const shapes: [name: string, target: Requester | Connector][] = [
    ["a wrapped client", wrapped],
    ["connect alone", { connect: () => wrapped.connect() }],
    ["request alone", {
      request: (...args) => wrapped.request(...args as Parameters<WrappedClient["request"]>),
    }],
    ["a wrapped connection", new WrappedConnection(conn)],
    ["a pool", pool],
    ["a pool of one", singlePool],
  ];
  const dispose = () => {
    for (const closable of [conn, pool, singlePool]) closable.close();
  };
  return Object.assign(shapes, { [Symbol.dispose]: dispose });
}
