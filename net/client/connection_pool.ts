import type { Response } from "../../base/app/message.ts";
import { type BodyIn, readerOf } from "../../base/body/body.ts";
import {
  type BodyOut,
  cancelUnusedBody,
  isRepeatable,
  retainBody,
} from "../../base/body/sent_body.ts";
import {
  checkMethods,
  checkOptions,
  makeChoiceCheck,
  makeIntegerCheck,
} from "../../internal/checks.ts";
import { ConnectionClosedError, ConnectionError, DeguError } from "../../base/errors.ts";
import { clearMaybeProcessed, stalledPoolError } from "./client_errors.ts";
import { errorCodeOf } from "../../internal/caught_errors.ts";
import { joinSignals, pause } from "../../internal/pause.ts";
import type { HeadersToSend } from "../../base/wire/headers.ts";
import type { Method } from "../../base/wire/method.ts";
import {
  checkRequest,
  checkResponse,
  type ConnectionCore,
  DEFAULT_TIMEOUT,
  isEncrypted,
} from "./client_connection.ts";
import {
  type Connection,
  connectionCoreOf,
  type ConnectionPeer,
  onExchangeEnd,
  peerOfSocket,
} from "./connection.ts";
import { checkTimeout, Deadline, MAX_TIMER_MILLISECONDS } from "../transport/deadline.ts";
import { waitForSockets } from "../transport/turns.ts";
import { prefetchSmallBody } from "./prefetched_body.ts";
import { parseRequestOptions, type RequestOptions } from "./request_signal.ts";
import {
  bodyOrNull,
  type Connector,
  type ConnectorConnection,
  type RequestMessage,
  RequestShortcuts,
} from "./requester.ts";

/** The number of connections that a pool keeps, their idle time, and the requests to repeat. */
export interface ConnectionPoolOptions {
  /**
   * The maximum number of connections, 1 or more; more requests wait in order. `Infinity` is no
   * limit.
   *
   * @default {4}
   */
  maxConnections?: number | undefined;
  /**
   * Seconds after which an unused connection is closed, above 0 and at most 3600; `null` for no
   * limit. The connection is closed after 1.0 to 1.25 times this value.
   *
   * @default {10}
   */
  idleTimeout?: number | null | undefined;
  /**
   * Which requests are sent a second time if a reused connection closes before the first byte of
   * the response.
   *
   * - `"safe"`: `GET`, `HEAD` and `OPTIONS`, which don't change the server's state.
   * - `"any"`: also `PUT`, `POST`, `PATCH` and `DELETE`, which the server may then process twice.
   *   Their errors are {@linkcode isTransient | transient}. Only for callers whose requests are all
   *   idempotent. A transfer of files repeats its requests itself, and counts wrongly over such a
   *   pool: pass it a pool without this option.
   *
   * @default {"safe"}
   */
  repeat?: "safe" | "any" | undefined;
}

/** The right to use one connection, until a request was sent and its response has ended. */
interface Lease {
  connection: PooledConnection | null;
  body: BodyIn;
  hasResponse: boolean;
  /** The progress of the exchange when the timer for stalled exchanges was started. */
  lastProgress: number | null;
}

class PooledConnection {
  readonly connection: ConnectorConnection;
  /** `null` for a connection of another class, whose close and progress are unknown. */
  readonly core: ConnectionCore | null;
  /** Setting a timer for each wait would cost more than the rest of a request. */
  idleDeadline: Deadline | null = null;
  idleSince = performance.now();
  /** The idle time after which the server closes the connection, if a response has announced it. */
  #keepAliveSeconds = Infinity;

  constructor(connection: ConnectorConnection) {
    this.connection = connection;
    this.core = connectionCoreOf(connection);
  }

  get isClosed(): boolean {
    return this.connection.closed;
  }

  readKeepAlive({ "keep-alive": value }: HeadersToSend): void {
    const match = typeof value === "string" && KEEP_ALIVE_TIMEOUT.exec(value);
    if (match) this.#keepAliveSeconds = Number(match[1]);
  }

  get idleSeconds(): number {
    return (performance.now() - this.idleSince) / 1000;
  }

