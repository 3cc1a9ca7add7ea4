/**
 * HTTP/1.1 servers, with and without TLS.
 *
 * {@linkcode Server} and {@linkcode SSLServer} serve an app, which gets a {@linkcode Session} with
 * each `Request`, and can throw a response as a {@linkcode ResponseError}.
 * {@linkcode buildServerSslctx} reads a configuration of TLS once for many servers, and
 * {@linkcode publicKey256} the key of a certificate. {@linkcode standardLogger} makes the logger
 * that a server has by default, and {@linkcode serveUntilSignal} stops servers at a signal of the
 * system. Every other name is a type that these refer to, or an error that they throw; what servers
 * share with clients is in `@degu/degu/base`.
 *
 * @example
 * ```ts
 * import { Client } from "@degu/degu/client";
 * import { Server } from "@degu/degu/server";
 * import { assertEquals } from "@std/assert";
 *
 * const hello = new TextEncoder().encode("hello, world");
 * await using server = await Server.start(["127.0.0.1", 0], () => [200, "OK", {}, hello]);
 * const response = await new Client(server.address).request("GET", "/");
 * assertEquals(await response.body?.text(), "hello, world");
 * ```
 *
 * @module
 */

import { type App, readApp } from "./base/app/app.ts";
import { makeSafeLogger, standardLogger } from "./base/app/logger.ts";
import {
  type Address,
  checkAddress,
  type HostAddress,
  isUnixAddress,
  type ScopedAddress,
} from "./base/address.ts";
import { type Session, sessionCoreOf } from "./base/app/session.ts";
import { checkBoolean, checkOptions } from "./internal/checks.ts";
import { keepTimerRunning } from "./net/transport/deadline.ts";
import { type Exchange, makeExchangeReporter } from "./base/app/exchange_recorder.ts";
import { DualStackListener, needsDualStackListener } from "./net/server/dual_stack_listener.ts";
import {
  type AcceptedConnection,
  type Listener,
  ListenerMaker,
  listenPlain,
} from "./net/transport/listener.ts";
import { ServerConnection, type ServerState } from "./net/server/server_connection.ts";
import {
  canonicalizeHosts,
  SERVER_CHECKS,
  type ServerOptions,
  type SSLServerOptions,
} from "./net/server/server_options.ts";
import { serveUntilSignal } from "./program/termination.ts";
import { type RefusalCause, Slots } from "./net/transport/slots.ts";
import {
  checkProtocol,
  resolveServerSslctx,
  type ServerSslconfig,
  type ServerSslctx,
} from "./net/tls/context.ts";
import { CurrentTlsContext, TlsListener } from "./net/tls/listener.ts";

export type { Api, App, AppFunction, AppObject } from "./base/app/app.ts";
export type { PeerIdentity } from "./base/app/peer_identity.ts";
export { serveUntilSignal, type StoppableServer } from "./program/termination.ts";
export { ResponseError, type ResponseObject, type ResponseTuple } from "./base/app/app_result.ts";
export { Request } from "./base/app/message.ts";
export { Session } from "./base/app/session.ts";
export {
  BodyError,
  ConnectionClosedError,
  ConnectionError,
  ProtocolError,
  TlsError,
} from "./base/errors.ts";
export type { Exchange };
export type { ServerOptions, SSLServerOptions } from "./net/server/server_options.ts";
export { type LogDetails, type Logger, standardLogger } from "./base/app/logger.ts";
export { publicKey256 } from "./net/tls/certificate.ts";
export { buildServerSslctx, type ServerSslconfig, type ServerSslctx } from "./net/tls/context.ts";

const PLAIN_LISTENER_MAKER = new ListenerMaker([], listenPlain);

