/**
 * The client.
 *
 * @example
 * ```ts
 * import { Client } from "@degu/degu/client";
 * import { TempServer } from "@degu/degu/misc";
 * import { assertEquals } from "@std/assert";
 *
 * const app = () => [200, "OK", { hello: "world" }, null] as const;
 * await using server = await TempServer.start(["127.0.0.1", 0], null, app);
 * const response = await new Client(server.address).request("GET", "/");
 * assertEquals(response.headers.hello, "world");
 * ```
 *
 * @module
 */

import type { Socket } from "./base/app.ts";
import {
  type Bodies,
  bodies as defaultBodies,
  type BodyOut,
  cancelUnused,
  checkBodies,
} from "./base/bodies.ts";
import { ConnectionClosedError, typeName } from "./base/errors.ts";
import { checkBaseHeaders } from "./base/header_format.ts";
import type { HeaderDict } from "./base/headers.ts";
import { hideSecretsOf, INSPECT, inspectFields } from "./base/inspect.ts";
import type { Response } from "./base/message.ts";
import { copyOptions } from "./base/options.ts";
import type { Method } from "./base/preamble.ts";
import type { Address } from "./base/session.ts";
import { allows, VALUE } from "./base/tables.ts";
import { checkClientAddress, hostOf } from "./net/addresses.ts";
import { connectSocket, JoinedSignal, untilAborted } from "./net/connect.ts";
import {
  closeAfterResponse,
  closeOnAbort,
  Connection,
  DEFAULT_TIMEOUT,
} from "./net/client_connection.ts";
import { checkTimeout } from "./net/deadline.ts";
import { checkSignal, type RequestOptions, requestSignal } from "./net/request_signal.ts";
import { checkSslHost, connectTls, sslHostOf } from "./net/tls/client_handshake.ts";
import { asClientSslctx, type ClientSslconfig, type ClientSslctx } from "./net/tls/context.ts";

export { Connection, type RequestOptions };
export {
  buildClientSslctx,
  type ClientSslconfig,
  type ClientSslctx,
  type Sslctx,
} from "./net/tls/context.ts";
export { publicKey256 } from "./net/tls/public_key.ts";
export { Response } from "./base/message.ts";
export type { Socket } from "./base/app.ts";
export type { Address, PeerAuthority, PeerCertificate } from "./base/session.ts";

/** How to connect to a server, and what to send with each request. */
export interface ClientOptions {
  /**
   * The value of the `host` header; `null` for none.
   *
   * @default {the host of the address, with its port unless that is the scheme's}
   */
  host?: string | null | undefined;
  /**
   * Seconds that connecting, the handshake and each wait may take; `null` for any time. It fires
   * between 1.0 and 1.25 times its value.
   *
   * @default {90}
   */
  timeout?: number | null | undefined;
  /**
   * The classes that the bodies of responses are made from.
   *
   * @default {bodies}
   */
  bodies?: Bodies | undefined;
  /** The value of the `authorization` header; none where it is left out. */
  authorization?: string | undefined;
  /**
   * Headers that go with every request, over the caller's. Not `host` and `authorization`, which have
   * options of their own, nor what belongs to one message: `content-length`, `transfer-encoding`,
   * `range`, `content-range`.
   */
  headers?: HeaderDict | undefined;
  /** Called with each new connection, which is closed unless this returns exactly `true`. */
  onConnect?: ((conn: Connection) => boolean | Promise<boolean>) | undefined;
  /**
   * Aborts connecting, the handshake, and every connection that this client has made; what waits
   * rejects with its reason, and so does whatever comes later: it is for the client's whole life.
   */
  signal?: AbortSignal | undefined;
}

const OPTIONS = ["host", "timeout", "bodies", "authorization", "headers", "onConnect", "signal"];

/**
 * Where a server is, and how to connect to it. It holds no connection: make any number of them.
 *
 * @example
 * ```ts
 * import { Client } from "@degu/degu/client";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(new Client(["192.168.1.171", 5984]).host, "192.168.1.171:5984");
 * assertEquals(new Client(["fe80::e8b:fdff:fe75:402c", 80, 0, 3]).host, "[fe80::e8b:fdff:fe75:402c]");
 * assertEquals(new Client("/tmp/my.socket").host, null);
 * assertEquals(new Client("/tmp/my.socket", { host: "example.com" }).host, "example.com");
 * ```
 */
export class Client {
  /** Where the server is. */
  readonly address: Address;
  /** The options that were given. */
  readonly options: Readonly<ClientOptions>;
  /** The value of the `host` header, or `null` for none. */
  readonly host: string | null;
  /** Seconds that connecting, the handshake and each wait may take, or `null`. */
  readonly timeout: number | null;
  /** The classes that the bodies of responses are made from. */
  readonly bodies: Bodies;
  readonly #baseHeaders: HeaderDict | null;