  /** Returns false if the connection is closed, or the server is about to close it. */
  endIdle(): boolean {
    this.idleDeadline?.stopWait();
    const { idleSeconds } = this;
    if (this.core !== null) this.core.idleSeconds = idleSeconds;
    return !this.isClosed && idleSeconds < this.#keepAliveSeconds - 1;
  }
}

/**
 * The idle time after which a pool lets the event loop read a connection before it reuses it: the
 * server may have closed the connection while the program computed, or waited in `prompt()`.
 * Servers close after two seconds or more. The wait takes 2 ms, too much for each reuse.
 */
const MAX_UNREAD_SECONDS = 1;

/** A parameter of the header `keep-alive` (RFC 2068 §19.7.1.1), which many servers send. */
const KEEP_ALIVE_TIMEOUT = /(?:^|[\s,;])timeout=(\d+)/i;

/**
 * Makes requests over a few connections, which stay open and are reused: a request that follows
 * another within a short time needs no handshake.
 *
 * A connection is free again when its request has been sent, and the body of its response has been
 * consumed or canceled, or was read at once, because its length is at most 64 KiB. Read each other
 * body, or call `response.discard()`.
 *
 * A connection that the server has closed is replaced before a request is sent. If a reused
 * connection closes before the first byte of the response to a `GET`, `HEAD` or `OPTIONS`, the pool
 * sends the request a second time. Other requests are sent once, unless `repeat` is `"any"`.
 *
 * A pool keeps no process alive. {@linkcode ConnectionPool.prototype.close}, or the end of an
 * `await using` block, closes it.
 *
 * @example
 * ```ts
 * import { Client, ConnectionPool, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * await using server = await Server.start(["127.0.0.1", 0], ({ uri }) => [200, "OK", {}, uri]);
 * await using pool = new ConnectionPool(new Client(server.address), { maxConnections: 2 });
 * const uris = ["/a", "/b", "/c", "/d"];
 * const texts = uris.map(async (uri) => (await pool.request("GET", uri)).text());
 * assertEquals(await Promise.all(texts), uris);
 * assertEquals(server.sessions.size, 2);
 * ```
 */
export class ConnectionPool extends RequestShortcuts implements AsyncDisposable {
  /** The client, or another connector, that opens the connections. */
  readonly connector: Connector;
  readonly #allowsUnsafeRetries: boolean;
  readonly #maxConnections: number;
  readonly #idleConnections: IdleConnections;
  readonly #leases = new Set<Lease>();
  readonly #waiters = new Set<PromiseWithResolvers<Lease>>();
  /** Seconds after which waiting requests fail if all exchanges stall; `null` for no limit. */
  readonly #timeout: number | null;
  #stallTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #closeController = new AbortController();

  /**
   * Makes a pool, which connects at the first request.
   *
   * @param connector Makes the connections, usually a client.
   * @param options How many connections to keep, for how long, and which requests to repeat.
   * @throws {TypeError} if an argument or option has a wrong type, or an option is unknown.
   * @throws {RangeError} if a value is not allowed.
   */
  constructor(connector: Connector, options: ConnectionPoolOptions = {}) {
    super();
    checkMethods("connector", connector, ["connect"]);
    const { maxConnections = 4, idleTimeout = 10, repeat } = checkOptions(options, {
      maxConnections: makeIntegerCheck(1, Infinity),
      idleTimeout: checkTimeout,
      repeat: makeChoiceCheck("safe", "any"),
    });
    this.#timeout = timeoutOf(connector);
    this.connector = connector;
    this.#maxConnections = maxConnections;
    this.#allowsUnsafeRetries = repeat === "any";
    this.#idleConnections = new IdleConnections(idleTimeout);
  }

