import type { Address } from "../../base/address.ts";
import type { Socket } from "../../base/app/app.ts";
import type { Response } from "../../base/app/message.ts";
import type { PeerCertificate } from "../../base/app/session.ts";
import { type Bodies, type BodyIn, whenBodyEnds } from "../../base/body/body.ts";
import type { BodyOut } from "../../base/body/sent_body.ts";
import type { HeadersToSend } from "../../base/wire/headers.ts";
import type { Method } from "../../base/wire/method.ts";
import { hideSecrets, INSPECT, inspectFields } from "../../internal/printable.ts";
import { parseRemoteAddress } from "../transport/addresses.ts";
import { ConnectionCore } from "./client_connection.ts";
import type { RequestOptions } from "./request_signal.ts";
import {
  bodyOrNull,
  type ConnectorConnection,
  type RequestMessage,
  RequestShortcuts,
} from "./requester.ts";

let coreOf: (connection: object) => ConnectionCore | null;

/**
 * A connection to a server. A connection carries one request at a time: read the body of each
 * response before the next request.
 *
 * `client.connect()` makes a connection. Call the constructor for a {@linkcode Socket} of your own.
 * Any error closes the connection, except an invalid argument found before the first byte was sent.
 * The end of a `using` block and garbage collection also close the connection. A body that is in
 * use keeps its connection alive.
 *
 * @example
 * ```ts
 * import { Client } from "@degu/degu/client";
 * import { Server } from "@degu/degu/server";
 * import { assertEquals } from "@std/assert";
 *
 * await using server = await Server.start(["127.0.0.1", 0], () => [200, "OK", {}, null]);
 * using conn = await new Client(server.address).connect();
 * const response = await conn.get("/");
 * assertEquals(response.status, 200);
 * ```
 */
export class Connection extends RequestShortcuts implements Disposable {
  /**
   * The socket that was passed to the constructor. The socket does not keep the connection alive: a
   * connection that is garbage collected closes its socket.
   */
  readonly sock: Socket;
  /**
   * Headers of each request, which replace headers of the same name that the caller passes; `null`
   * for none.
   */
  readonly baseHeaders: HeadersToSend | null;
  /** The classes that the bodies of responses are made from. */
  readonly bodies: Bodies;
  readonly #core: ConnectionCore;

  /**
   * Makes a connection over a socket, and takes ownership of the socket.
   *
   * @param sock A socket that has not been used yet.
   * @param baseHeaders Headers of each request, which replace headers of the same name that the
   * caller passes; `null` for none.
   * @param bodies The classes that the bodies of responses are made from.
   * @param timeout Seconds that each wait for the peer may take, or `null` for no limit.
   * @throws {TypeError} if an argument is of a wrong type.
   * @throws {RangeError} if a value is not allowed.
   */
  constructor(
    sock: Socket,
    baseHeaders: HeadersToSend | null,
    bodies?: Bodies,
    timeout?: number | null,
  );
  /** @internal */
  constructor(core: ConnectionCore);
  constructor(
    sock: Socket | ConnectionCore,
    baseHeaders?: HeadersToSend | null,
    bodies?: Bodies,
    timeout?: number | null,
  ) {
    super();
    const core = this.#core = sock instanceof ConnectionCore
      ? sock
      : new ConnectionCore(sock, baseHeaders!, { bodies, timeout });
    this.sock = core.sock;
    this.baseHeaders = core.baseHeaders;
    this.bodies = core.bodies;
  }

  static {
    coreOf = (connection) => #core in connection ? connection.#core : null;
  }

  /**
   * Whether the connection has been closed: by the client, by an error, or, while it was idle, by
   * the server.
   */
  get closed(): boolean {
    return this.#core.isClosed;
  }