  /**
   * Makes a client; nothing is resolved or connected yet.
   *
   * @param address `[host, port]`, `[host, port, flowinfo, scopeid]`, the absolute path of a Unix
   * socket, or the bytes of a Linux abstract name.
   * @throws {TypeError} for an address, an option or a value of a wrong type, and for an unknown
   * option.
   * @throws {RangeError} for a value that is not allowed.
   */
  constructor(address: Address, options: ClientOptions = {}) {
    this.address = checkClientAddress(address);
    this.options = Object.freeze(hideSecretsOf(checkOptions(options, this.knownOptions)));
    const { host, timeout, bodies } = this.options;
    this.host = host === undefined ? hostOf(this.address, this.defaultPort) : host;
    this.timeout = timeout === undefined ? DEFAULT_TIMEOUT : timeout;
    this.bodies = bodies ?? defaultBodies;
    this.#baseHeaders = makeBaseHeaders(this.host, this.options);
  }

  /** The port that is left out of `host`. */
  protected get defaultPort(): number {
    return 80;
  }

  /** The names of the options. */
  protected get knownOptions(): readonly string[] {
    return OPTIONS;
  }

  /**
   * Makes a socket that is connected to the address. Needs `--allow-net`.
   *
   * @param options A signal that aborts this attempt, as the client's does.
   */
  async createSocket(options?: RequestOptions): Promise<Socket> {
    using joined = new JoinedSignal(this.options.signal, requestSignal(options));
    return await connectSocket(this.address, { timeout: this.timeout, signal: joined.signal });
  }

  /**
   * Makes a connection. Needs `--allow-net`; for the path of a Unix socket also `--allow-read` and
   * `--allow-write` of it.
   *
   * @param bodies The classes that the bodies of responses are made from, in place of the client's.
   * @param options A signal that aborts connecting, the handshake and `onConnect`, and has no effect
   * on the connection later.
   * @throws {Deno.errors.TimedOut} where it takes more than `timeout` seconds.
   * @throws {ConnectionClosedError} where `onConnect` does not return `true`.
   */
  async connect(bodies: Bodies = this.bodies, options?: RequestOptions): Promise<Connection> {
    checkBodies(bodies);
    const { signal, onConnect } = this.options;
    using joined = new JoinedSignal(signal, requestSignal(options));
    const connection = new Connection(
      await this.createSocket(options),
      this.#baseHeaders,
      bodies,
      this.timeout,
    );
    if (signal !== undefined) closeOnAbort(connection, signal);
    if (onConnect === undefined) return connection;
    try {
      if (await untilAborted(onConnect(connection), joined.signal) !== true) {
        throw new ConnectionClosedError("onConnect did not return true");
      }
      joined.signal?.throwIfAborted();
    } catch (error) {
      connection.close();
      throw error;
    }
    return connection;
  }