  /** The number of open connections that carry a request, or a response still to be read. */
  get inUse(): number {
    let count = 0;
    for (const { connection } of this.#leases) if (connection?.isClosed === false) count++;
    return count;
  }

  /**
   * Resolves to the server that the connections reach. If the pool has no connection, this method
   * opens one, which the next request uses.
   *
   * @param options A signal that aborts connecting.
   * @throws {ConnectionClosedError} if the pool is closed, or closes during the call.
   * @throws the same errors as {@linkcode Client.prototype.connect}.
   *
   * @example
   * ```ts
   * import { ConnectionPool, SSLClient } from "@degu/degu/client";
   * import { TempPKI } from "@degu/degu/misc";
   * import { SSLServer } from "@degu/degu/server";
   * import { assertEquals } from "@std/assert";
   *
   * await using pki = await TempPKI.create();
   * const app = () => [204, "No Content", {}, null] as const;
   * await using server = await SSLServer.start(pki.serverSslconfig, ["127.0.0.1", 0], app);
   *
   * await using pool = new ConnectionPool(new SSLClient(pki.clientSslconfig, server.address));
   * const { certificate, address } = await pool.peer();
   * assertEquals(certificate?.authority?.publicKey256.length, 95);
   * assertEquals(address, server.address);
   * ```
   */
  async peer(options?: RequestOptions): Promise<ConnectionPeer> {
    const { connection } = await this.#getAnyConnection(parseRequestOptions(options).signal);
    return peerOfSocket((connection as Partial<Connection>).sock);
  }

  /**
   * Makes a request over a connection of the pool, as soon as one is free.
   *
   * @param method The method, such as `GET`: see {@linkcode Method}.
   * @param uri The path, which starts with `/`, and the query.
   * @param message The headers, the body and the options; their signal aborts this request, and
   * waiting and connecting for it.
   * @throws {ConnectionClosedError} if the pool is closed, or closes during the call.
   * @throws {ConnectionError} if the request waits, and the program continues none of the other
   * requests and responses.
   * @throws the same errors as {@linkcode Client.prototype.request}.
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
    let lease: Lease | null = null;
    try {
      const requestOptions = parseRequestOptions(options);
      const { signal } = requestOptions;
      const checkArguments = () => checkRequest(method, uri, headers, body);
      const leaseOrPromise = this.#acquireLease(signal, checkArguments);
      lease = leaseOrPromise instanceof Promise ? await leaseOrPromise : leaseOrPromise;
      const send = ({ connection, core }: PooledConnection) => {
        // Of a connection of another class, a pool doesn't know when its request was sent.
        const connectionOptions: RequestOptions = core === null
          ? { ...requestOptions, duplex: "half" }
          : requestOptions;
        return connection.request(method, uri, headers, body, connectionOptions);
      };
      const response = await this.#sendRequest(lease, checkArguments, send, body, signal);
      try {
        checkResponse(response);
      } catch (error) {
        // The body of the response is unread.
        this.#idleConnections.discard(lease.connection!);
        throw error;
      }
      const usedLease = lease;
      usedLease.body = response.body;
      usedLease.hasResponse = true;
      this.#restartStallTimer();
      usedLease.connection!.readKeepAlive(response.headers);
      const { connection } = usedLease.connection!;
      const { sock = {} } = connection as Partial<Connection>;
      const prefetchedResponse = prefetchSmallBody(response, signal, this.#timeout, sock);
      onExchangeEnd(connection, usedLease.body, () => this.#releaseLease(usedLease));
      return prefetchedResponse;
    } catch (thrownError) {
      const error = this.#closeController.signal.aborted
        ? this.#closeController.signal.reason
        : thrownError;
      if (lease !== null) this.#releaseLease(lease);
      cancelUnusedBody(body, error);
      throw this.#allowsUnsafeRetries ? clearMaybeProcessed(error) : error;
    }
  }

  /** No other code of a pool repeats a request. */
  async #sendRequest(
    lease: Lease,
    checkArguments: () => void,
    send: (connection: PooledConnection) => Promise<Response>,
    body: BodyOut,
    signal: AbortSignal | undefined,
  ): Promise<Response> {
    let idleConnection = lease.connection = this.#idleConnections.take();
    if (idleConnection !== null && idleConnection.idleSeconds > MAX_UNREAD_SECONDS) {
      checkArguments();
      await pause(0, joinSignals(signal, this.#closeController.signal));
      // If the program has computed since, the timer comes before the read of the sockets.
      await waitForSockets();
      if (idleConnection.isClosed) {
        this.#idleConnections.discard(idleConnection);
        idleConnection = lease.connection = this.#idleConnections.take();
      }
    }
    if (idleConnection !== null) {
      // Keep the body, because the request may be repeated with the same body over a new
      // connection.
      const release = retainBody(body);
      try {
        return await send(idleConnection);
      } catch (error) {
        const isStale = isStaleConnectionError(error);
        const mayRepeat = this.#allowsUnsafeRetries ||
          !(error instanceof DeguError && error.maybeProcessed);
        if (!mayRepeat || !isStale || !isRepeatable(body)) throw error;
      } finally {
        release();
      }
      lease.connection = null;
      this.#idleConnections.discard(idleConnection);
    } else {
      checkArguments();
    }
    return await send(await this.#connect(lease, signal));
  }

  /** @param checkArguments Called before the request has to wait. */
  #acquireLease(
    signal: AbortSignal | undefined,
    checkArguments: () => void,
  ): Lease | Promise<Lease> {
    this.#closeController.signal.throwIfAborted();
    signal?.throwIfAborted();
    if (this.#leases.size < this.#maxConnections) return this.#addLease();
    // If another class than `Connection` made a connection, the pool isn't notified of its close.
    for (const { connection } of this.#leases) {
      if (connection?.isClosed) this.#removeConnection(connection);
    }
    if (this.#leases.size < this.#maxConnections) return this.#addLease();
    checkArguments();
    return this.#waitForLease(joinSignals(signal, this.#closeController.signal)!);
  }

  #addLease(): Lease {
    const lease = { connection: null, body: null, hasResponse: false, lastProgress: null };
    this.#leases.add(lease);
    return lease;
  }

  #waitForLease(signal: AbortSignal): Promise<Lease> {
    const waiter = Promise.withResolvers<Lease>();
    const onAbort = () => {
      this.#waiters.delete(waiter);
      waiter.reject(signal.reason);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    this.#waiters.add(waiter);
    if (this.#waiters.size === 1) this.#restartStallTimer();
    return waiter.promise.finally(() => {
      signal.removeEventListener("abort", onAbort);
      if (this.#waiters.size === 0) clearTimeout(this.#stallTimer);
    });
  }

  /**
   * If the program continues no exchange until the timer fires, all waiting requests fail, because
   * a lease might never become free.
   */
  #restartStallTimer(): void {
    if (this.#timeout === null || this.#waiters.size === 0) return;
    clearTimeout(this.#stallTimer);
    for (const lease of this.#leases) lease.lastProgress = progressOf(lease);
    this.#stallTimer = setTimeout(() => {
      const isStalled = (lease: Lease) => {
        const progress = progressOf(lease);
        return progress !== null && progress === lease.lastProgress;
      };
      if (!this.#leases.values().every(isStalled)) return this.#restartStallTimer();
      for (const { reject } of this.#waiters) reject(stalledPoolError(this.#leases.size));
      this.#waiters.clear();
    }, Math.min(this.#timeout * 1000, MAX_TIMER_MILLISECONDS));
  }

  #releaseLease(lease: Lease): void {
    if (!this.#leases.delete(lease)) return;
    const { connection } = lease;
    if (connection !== null) {
      // Without a response, the server counts on from the end of the last one.
      if (lease.hasResponse) connection.idleSince = performance.now();
      if (this.#closeController.signal.aborted) this.#idleConnections.discard(connection);
      else this.#idleConnections.put(connection);
    }
    this.#restartStallTimer();
    for (const waiter of this.#waiters) {
      this.#waiters.delete(waiter);
      return waiter.resolve(this.#addLease());
    }
  }

  async #connect(lease: Lease, signal: AbortSignal | undefined): Promise<PooledConnection> {
    const closeSignal = this.#closeController.signal;
    const options = { signal: joinSignals(signal, closeSignal) };
    const connection = new PooledConnection(await this.connector.connect(options));
    lease.connection = connection;
    if (closeSignal.aborted) throw closeSignal.reason;
    connection.core?.addCloseListener(() => this.#removeConnection(connection));
    return connection;
  }

  async #getAnyConnection(signal: AbortSignal | undefined): Promise<PooledConnection> {
    for (const { connection } of this.#leases) {
      if (connection?.isClosed === false) return connection;
    }
    const lease = await this.#acquireLease(signal, () => {});
    try {
      lease.connection = this.#idleConnections.take();
      return lease.connection ?? await this.#connect(lease, signal);
    } finally {
      this.#releaseLease(lease);
    }
  }

  /** Frees the lease of a closed connection, even if its response is never read to its end. */
  #removeConnection(connection: PooledConnection): void {
    this.#idleConnections.discard(connection);
    for (const lease of this.#leases) {
      if (lease.body !== null && lease.connection === connection) this.#releaseLease(lease);
    }
  }

  /**
   * Closes all connections. Waiting requests, requests in flight, later requests and reads of
   * responses reject with a `ConnectionClosedError`. Further calls have no effect.
   */
  close(): Promise<void> {
    if (!this.#closeController.signal.aborted) {
      this.#closeController.abort(new ConnectionClosedError("the pool has been closed"));
      this.#idleConnections.close();
      for (const { connection } of this.#leases) {
        if (connection !== null) this.#idleConnections.discard(connection);
      }
    }
    return Promise.resolve();
  }

  /** Closes all connections. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Returns the origin of the server that a client reaches; `null` if the client has no host. */
export function originOf(client: object): string | null {
  if (client instanceof ConnectionPool) return originOf(client.connector);
  // A connection has the headers of its client.
  const { host = null, scheme, baseHeaders, sock } = client as Partial<Connection> & {
    readonly host?: unknown;
    readonly scheme?: unknown;
  };
  const isSecure = scheme === "https" || !!sock && isEncrypted(sock);
  const ownHost = host ?? baseHeaders?.["host"] ?? null;
  return typeof ownHost === "string" ? `${isSecure ? "https" : "http"}://${ownHost}` : null;
}

/**
 * Returns the time-out of a client, a pool or a connection; the default for an object of another
 * class.
 */
export function timeoutOf(client: object): number | null {
  if (client instanceof ConnectionPool) return timeoutOf(client.connector);
  const core = connectionCoreOf(client);
  if (core !== null) return core.timeout;
  const { timeout } = client as { timeout?: unknown };
  if (timeout === null || typeof timeout === "number" && timeout > 0 && timeout < Infinity) {
    return timeout;
  }
  return DEFAULT_TIMEOUT;
}

/**
 * Returns the progress of an exchange: the bytes that the program has read of the response, and the
 * number of writes of the request. Returns `null` while the exchange waits for the server, because
 * the connection's own time-out limits such a wait.
 */
function progressOf({ connection, body }: Lease): number | null {
  const core = connection?.core ?? null;
  const requestProgress = core === null ? null : core.requestProgress;
  if (body === null) return requestProgress;
  const reader = readerOf(body);
  if (reader.isAwaitingSource || core !== null && requestProgress === null) return null;
  return reader.bytesRead + (requestProgress ?? 0);
}

/**
 * Reports whether an error means that the server closed the connection, or sent unexpected bytes,
 * before it responded.
 */
function isStaleConnectionError(error: unknown): boolean {
  const code = errorCodeOf(error);
  // EXCESS_BYTES: some servers send a 408 before they close an idle connection.
  return code === "EMPTY_PREAMBLE" || code === "EXCESS_BYTES" ||
    error instanceof ConnectionError && error.cause instanceof Deno.errors.UnexpectedEof;
}

class IdleConnections {
  readonly #idleSeconds: number | null;
  readonly #connections: PooledConnection[] = [];

  constructor(seconds: number | null) {
    this.#idleSeconds = seconds;
  }

  /**
   * Removes and returns the connection that was used last, which the server is least likely to have
   * closed; `null` without an open connection.
   */
  take(): PooledConnection | null {
    while (this.#connections.length > 0) {
      const connection = this.#connections.pop()!;
      if (connection.endIdle()) return connection;
      this.discard(connection);
    }
    return null;
  }

  put(connection: PooledConnection): void {
    connection.core?.endFresh();
    if (connection.isClosed || connection.core?.isIdle === false) return this.discard(connection);
    this.#connections.push(connection);
    if (this.#idleSeconds === null) return;
    connection.idleDeadline ??= new Deadline(this.#idleSeconds, () => this.discard(connection));
    connection.idleDeadline.startWait();
  }

  discard(connection: PooledConnection): void {
    connection.idleDeadline?.close();
    const index = this.#connections.indexOf(connection);
    if (index >= 0) this.#connections.splice(index, 1);
    connection.connection.close();
  }

  close(): void {
    for (const connection of [...this.#connections]) this.discard(connection);
  }
}
