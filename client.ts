/**
 * HTTP/1.1 clients, with and without TLS.
 *
 * {@linkcode Client} and {@linkcode SSLClient} open connections, each a {@linkcode Connection}, and
 * make requests, which resolve to a `Response`; {@linkcode ConnectionPool} makes many requests over
 * a few connections. {@linkcode expectOk} throws a {@linkcode StatusError} for a status that is not
 * a success, and {@linkcode retry} retries after errors that are {@linkcode isTransient};
 * {@linkcode isTimeout} reports whether a time limit has passed, and the fields of a
 * {@linkcode ConnectionError} describe why a connection failed.
 * {@linkcode buildClientSslctx} reads a configuration of TLS once for many clients, and
 * {@linkcode publicKey256} the key of a certificate. Every other name is a type that these refer
 * to, or an error that they throw; what clients share with servers is in `@degu/degu/base`.
 *
 * @example
 * ```ts
 * import { Client } from "@degu/degu/client";
 * import { Server } from "@degu/degu/server";
 * import { assertEquals } from "@std/assert";
 *
 * const app = () => [200, "OK", { hello: "world" }, null] as const;
 * await using server = await Server.start(["127.0.0.1", 0], app);
 * const response = await new Client(server.address).request("GET", "/");
 * assertEquals(response.headers.hello, "world");
 * ```
 *
 * @module
 */

import type { Socket } from "./base/app/app.ts";
import { type Bodies, bodies as defaultBodies, checkBodies } from "./base/body/body.ts";
import { type BodyOut, cancelUnusedBody } from "./base/body/sent_body.ts";
import { checkSignal, copyOptions, wrongTypeError } from "./internal/checks.ts";
import { ConnectionClosedError } from "./base/errors.ts";
import type { HeadersToSend } from "./base/wire/headers.ts";
import { awaitUntilAborted, joinSignals } from "./internal/pause.ts";
import { hideSecretsIn, INSPECT, inspectFields } from "./internal/printable.ts";
import type { Response } from "./base/app/message.ts";
import type { Method } from "./base/wire/method.ts";
import { type Address, checkAddress } from "./base/address.ts";
import { formatHostHeader } from "./net/transport/addresses.ts";
import {
  type ConnectLimits,
  connectSocket,
  type Dial,
  dialSocket,
  ownDials,
} from "./net/transport/connect.ts";
import { checkRequest, DEFAULT_TIMEOUT } from "./net/client/client_connection.ts";
import {
  Connection,
  connectionCoreOf,
  type ConnectionPeer,
  makeConnection,
} from "./net/client/connection.ts";
import {
  checkClientOptions,
  checkSslClientOptions,
  type ClientOptions,
  makeBaseHeaders,
  type SSLClientOptions,
} from "./net/client/client_options.ts";
import { keepTimerRunning } from "./net/transport/deadline.ts";
import { parseRequestOptions, type RequestOptions } from "./net/client/request_signal.ts";
import { prefetchSmallBody } from "./net/client/prefetched_body.ts";
import {
  bodyOrNull,
  type Connector,
  type Requester,
  type RequestMessage,
  RequestShortcuts,
} from "./net/client/requester.ts";
import { connectTls, findSslHost } from "./net/tls/client_handshake.ts";
import {
  checkProtocol,
  type ClientSslconfig,
  type ClientSslctx,
  resolveClientSslctx,
} from "./net/tls/context.ts";

export {
  type ClientOptions,
  Connection,
  type ConnectionPeer,
  type ConnectLimits,
  type Connector,
  type Requester,
  type RequestMessage,
  type RequestOptions,
  type RequestShortcuts,
  type SSLClientOptions,
};
export {
  type AuthorityFiles,
  type AuthorityTexts,
  buildClientSslctx,
  type CertificateFiles,
  type CertificateTexts,
  type ClientSslconfig,
  type ClientSslctx,
} from "./net/tls/context.ts";
export { ConnectionPool, type ConnectionPoolOptions } from "./net/client/connection_pool.ts";
export { Response } from "./base/app/message.ts";
export { expectOk, StatusError, type StatusErrorFields } from "./base/app/expect_ok.ts";
export {
  isTimeout,
  isTransient,
  retry,
  type RetryEvent,
  type RetryOptions,
} from "./net/client/retry.ts";
export { publicKey256 } from "./net/tls/certificate.ts";
export {
  BodyError,
  ConnectionClosedError,
  ConnectionError,
  EmptyPreambleError,
  ProtocolError,
  TlsError,
} from "./base/errors.ts";