  /**
   * Makes one request over a connection of its own, which is closed once the body has been read.
   *
   * @param options A signal that aborts this request, from connecting to the end of the response's
   * body.
   * @throws what {@linkcode connect} and `connection.request` do.
   */
  async request(
    method: Method,
    uri: string,
    headers: HeaderDict = {},
    body: BodyOut = null,
    options?: RequestOptions,
  ): Promise<Response> {
    let connection;
    try {
      connection = await this.connect(this.bodies, options);
    } catch (error) {
      cancelUnused(body, error);
      throw error;
    }
    closeAfterResponse(connection);
    try {
      return await connection.request(method, uri, headers, body, options);
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /** What `console.log` and `Deno.inspect` show: everything but what is secret in the headers. */
  [INSPECT](inspect: (value: unknown, options?: unknown) => string, options: unknown): string {
    const { address, host, timeout, options: given } = this;
    const fields = { address, host, timeout, options: given };
    return inspectFields(this.constructor.name, fields, inspect, options);
  }
}

function checkOptions(options: ClientOptions, known: readonly string[]): ClientOptions {
  const copy = copyOptions(options, known);
  const { host, timeout, bodies, authorization, headers, onConnect, signal } = copy;
  if (host !== undefined && host !== null) checkHeaderValue("host", host);
  if (authorization !== undefined) checkHeaderValue("authorization", authorization);
  if (timeout !== undefined) checkTimeout(timeout);
  if (bodies !== undefined) checkBodies(bodies);
  if (onConnect !== undefined && typeof onConnect !== "function") {
    throw new TypeError(`onConnect: need a function; got ${typeName(onConnect)}`);
  }
  checkSignal(signal);
  if (headers !== undefined) {
    checkBaseHeaders(headers);
    copy.headers = Object.freeze(hideSecretsOf({ ...headers }));
  }
  return copy;
}

function checkHeaderValue(name: string, value: string): void {
  if (typeof value !== "string") {
    throw new TypeError(`${name}: need a string; got ${typeName(value)}`);
  }
  if (value === "" || !allows(VALUE, value)) {
    // The value may be a secret.
    throw new RangeError(`${name}: need one or more of the characters that a header may have`);
  }
}

function makeBaseHeaders(host: string | null, { headers: given, authorization }: ClientOptions) {
  const headers: HeaderDict = { ...given };
  if (authorization !== undefined) headers["authorization"] = authorization;
  if (host !== null) headers["host"] = host;
  return Object.keys(headers).length === 0 ? null : Object.freeze(hideSecretsOf(headers));
}

/** The options of a client, and the name of the server. */
export interface SSLClientOptions extends ClientOptions {
  /**
   * The name that is sent to the server, if it is a DNS name, and that the server's certificate has to
   * be for; `null` for none.
   *
   * @default {the host of the address; null for Unix sockets and abstract names}
   */
  sslHost?: string | null | undefined;
}

/**
 * Where an HTTPS server is, how to connect to it, and which servers to trust.
 *
 * The server's certificate is always verified. With `{}` it has to come from an authority that Deno
 * trusts by default; with `caFile` or `caPath` from one of those, and from no other. Its names are those
 * in its subjectAltName (RFC 9525 §6.3). A connection's server is told by `conn.sock.peerCertificate`.
 *
 * @example A client and a server that know one another
 * ```ts
 * import { SSLClient } from "@degu/degu/client";
 * import { TempPKI } from "@degu/degu/misc";
 * import { SSLServer } from "@degu/degu/server";
 * import { assertEquals } from "@std/assert";
 *
 * await using pki = await TempPKI.create();
 * const app = () => [200, "OK", { hello: "world" }, null] as const;
 * await using server = new SSLServer(pki.serverSslconfig, ["127.0.0.1", 0], app);
 * const serving = server.serveForever();
 * await server.ready;
 *
 * const client = new SSLClient(pki.clientSslconfig, server.address);
 * const response = await client.request("GET", "/");
 * assertEquals(response.headers.hello, "world");
 *
 * server.close();
 * await serving;
 * ```
 */
export class SSLClient extends Client {
  /** The options that were given. */
  declare readonly options: Readonly<SSLClientOptions>;
  /** What the client trusts and who it is, and the policy. */
  readonly sslctx: ClientSslctx;
  /** The name that the server's certificate has to be for, or `null`. */
  readonly sslHost: string | null;

  /**
   * Makes a client; the files are read, but nothing is resolved or connected yet.
   *
   * @param sslctx What {@linkcode buildClientSslctx} has made, or its argument.
   * @param address As for {@linkcode Client}.
   * @throws {TypeError} for an argument or option of a wrong type, and for an unknown option.
   * @throws {RangeError} for a value that is not allowed; where the server's name is to be checked,
   * but neither the address nor `sslHost` has one.
   * @throws what {@linkcode buildClientSslctx} does.
   */
  constructor(
    sslctx: ClientSslctx | ClientSslconfig,
    address: Address,
    options: SSLClientOptions = {},
  ) {
    super(address, options);
    const { sslHost } = this.options;
    this.sslctx = asClientSslctx(sslctx);
    this.sslHost = sslHost === undefined ? sslHostOf(this.address) : sslHost;
    checkSslHost(this.sslHost, this.sslctx);
  }

  /** The port that is left out of `host`. */
  protected override get defaultPort(): number {
    return 443;
  }

  /** The names of the options. */
  protected override get knownOptions(): readonly string[] {
    return [...OPTIONS, "sslHost"];
  }

  /** As a client's, with what it has more. */
  override [INSPECT](
    inspect: (value: unknown, options?: unknown) => string,
    options: unknown,
  ): string {
    const { address, host, sslHost, timeout, options: given, sslctx } = this;
    const fields = { address, host, sslHost, timeout, options: given, sslctx };
    return inspectFields(this.constructor.name, fields, inspect, options);
  }

  /** Makes a socket that is connected to the address and encrypted, its server verified. */
  override async createSocket(options?: RequestOptions): Promise<Socket> {
    using joined = new JoinedSignal(this.options.signal, requestSignal(options));
    const bounds = { timeout: this.timeout, signal: joined.signal };
    return await connectTls(this.address, this.sslctx, this.sslHost, bounds);
  }
}