/**
 * A server of one app. A server listens as soon as it is made, and serves once
 * {@linkcode Server.prototype.serveForever} is called.
 *
 * @example
 * ```ts
 * import { type App, Server } from "@degu/degu/server";
 * import { Client } from "@degu/degu/client";
 * import { assertEquals } from "@std/assert";
 *
 * const app: App = async (request, session) => {
 *   const text = request.body === null ? "" : await request.body.text();
 *   const answer = `request ${session.requests + 1}: ${text.length} characters`;
 *   return [200, "OK", {}, new TextEncoder().encode(answer)];
 * };
 * await using server = await Server.start(["127.0.0.1", 0], app, { maxRequests: 10 });
 * const response = await new Client(server.address)
 *   .request("POST", "/", {}, new TextEncoder().encode("hello"));
 * assertEquals(await response.body?.text(), "request 1: 5 characters");
 * await server.shutdown(); // answers what is in progress, then closes
 * ```
 */
export class Server implements AsyncDisposable {
  /** The options that were given. */
  readonly options: Readonly<ServerOptions>;
  /**
   * The current sessions, from the end of their handshake and `onConnect` to their own end. The set
   * is live; `session.close()` ends a session.
   */
  readonly sessions: ReadonlySet<Session>;
  readonly #listener: Listener;
  readonly #state: ServerState;
  readonly #slots: Slots<AcceptedConnection, ServerConnection>;
  readonly #stopped = Promise.withResolvers<void>();
  readonly #ownLogger: Disposable | null;
  #hasReadyReader = false;
  #servePromise: Promise<void> | null = null;

