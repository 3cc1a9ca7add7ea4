/**
 * The connection that a transfer uses.
 *
 * @module
 */

import { addressText } from "../base/address.ts";
import { bodies, type BodyOut } from "../base/body/bodies.ts";
import { wrongType } from "../base/checks.ts";
import { EmptyPreambleError } from "../base/errors.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import type { Response } from "../base/app/message.ts";
import type { Method } from "../base/wire/preamble.ts";
import type { Client, Connection } from "../client.ts";

/** The most bytes of an unwanted response that are read to keep the connection. */
const MAX_DISCARDED_BYTES = 65536;

/** The caller's connection, or connections of a client that are opened and closed here. */
export class Route implements Disposable {
  readonly #target: Client | Connection;
  readonly #signal: AbortSignal | undefined;
  #connection: Connection | null = null;
  #connecting: Promise<Connection> | null = null;
  #isDisposed = false;

  /**
   * Creates a route that is not connected yet.
   *
   * @param label Names the target in errors.
   * @param signal Aborts connecting and every request.
   * @throws {TypeError} if the target is neither a client nor a connection.
   */
  constructor(label: string, target: Client | Connection, signal: AbortSignal | undefined) {
    const { connect, request } = (target ?? {}) as Partial<Client>;
    if (typeof connect !== "function" && typeof request !== "function") {
      throw wrongType(label, "a Client or a Connection", target);
    }
    this.#target = target;
    this.#signal = signal;
  }

  /** True if another connection can be opened when one is closed. */
  get canReconnect(): boolean {
    return isClient(this.#target);
  }

  /** True while there is a usable connection, or one can be opened. */
  get isUsable(): boolean {
    return this.canReconnect || !(this.#target as Connection).closed;
  }

  /**
   * Identifies the server: by its authority, which vouches for it at any address, or else its address; `null` if
   * the socket has neither.
   */
  async peer(): Promise<string | null> {
    const { sock } = await this.#connect();
    const authority = sock.peerCertificate?.authority;
    if (authority) return `authority ${authority.publicKey256}`;
    if (isClient(this.#target)) return `address ${addressText(this.#target.address)}`;
    return sock.remoteAddr === undefined ? null : `address ${JSON.stringify(sock.remoteAddr)}`;
  }

  /**
   * Makes a request over the connection, which is opened if there is none. If the server has closed it since the last one,
   * which it may at any time, another one is opened.
   */
  async request(
    method: Method,
    uri: string,
    headers: HeaderDict,
    body: BodyOut = null,
  ): Promise<Response> {
    const used = this.#connection;
    const connection = await this.#connect();
    try {
      return await connection.request(method, uri, headers, body, this.#options());
    } catch (error) {
      const isStale = connection === used && error instanceof EmptyPreambleError;
      if (!isStale || !(body === null || body instanceof Uint8Array || !body.used)) throw error;
    }
    const another = await this.#connect();
    return await another.request(method, uri, headers, body, this.#options());
  }

  /** Closes a connection that was opened here, if what follows takes longer than the server may wait. */
  release(): void {
    this.#connection?.close();
  }

  /**
   * Reads the body of an unwanted response if it is short; else closes the connection. After an
   * error most servers close it, so that the next request gets another one if it can.
   */
  async discard({ status, body }: Response): Promise<void> {
    if (body !== null) {
      if (!body.chunked && body.contentLength <= MAX_DISCARDED_BYTES) await body.read();
      else await body.cancel();
    }
    if (status >= 400) this.#connection?.close();
  }

  async #connect(): Promise<Connection> {
    const target = this.#target;
    if (!isClient(target)) return target;
    if (this.#connection !== null && !this.#connection.closed) return this.#connection;
    // Two requests at once share it: the second one fails, and no connection is forgotten.
    this.#connecting ??= this.#open(target).finally(() => this.#connecting = null);
    return await this.#connecting;
  }

  async #open(client: Client): Promise<Connection> {
    const connection = await client.connect(bodies, this.#options());
    if (this.#isDisposed) connection.close();
    this.#connection = connection;
    return connection;
  }

  #options(): { signal?: AbortSignal } {
    return this.#signal === undefined ? {} : { signal: this.#signal };
  }

  /** Closes a connection that was opened here. */
  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.#connection?.close();
  }
}

function isClient(target: Client | Connection): target is Client {
  return typeof (target as Partial<Client>).connect === "function";
}