const DEFAULT_PORTS = { http: 80, https: 443 } as const;

/**
 * A client of one server: its address, and how to connect to it. A client has no connection itself,
 * but can open any number of connections.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * const hello = new TextEncoder().encode("hello");
 * await using server = await Server.start(["127.0.0.1", 0], () => [200, "OK", {}, hello]);
 *
 * const client = new Client(server.address, { timeout: 10 });
 * const response = await client.request("GET", "/");
 * assertEquals([response.status, await response.body?.text()], [200, "hello"]);
 *
 * using conn = await client.connect(); // for several requests
 * for (const uri of ["/a", "/b"]) assertEquals(await (await conn.get(uri)).body?.text(), "hello");
 * ```
 */
export class Client extends RequestShortcuts implements Connector {
  /** The address of the server. */
  readonly address: Address;
  /** The options that were given. */
  readonly options: Readonly<ClientOptions>;
  /** The value of the `host` header, or `null` for none. */
  readonly host: string | null;
  /** The scheme of the server's URIs: `https` over TLS. */
  readonly scheme: "http" | "https";
  /** The seconds that connecting, the handshake and each wait may take; `null` for no limit. */
  readonly timeout: number | null;
  /** The classes for the bodies of responses. */
  readonly bodies: Bodies;
  readonly #connectSocket: Dial;
  readonly #baseHeaders: HeadersToSend | null;

  /**
   * Makes a client, which doesn't resolve or connect yet.
   *
   * @param address `[host, port]`, `[host, port, flowinfo, scopeid]`, the absolute path of a Unix
   * socket, or the bytes of a Linux abstract name.
   * @param options The options; each has a default.
   * @throws {TypeError} if the address or an option is of a wrong type, or an option is unknown.
   * @throws {RangeError} if a value is not allowed.
   */
  constructor(address: Address, options: ClientOptions = {}) {
    super();
    this.address = checkAddress(address, "client");
    const checkedOptions = checkClientOptions(options);
    const { dial, scheme = "http" } = checkedOptions;
    this.#connectSocket = dial === undefined
      ? connectSocket
      : ownDials.has(dial)
      ? dial
      : (target, limits) => dialSocket(dial, target, limits);
    this.scheme = scheme;
    this.options = Object.freeze(hideSecretsIn(checkedOptions));
    const { host, timeout, bodies } = this.options;
    this.host = host === undefined
      ? formatHostHeader(this.address, DEFAULT_PORTS[this.scheme])
      : host;
    this.timeout = timeout === undefined ? DEFAULT_TIMEOUT : timeout;
    this.bodies = bodies ?? defaultBodies;
    this.#baseHeaders = makeBaseHeaders(this.host, this.options);
  }

  /**
   * Connects a socket to the address; {@linkcode Client.prototype.connect} makes its connections
   * from such sockets. Needs `--allow-net`.
   *
   * @param options A signal that aborts this attempt, in addition to the signal of the client.
   * @throws {ConnectionError} if connecting takes more than `timeout` seconds; other errors of
   * connecting.
   * @throws {TlsError} if the handshake of an {@linkcode SSLClient} fails; its `code` is the
   * reason.
   */
  async createSocket(options?: { signal?: AbortSignal | undefined }): Promise<Socket> {
    const socketOptions = parseConnectOptions(undefined, options);
    const signal = joinSignals(this.options.signal, socketOptions.signal);
    return await this.#connectSocket(this.address, { timeout: this.timeout, signal });
  }