  /**
   * Makes a server that is bound to an address. Needs `--allow-net`; for the path of a Unix socket
   * also `--allow-read` and `--allow-write` of it.
   *
   * @param address `[host, port]` or `[host, port, flowinfo, scopeid]` with a literal IP address,
   * port 0 for a free one; the absolute path of a Unix socket, which must not exist without
   * `replaceStaleSocket`; or the bytes of a Linux abstract name, empty for a free one.
   * @param app Answers the requests.
   * @param options The options; each has a default.
   * @throws {TypeError} if an argument or option is of a wrong type, or an option is unknown.
   * @throws {RangeError} if a value is not allowed.
   * @throws {Deno.errors.AddrInUse} if the address is in use.
   */
  constructor(address: Address, app: App, options?: ServerOptions);
  /**
   * Makes a server with another kind of listener.
   *
   * @internal
   */
  constructor(address: Address, app: App, options: ServerOptions, listenerMaker: ListenerMaker);
  constructor(
    address: Address,
    app: App,
    options: ServerOptions = {},
    listenerMaker?: ListenerMaker,
  ) {
    const { additionalOptions, listen } = listenerMaker instanceof ListenerMaker
      ? listenerMaker
      : PLAIN_LISTENER_MAKER;
    this.options = Object.freeze(checkOptions(options, SERVER_CHECKS, additionalOptions));
    const {
      maxConnections = 50,
      maxRequests = Infinity,
      timeout = 30,
      logger: givenLogger,
      onExchange,
      unframedNull = false,
      hosts,
      replaceStaleSocket,
    } = this.options;
    const checkedAddress = checkAddress(address, "server");
    const parts = readApp(app, "app");
    this.#slots = new Slots({
      max: maxConnections,
      timeout,
      onSlot: (connection) => this.#serveConnection(connection),
      onRefuse: (connection, cause) => this.#refuseConnection(connection, cause),
    });
    const ownLogger = givenLogger === undefined ? standardLogger() : null;
    const logger = makeSafeLogger(ownLogger ?? givenLogger!);
    this.#ownLogger = ownLogger;
    const sessions = new Set<Session>();
    this.sessions = sessions;
    this.#state = {
      ...parts,
      timeout,
      logger,
      sessions,
      lingeringConnections: new Set(),
      reportExchange: makeExchangeReporter(onExchange, logger),
      unframedNull,
      maxRequests,
      hosts: canonicalizeHosts(hosts),
      isStopping: false,
    };
    const onConnection = (connection: AcceptedConnection) => {
      // The server may have stopped meanwhile.
      if (this.#state.isStopping) this.#refuseConnection(connection, "close");
      else this.#slots.admit(connection);
    };
    const listenerOptions = { timeout, logger, replaceStaleSocket, onConnection };
    const listenAt = (address: Address) => listen(address, listenerOptions);
    this.#listener = needsDualStackListener(checkedAddress)
      ? new DualStackListener(checkedAddress, listenAt, logger)
      : listenAt(checkedAddress);
  }

  /**
   * Makes a server, and resolves once it serves. Only this promise rejects if the address can't be
   * bound. Needs the permissions of the constructor.
   *
   * @param address The address, as for the constructor.
   * @param app Answers the requests.
   * @param options The options; each has a default.
   * @throws the errors of the constructor.
   *
   * @example
   * ```ts
   * import { Client } from "@degu/degu/client";
   * import { Server } from "@degu/degu/server";
   * import { assertEquals } from "@std/assert";
   *
   * await using server = await Server.start(["127.0.0.1", 0], () => [200, "OK", {}, "hello"]);
   * assertEquals(await (await new Client(server.address).request("GET", "/")).text(), "hello");
   * ```
   */
  static start(
    address: HostAddress | ScopedAddress,
    app: App,
    options?: ServerOptions,
  ): Promise<Server & { readonly port: number }>;
  /** The same for an address of any kind, such as a Unix socket, which may have no port. */
  static start(address: Address, app: App, options?: ServerOptions): Promise<Server>;
  static async start(address: Address, app: App, options: ServerOptions = {}): Promise<Server> {
    return await startServer(new Server(address, app, options));
  }

  /**
   * Resolves once the address is bound, which is immediately for a plain server without
   * `replaceStaleSocket`. Rejects if the address can't be bound; the constructor of such a plain
   * server throws instead.
   */
  get ready(): Promise<void> {
    this.#hasReadyReader = true;
    return this.#listener.ready;
  }

  /**
   * The address, which can be passed to a client; its port, scope and name are final once
   * {@linkcode Server.prototype.ready} has resolved.
   */
  get address(): Address {
    return this.#listener.address;
  }

  /**
   * The port of the address, final like {@linkcode Server.prototype.address}; `null` for a Unix
   * socket and an abstract name.
   */
  get port(): number | null {
    const { address } = this;
    return isUnixAddress(address) ? null : address[1];
  }

  /**
   * Serves connections until {@linkcode Server.prototype.close} or
   * {@linkcode Server.prototype.shutdown}; then the address is free. Rejects only if the address of
   * an {@linkcode SSLServer} can't be bound. A second call returns the same promise.
   */
  serveForever(): Promise<void> {
    return this.#servePromise ??= this.#serve();
  }

  /**
   * Serves until the process receives a signal: SIGINT or SIGTERM. The first signal calls
   * {@linkcode Server.prototype.shutdown}, which answers the requests in flight; a second signal,
   * or the deadline, calls {@linkcode Server.prototype.close}. Resolves when all connections have
   * ended; then the signals have their usual effect again. Needs no permission.
   *
   * @param options The seconds after which the remaining connections are closed, and an
   * `AbortSignal` that has the effect of the first signal.
   * @throws {TypeError} if an option is of a wrong type or unknown.
   * @throws {RangeError} if a value is not allowed.
   *
   * @example The end of a program that only serves
   * ```ts
   * import { Server } from "@degu/degu/server";
   *
   * const server = await Server.start(["127.0.0.1", 0], () => [204, "No Content", {}, null]);
   * const serving = server.serveUntilSignal({ deadline: 30 });
   * await server.shutdown(); // in place of a signal
   * await serving;
   * ```
   */
  serveUntilSignal(options: Parameters<typeof serveUntilSignal>[1] = {}): Promise<void> {
    return serveUntilSignal(this, options);
  }

  async #serve(): Promise<void> {
    try {
      await this.#listener.ready;
    } catch (error) {
      // The reader of `ready` handles the same error.
      if (this.#hasReadyReader) this.#servePromise!.catch(() => {});
      throw error;
    }
    if (!this.#state.isStopping) await this.#acceptConnections();
    await this.#waitUntilEnded();
  }

  async #acceptConnections(): Promise<void> {
    // Keep the timer of the deadlines running: otherwise a server with one connection at a time
    // would start a timer for each connection.
    using _ = keepTimerRunning(this.#state.timeout);
    this.#listener.start();
    await this.#stopped.promise;
  }

  #refuseConnection({ name: who, socket }: AcceptedConnection, cause: RefusalCause): void {
    const { logger } = this.#state;
    if (cause === "timeout") {
      logger.info(`${who}: closed, because no slot became free`, { kind: "slot", who });
    } else if (cause === "flood") {
      const line = `${who}: closed, because too many connections wait for a slot`;
      logger.debug(line, { kind: "slot", who });
    }
    try {
      socket.close();
    } catch {
      // The peer has closed the connection first.
    }
  }

  #serveConnection(acceptedConnection: AcceptedConnection): void {
    const connection = new ServerConnection(this.#state, acceptedConnection);
    // Add the connection first: serve() calls `onConnect` at once, which may close the server.
    this.#slots.add(connection);
    void connection.slotFreed.then(() => this.#slots.delete(connection));
    void connection.serve();
  }

  async #waitUntilEnded(): Promise<void> {
    const freedSlots = [...this.#slots].map(({ slotFreed }) => slotFreed);
    await Promise.all([this.#listener.waitUntilEnded(), ...freedSlots]);
    await Promise.all(
      [...this.#state.lingeringConnections].map((connection) => connection.serve()),
    );
  }

  /**
   * Closes the listener and every connection at once. The socket file that the server made is
   * removed.
   */
  close(): void {
    this.#stop();
    for (const connection of [...this.#slots, ...this.#state.lingeringConnections]) {
      connection.close();
    }
  }

  /**
   * Closes the listener and the connections that wait for a request; a connection with a request in
   * flight is closed after its response. Resolves when no connection is left.
   */
  async shutdown(): Promise<void> {
    this.#stop();
    for (const connection of this.#slots) {
      if (connection.isIdle) connection.close();
    }
    await this.#waitUntilEnded();
  }

  #stop(): void {
    if (this.#state.isStopping) return;
    this.#state.isStopping = true;
    this.#listener.close();
    this.#slots.close();
    this.#stopped.resolve();
    this.#ownLogger?.[Symbol.dispose]();
  }

  /** Closes the server: {@linkcode Server.prototype.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.#waitUntilEnded();
    await this.#servePromise?.catch(() => {});
  }
}

/**
 * A server of one app over TLS. The server accepts only clients whose certificate comes from a
 * trusted authority. With `allowUnauthenticatedClients: true`, the server accepts all clients.
 *
 * A refused client gets no byte of HTTP, and the app is never called. `session.peerCertificate` is
 * the certificate of an accepted client, also in `onConnect`, which may still refuse the client.
 *
 * Unlike a plain server, the server is not bound to its address at once: await
 * {@linkcode Server.prototype.ready} before reading the port. If the address can't be bound,
 * `ready` and `serveForever()` reject.
 *
 * @example Accept one client by its public key
 * ```ts
 * import { SSLClient } from "@degu/degu/client";
 * import { TempPKI } from "@degu/degu/misc";
 * import { type App, publicKey256, SSLServer } from "@degu/degu/server";
 * import { assertEquals } from "@std/assert";
 *
 * await using pki = await TempPKI.create();
 * const known = publicKey256(await Deno.readTextFile(pki.clientSslconfig.certFile!));
 * const app: App = {
 *   onConnect: (session) => session.peerCertificate?.publicKey256 === known,
 *   handle: () => [204, "No Content", {}, null],
 * };
 * await using server = await SSLServer.start(pki.serverSslconfig, ["::1", 0], app);
 *
 * const client = new SSLClient(pki.clientSslconfig, server.address);
 * assertEquals((await client.request("GET", "/")).status, 204);
 * ```
 */
export class SSLServer extends Server {
  /** The options that were given. */
  declare readonly options: Readonly<SSLServerOptions>;
  readonly #context: CurrentTlsContext;

  /**
   * Reads the files, makes a server, and begins to bind its address.
   *
   * @param sslctx The result of {@linkcode buildServerSslctx}, or its argument.
   * @param address The address, as for {@linkcode Server}.
   * @param app Answers the requests.
   * @param options The options; each has a default.
   * @throws {TypeError} if an argument or option is of a wrong type, or an option is unknown.
   * @throws {RangeError} if a value is not allowed.
   * @throws the errors of {@linkcode buildServerSslctx}.
   */
  constructor(
    sslctx: ServerSslctx | ServerSslconfig,
    address: Address,
    app: App,
    options: SSLServerOptions = {},
  ) {
    const context = new CurrentTlsContext(resolveServerSslctx(sslctx));
    const protocol = checkProtocol(options?.protocol);
    const listenerMaker = new ListenerMaker(
      ["protocol"],
      (bindAddress, listenerOptions) =>
        new TlsListener(bindAddress, listenerOptions, context, protocol),
    );
    super(address, app, options, listenerMaker);
    this.#context = context;
  }

  /** Makes a server, and resolves once it serves: {@linkcode Server.start}. */
  static override start(
    sslctx: ServerSslctx | ServerSslconfig,
    address: HostAddress | ScopedAddress,
    app: App,
    options?: SSLServerOptions,
  ): Promise<SSLServer & { readonly port: number }>;
  /** The same for an address of any kind, such as a Unix socket, which may have no port. */
  static override start(
    sslctx: ServerSslctx | ServerSslconfig,
    address: Address,
    app: App,
    options?: SSLServerOptions,
  ): Promise<SSLServer>;
  /**
   * Makes the type compatible with the static method of the base class. This overload can't be
   * called.
   *
   * @internal
   */
  static override start(address: never, app: never, options?: never): Promise<never>;
  static override async start(
    sslctx: ServerSslctx | ServerSslconfig,
    address: Address,
    app?: App,
    options: SSLServerOptions = {},
  ): Promise<SSLServer> {
    return await startServer(new SSLServer(sslctx, address, app!, options));
  }

  /** The current context: the trusted clients, the identity of the server, and the policy. */
  get sslctx(): ServerSslctx {
    return this.#context.sslctx;
  }

  /**
   * Replaces the context while the server runs, at once: to add or remove a trusted peer, or to use
   * a renewed certificate. The session of each client that the new context doesn't trust ends at
   * once, in the middle of a message if necessary; its `signal` is aborted with a
   * {@linkcode TlsError} `"UNTRUSTED"`. A client is not affected if both contexts trust the key of
   * its authority. If the call throws, the old context stays in use.
   *
   * @param sslctx The result of {@linkcode buildServerSslctx}, or its argument.
   * @param options With `keepSessions: true`, the requests that are running get their responses
   * first. An app needs this option to answer a client that it no longer trusts.
   * @throws {TypeError} if an option is of a wrong type or unknown.
   * @throws the errors of {@linkcode buildServerSslctx}.
   *
   * @example Trust another authority
   * ```ts
   * import { EmptyPreambleError, SSLClient, SSLServer } from "@degu/degu";
   * import { TempPKI } from "@degu/degu/misc";
   * import { assertEquals, assertRejects } from "@std/assert";
   *
   * await using pki = await TempPKI.create();
   * await using other = await TempPKI.create();
   * const app = () => [204, "No Content", {}, null] as const;
   * await using server = await SSLServer.start(pki.serverSslconfig, ["127.0.0.1", 0], app);
   * const client = new SSLClient(pki.clientSslconfig, server.address);
   * assertEquals((await client.request("GET", "/")).status, 204);
   *
   * server.setSslctx({ ...pki.serverSslconfig, caFile: other.serverSslconfig.caFile });
   * await assertRejects(() => client.request("GET", "/"), EmptyPreambleError);
   * ```
   */
  setSslctx(
    sslctx: ServerSslctx | ServerSslconfig,
    options: { keepSessions?: boolean | undefined } = {},
  ): void {
    const { keepSessions = false } = checkOptions(options, { keepSessions: checkBoolean });
    this.#context.replace(resolveServerSslctx(sslctx));
    for (const session of [...this.sessions]) {
      sessionCoreOf(session)!.callbacks!.onTrustChanged(keepSessions);
    }
  }
}

async function startServer<S extends Server>(server: S): Promise<S> {
  server.serveForever();
  await server.ready;
  return server;
}