  /**
   * Resolves when the last request was sent, or will not be sent any more. With `duplex: "full"`,
   * its response may end before.
   */
  get requestSent(): Promise<void> {
    return new Promise((resolve) => this.#core.onRequestSent(resolve));
  }

  /**
   * Returns the verified certificate and the address of the server, also after the connection was
   * closed. {@linkcode ConnectionPool.prototype.peer} does the same for a pool.
   *
   * @example Know a server by its authority
   * ```ts
   * import { SSLClient, SSLServer } from "@degu/degu";
   * import { TempPKI } from "@degu/degu/misc";
   * import { assertEquals } from "@std/assert";
   *
   * await using pki = await TempPKI.create();
   * const app = () => [204, "No Content", {}, null] as const;
   * await using server = await SSLServer.start(pki.serverSslconfig, ["127.0.0.1", 0], app);
   * using conn = await new SSLClient(pki.clientSslconfig, server.address).connect();
   * const { certificate, address } = conn.peer();
   * assertEquals(certificate?.authority?.publicKey256.length, 95);
   * assertEquals(address, server.address);
   * ```
   */
  peer(): ConnectionPeer {
    return peerOfSocket(this.#core.sock);
  }

  /**
   * Makes a request and resolves to the response, whose body, if any, is still to be read.
   *
   * @param method The method, such as `GET`: see {@linkcode Method}.
   * @param uri The path, which starts with `/`, and the query.
   * @param message The headers, the body and the options.
   * @throws {TypeError} if an argument is of a wrong type, or an option is unknown.
   * @throws {RangeError} if a value is not allowed.
   * @throws {BodyError} if the previous response's body is unread, or this body can't be sent.
   * @throws {ConnectionClosedError} if the connection is closed.
   * @throws {ProtocolError} if the peer sends something invalid.
   * @throws {ConnectionError} if the connection breaks, or the peer keeps it waiting; an
   * `EmptyPreambleError` if the peer closes before its response.
   */
  override request<M extends Method>(
    method: M,
    uri: string,
    ...message: RequestMessage<M>
  ): Promise<Response>;
  override request(
    method: Method,
    uri: string,
    headers?: HeadersToSend,
    body?: BodyOut,
    options?: RequestOptions,
  ): Promise<Response> {
    try {
      const sentHeaders = headers === undefined ? {} : headers;
      const sentBody = bodyOrNull(method, headers, body);
      return this.#core.request(method, uri, sentHeaders, sentBody, options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Short for `request("OPTIONS", uri, headers, null, options)`. */
  options(uri: string, headers: HeadersToSend = {}, options?: RequestOptions): Promise<Response> {
    return this.request("OPTIONS", uri, headers, null, options);
  }

  /** Closes the connection; pending operations reject. Further calls have no effect. */
  close(): void {
    this.#core.close();
  }

  /** Closes the connection. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** @internal */
  toJSON(): unknown {
    return { ...this, baseHeaders: this.baseHeaders && hideSecrets(this.baseHeaders) };
  }

  /** @internal */
  [INSPECT](inspect: (value: unknown, options?: unknown) => string, options: unknown): string {
    // `baseHeaders` may hold secrets.
    const { closed, baseHeaders, sock } = this;
    const fields = { closed, baseHeaders: baseHeaders && hideSecrets(baseHeaders), sock };
    return inspectFields("Connection", fields, inspect, options);
  }
}

/** Makes a connection with the options of a client. */
export function makeConnection(...args: ConstructorParameters<typeof ConnectionCore>): Connection {
  return new Connection(new ConnectionCore(...args));
}

/** The server of a connection: who it is, and where. */
export interface ConnectionPeer {
  /** The verified certificate of the server; `null` without TLS. */
  readonly certificate: PeerCertificate | null;
  /**
   * The address that the connection has reached, without a scope; `null` if its socket has no
   * address, such as TLS over a Unix socket.
   */
  readonly address: Address | null;
}

export function peerOfSocket(sock: Socket | undefined): ConnectionPeer {
  return {
    certificate: sock?.peerCertificate ?? null,
    address: parseRemoteAddress(sock?.remoteAddr),
  };
}

/** Returns the core of a connection; `null` for a connection of another class. */
export function connectionCoreOf(connection: object): ConnectionCore | null {
  return coreOf(connection);
}

/** Calls a function when a response's body has ended, and its request has been sent. */
export function onExchangeEnd(
  connection: ConnectorConnection,
  body: BodyIn,
  listener: () => void,
): void {
  whenBodyEnds(body, () => {
    const core = connectionCoreOf(connection);
    // A promise would delay the next request of a pool.
    if (core === null) listener();
    else core.onRequestSent(listener);
  });
}