  /**
   * Opens a connection. Needs `--allow-net`; for the path of a Unix socket also `--allow-read` and
   * `--allow-write` of it.
   *
   * @param options A signal that aborts connecting, the handshake and `onConnect`, and has no
   * effect on the connection later; and the classes for the bodies of responses, instead of the
   * client's. `null` is the same as no options.
   * @throws {ConnectionError} if connecting takes more than `timeout` seconds.
   * @throws {ConnectionClosedError} with the code `"REFUSED"` if `onConnect` does not return
   * `true`.
   */
  connect(
    options?: {
      /**
       * Aborts connecting, the handshake and `onConnect`. The call then rejects with the reason of
       * this signal.
       */
      signal?: AbortSignal | undefined;
      /**
       * The classes that the bodies of responses are made from: the classes of this package, or
       * classes that extend them.
       *
       * @default {the client's}
       */
      bodies?: Bodies | null | undefined;
    } | null,
  ): Promise<Connection>;
  /** Opens a connection: the same as `connect({ ...options, bodies })`. */
  connect(
    bodies: Bodies | null | undefined,
    options?: { signal?: AbortSignal | undefined },
  ): Promise<Connection>;
  async connect(
    optionsOrBodies?: ConnectOptions | Bodies | null,
    furtherOptions?: Omit<ConnectOptions, "bodies">,
  ): Promise<Connection> {
    const { bodies, signal: callSignal } = parseConnectOptions(optionsOrBodies, furtherOptions);
    const { headers, signal, onConnect, unframedNull } = this.options;
    let socket: Socket, connection;
    // Keep the timer of the deadlines running, so that connecting and the connection use one timer.
    const runningTimer = keepTimerRunning(this.timeout);
    // Don't use a `using` declaration, because it would take longer than the rest of this method.
    try {
      socket = await this.createSocket({ signal: callSignal });
      connection = makeConnection(socket, this.#baseHeaders, {
        bodies: bodies ?? this.bodies,
        timeout: this.timeout,
        unframedNull,
        defaultHeaders: headers,
        signals: [signal, socket.trust],
      });
    } finally {
      runningTimer[Symbol.dispose]();
    }
    if (onConnect === undefined) return connection;
    const joinedSignal = joinSignals(signal, callSignal, socket.trust);
    try {
      if (await awaitUntilAborted(onConnect(connection), joinedSignal) !== true) {
        throw new ConnectionClosedError("onConnect did not return true", "REFUSED");
      }
      joinedSignal?.throwIfAborted();
    } catch (error) {
      connection.close();
      throw error;
    }
    return connection;
  }

  /**
   * Makes one request over a new connection, which is closed once the response's body has been read
   * or canceled. A body with a length of at most 64 KiB is read at once, and kept in memory.
   *
   * @param method The method, such as `GET`: see {@linkcode Method}.
   * @param uri The path, which starts with `/`, and the query.
   * @param message The headers, the body and the options; their signal aborts this request, from
   * connecting to the end of the response's body.
   * @throws the same errors as {@linkcode Client.prototype.connect} and
   * {@linkcode Connection.prototype.request}.
   */
  override request<M extends Method>(
    method: M,
    uri: string,
    ...message: RequestMessage<M>
  ): Promise<Response>;
  override async request(
    method: Method,
    uri: string,
    givenHeaders?: HeadersToSend,
    givenBody?: BodyOut,
    options?: RequestOptions,
  ): Promise<Response> {
    const headers = givenHeaders === undefined ? {} : givenHeaders;
    const body = bodyOrNull(method, givenHeaders, givenBody);
    let connection;
    try {
      const { signal } = parseRequestOptions(options);
      checkRequest(method, uri, headers, body);
      connection = await this.connect({ signal });
    } catch (error) {
      cancelUnusedBody(body, error);
      throw error;
    }
    const core = connectionCoreOf(connection);
    if (core === null) {
      // A subclass may override `connect` and return another object.
      connection.close();
      throw wrongTypeError("connect()", "a Connection of this package", connection);
    }
    core.closeAfterResponse(this.timeout);
    try {
      const response = await connection.request(method, uri, headers, body, options);
      return prefetchSmallBody(response, options?.signal, this.timeout, connection.sock);
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /** @internal */
  [INSPECT](inspect: (value: unknown, options?: unknown) => string, options: unknown): string {
    // Don't show the base headers, which may hold secrets.
    const { address, host, timeout, options: ownOptions } = this;
    const fields = { address, host, timeout, options: ownOptions };
    return inspectFields(this.constructor.name, fields, inspect, options);
  }
}

interface ConnectOptions {
  signal?: AbortSignal | undefined;
  bodies?: Bodies | null | undefined;
}

function parseConnectOptions(
  optionsOrBodies: ConnectOptions | Bodies | null | undefined,
  furtherOptions: Omit<ConnectOptions, "bodies"> | undefined,
): ConnectOptions {
  const options: ConnectOptions = furtherOptions === undefined && isOptions(optionsOrBodies)
    ? copyOptions(optionsOrBodies, ["signal", "bodies"])
    : {
      ...copyOptions(furtherOptions ?? {}, ["signal"]),
      bodies: optionsOrBodies as Bodies | null | undefined,
    };
  checkSignal("signal", options.signal);
  if (options.bodies != null) checkBodies(options.bodies);
  return options;
}

function isOptions(value: ConnectOptions | Bodies | null | undefined): value is ConnectOptions {
  return typeof value === "object" && value !== null && !("Body" in value);
}

/**
 * A client of one HTTPS server: its address, how to connect to it, and which servers to trust.
 *
 * The server's certificate is always verified. With `{}` the certificate must come from an
 * authority that Deno trusts by default; with `ca`, `caFile` or `caPath` from one of these
 * authorities, and from no other. The server's name is checked only against the names in
 * subjectAltName (RFC 9525 §6.3). `conn.sock.peerCertificate` is the certificate of a connection's
 * server.
 *
 * @example A client and a server that trust each other
 * ```ts
 * import { SSLClient } from "@degu/degu/client";
 * import { TempPKI } from "@degu/degu/misc";
 * import { SSLServer } from "@degu/degu/server";
 * import { assertEquals } from "@std/assert";
 *
 * await using pki = await TempPKI.create();
 * const app = () => [200, "OK", { hello: "world" }, null] as const;
 * await using server = await SSLServer.start(pki.serverSslconfig, ["127.0.0.1", 0], app);
 *
 * const client = new SSLClient(pki.clientSslconfig, server.address);
 * const response = await client.request("GET", "/");
 * assertEquals(response.headers.hello, "world");
 * ```
 */
export class SSLClient extends Client {
  /** The options that were given. */
  declare readonly options: Readonly<SSLClientOptions>;
  /** The trusted authorities, the identity of the client, and the policy. */
  readonly sslctx: ClientSslctx;
  /** The name that the server's certificate must be for, or `null`. */
  readonly sslHost: string | null;

  /**
   * Makes a client. Reads the files, but doesn't resolve or connect yet.
   *
   * @param sslctx The result of {@linkcode buildClientSslctx}, or its argument.
   * @param address The address, as for {@linkcode Client}.
   * @param options The options; each has a default.
   * @throws {TypeError} if an argument or option is of a wrong type, or an option is unknown.
   * @throws {RangeError} if a value is not allowed; or if `checkHostname` is true, and neither the
   * address nor `sslHost` has a name.
   * @throws the same errors as {@linkcode buildClientSslctx}.
   */
  constructor(
    sslctx: ClientSslctx | ClientSslconfig,
    address: Address,
    options: SSLClientOptions = {},
  ) {
    const context = resolveClientSslctx(sslctx);
    const name = findSslHost(options?.sslHost, checkAddress(address, "client"), context);
    const protocol = checkProtocol(options?.protocol);
    const sslOptions = checkSslClientOptions(options);
    const { sslHost: _name, protocol: _protocol, ...clientOptions } = sslOptions;
    const dial: Dial = (target, limits) => connectTls(target, context, name, limits, protocol);
    ownDials.add(dial);
    super(address, { ...clientOptions, dial, scheme: "https" });
    this.options = Object.freeze(hideSecretsIn(sslOptions));
    this.sslctx = context;
    this.sslHost = name;
  }

  /** @internal */
  override [INSPECT](
    inspect: (value: unknown, options?: unknown) => string,
    options: unknown,
  ): string {
    const { address, host, sslHost, timeout, options: ownOptions, sslctx } = this;
    const fields = { address, host, sslHost, timeout, options: ownOptions, sslctx };
    return inspectFields(this.constructor.name, fields, inspect, options);
  }
}
