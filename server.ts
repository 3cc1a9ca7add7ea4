/**
 * The server.
 *
 * @example
 * ```ts
 * import { Client } from "@degu/degu/client";
 * import { Server } from "@degu/degu/server";
 * import { assertEquals } from "@std/assert";
 *
 * await using server = new Server(["127.0.0.1", 0], () => [200, "OK", { hello: "world" }, null]);
 * const serving = server.serveForever();
 * const response = await new Client(server.address).request("GET", "/");
 * assertEquals(response.headers.hello, "world");
 * server.close();
 * await serving;
 * ```
 *
 * @module
 */

import { api } from "./base/app/api.ts";
import type { App, Socket } from "./base/app/app.ts";
import { readApp } from "./base/app/app_parts.ts";
import { typeName } from "./base/errors.ts";
import { copyOptions } from "./base/options.ts";
import { makeSafeLogger } from "./base/safe_logger.ts";
import type { Address } from "./base/address_rules.ts";
import { Session } from "./base/app/session.ts";
import { SetView } from "./base/app/set_view.ts";
import { checkServerAddress } from "./net/addresses.ts";
import { checkTimeout } from "./net/deadline.ts";
import { type Accepted, type Listen, type Listener, listenPlain } from "./net/listener.ts";
import { Places } from "./net/places.ts";
import { type Logger, ServerConnection, type ServerContext } from "./net/server_connection.ts";
import { standardLogger } from "./net/standard_logger.ts";
import { asServerSslctx, type ServerSslconfig, type ServerSslctx } from "./net/tls/context.ts";
import { TlsListener } from "./net/tls/listener.ts";

export { Request } from "./base/app/message.ts";
export { Session } from "./base/app/session.ts";
export type { Api, App, AppFunction, AppObject, Socket } from "./base/app/app.ts";
export type { Address } from "./base/address_rules.ts";
export type { PeerAuthority, PeerCertificate } from "./base/app/session.ts";
export type { Logger } from "./net/server_connection.ts";
export { publicKey256 } from "./net/tls/public_key.ts";
export {
  buildServerSslctx,
  type ServerSslconfig,
  type ServerSslctx,
  type Sslctx,
} from "./net/tls/context.ts";

/** The limits of a server, and where it logs. */
export interface ServerOptions {
  /**
   * How many connections are served at a time, or `Infinity`. One more waits for up to 2 seconds.
   * TLS handshakes are not among them: 64 may be under way, of which the oldest gives way to the next.
   *
   * @default {50}
   */
  maxConnections?: number | undefined;
  /**
   * How many requests one connection may make, or `Infinity`.
   *
   * @default {1000}
   */
  maxRequests?: number | undefined;
  /**
   * Seconds that may pass: before a request's first byte, within its preamble, between two pieces
   * of its body, for a write, for a handshake. `null` for any time. It fires between 1.0 and 1.25
   * times its value.
   *
   * @default {30}
   */
  timeout?: number | null | undefined;
  /**
   * Where to tell what happens; `console` fits.
   *
   * @default {warnings and errors, to stderr}
   */
  logger?: Logger | undefined;
}

const OPTIONS = ["maxConnections", "maxRequests", "timeout", "logger"];
const LEVELS = ["debug", "info", "warn", "error"] as const;

/**
 * A server of one RGI application. It listens from when it is made, and serves while
 * {@linkcode serveForever} runs.
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
 * await using server = new Server(["127.0.0.1", 0], app, { maxRequests: 10 });
 * const serving = server.serveForever();
 * const response = await new Client(server.address)
 *   .request("POST", "/", {}, new TextEncoder().encode("hello"));
 * assertEquals(await response.body?.text(), "request 1: 5 characters");
 * await server.shutdown();
 * await serving;
 * ```
 */
export class Server implements AsyncDisposable {
  /** The options that were given. */
  readonly options: Readonly<ServerOptions>;
  /**
   * The sessions at this moment: those that were let in (their handshake and `onConnect` are done) and
   * are not over. It changes by itself, and can't be changed; `session.close()` takes one out.
   */
  readonly sessions: ReadonlySet<Session>;
  readonly #listener: Listener;
  readonly #context: ServerContext;
  readonly #maxRequests: number;
  readonly #places: Places;
  #serving: Promise<void> | null = null;
  #listening = true;

  /**
   * Makes a server that is bound to an address. Needs `--allow-net`; for the path of a Unix socket
   * also `--allow-read` and `--allow-write` of it.
   *
   * @param address `[host, port]` or `[host, port, flowinfo, scopeid]` with a literal IP address,
   * port 0 for a free one; the absolute path of a Unix socket, which must not exist; or the bytes
   * of a Linux abstract name, empty for a free one.
   * @throws {TypeError} for an argument or option of a wrong type, and for an unknown option.
   * @throws {RangeError} for a value that is not allowed.
   * @throws {Deno.errors.AddrInUse} where the address is taken.
   */
  constructor(address: Address, app: App, options?: ServerOptions);
  /**
   * Makes a server that accepts connections in a way of its own.
   *
   * @internal
   */
  constructor(address: Address, app: App, options: ServerOptions, listen: Listen);
  constructor(
    address: Address,
    app: App,
    options: ServerOptions = {},
    listen: Listen = listenPlain,
  ) {
    this.options = Object.freeze(checkOptions(options));
    const { maxConnections = 50, maxRequests = 1000, timeout = 30, logger = standardLogger } =
      this.options;
    const checkedAddress = checkServerAddress(address);
    const { handle, onConnect } = readApp(app, "app");
    this.#places = new Places(maxConnections);
    this.#maxRequests = maxRequests;
    const safeLogger = makeSafeLogger(logger, LEVELS);
    const sessions = new Set<Session>();
    this.sessions = new SetView(sessions);
    this.#context = {
      handle,
      onConnect,
      api,
      timeout,
      logger: safeLogger,
      sessions,
      stopping: false,
    };
    this.#listener = listen(checkedAddress, this.#context);
  }

  /** Resolves once the address is bound, which for a plain server it is from the start. */
  get ready(): Promise<void> {
    return this.#listener.ready;
  }

  /** The address, usable as a client's; its port, scope and name are final once {@linkcode ready}. */
  get address(): Address {
    return this.#listener.address;
  }

  /** Serves connections until {@linkcode close} or {@linkcode shutdown}; then the address is free. */
  serveForever(): Promise<void> {
    this.#serving ??= this.#serve();
    return this.#serving;
  }

  async #serve(): Promise<void> {
    await this.ready;
    while (this.#listening) {
      const accepted = await this.#accept();
      if (accepted === null) break;
      const free = await this.#places.wait();
      if (free && this.#listening) this.#start(accepted);
      else closeQuietly(accepted.socket);
    }
    await this.#ended();
  }

  /** The next connection; `null` where there won't be any. */
  async #accept(): Promise<Accepted | null> {
    try {
      return await this.#listener.accept();
    } catch (error) {
      if (this.#listening) throw error;
      return null;
    }
  }

  #start({ name, address, socket, isTrusted }: Accepted): void {
    const certificate = socket.peerCertificate ?? null;
    const session = new Session(name, address, this.#maxRequests, certificate);
    const connection = new ServerConnection(this.#context, socket, session, isTrusted);
    this.#places.take(connection, connection.serve());
  }

  async #ended(): Promise<void> {
    await Promise.all([this.#listener.ended(), this.#places.ended()]);
  }

  /**
   * Closes the listener and every connection, now. The socket file that the server made is removed.
   */
  close(): void {
    this.#stop();
    this.#places.close();
  }

  /**
   * Closes the listener and the connections that wait for a request; those with a request in flight
   * are closed after its response. Resolves when there are none left.
   */
  async shutdown(): Promise<void> {
    this.#stop();
    this.#places.closeIdle();
    await this.#ended();
  }

  #stop(): void {
    this.#context.stopping = true;
    if (!this.#listening) return;
    this.#listening = false;
    this.#listener.close();
    this.#places.stop();
  }

  /** Closes the server: {@linkcode close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.#ended();
    await this.#serving?.catch(() => {});
  }
}

function closeQuietly(socket: Socket): void {
  try {
    socket.close();
  } catch {
    // The peer was faster.
  }
}

function checkOptions(options: ServerOptions): ServerOptions {
  const copy = copyOptions(options, OPTIONS);
  checkCount("maxConnections", copy.maxConnections);
  checkCount("maxRequests", copy.maxRequests);
  if (copy.timeout !== undefined) checkTimeout(copy.timeout);
  return copy;
}

function checkCount(name: string, value: number | undefined): void {
  if (value === undefined) return;
  if (typeof value !== "number") {
    throw new TypeError(`${name}: need a number; got ${typeName(value)}`);
  }
  if (value !== Infinity && (!Number.isSafeInteger(value) || value < 1)) {
    throw new RangeError(`${name}: need an integer of 1 or more, or Infinity; got ${value}`);
  }
}

/**
 * A server of one RGI application over TLS, which lets in the clients of one authority only, or, only
 * if told explicitly, all clients.
 *
 * A client that is refused gets not one byte of HTTP, and the application never hears of it. Who was
 * let in is told by `session.peerCertificate`, also to `onConnect`, which may refuse it yet.
 *
 * It is bound a little later than a plain server: await {@linkcode Server.ready} before asking for the
 * port. Where the address can't be bound, `ready` and `serveForever()` reject.
 *
 * @example Let in one client by its public key
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
 * await using server = new SSLServer(pki.serverSslconfig, ["::1", 0], app);
 * const serving = server.serveForever();
 * await server.ready;
 *
 * const client = new SSLClient(pki.clientSslconfig, server.address);
 * assertEquals((await client.request("GET", "/")).status, 204);
 *
 * await server.shutdown();
 * await serving;
 * ```
 */
export class SSLServer extends Server {
  readonly #listener: TlsListener;

  /**
   * Makes a server, and begins to bind its address; the files are read before.
   *
   * @param sslctx What {@linkcode buildServerSslctx} has made, or its argument.
   * @param address As for {@linkcode Server}.
   * @throws {TypeError} for an argument or option of a wrong type, and for an unknown option.
   * @throws {RangeError} for a value that is not allowed.
   * @throws what {@linkcode buildServerSslctx} does.
   */
  constructor(
    sslctx: ServerSslctx | ServerSslconfig,
    address: Address,
    app: App,
    options: ServerOptions = {},
  ) {
    const checked = asServerSslctx(sslctx);
    let listener!: TlsListener;
    super(address, app, options, (address, side) => {
      listener = new TlsListener(address, side, checked);
      return listener;
    });
    this.#listener = listener;
  }

  /** The context in force: which clients the server trusts and who it is, and the policy. */
  get sslctx(): ServerSslctx {
    return this.#listener.sslctx;
  }

  /**
   * Puts another context in force, at once, while the server runs: to trust one more peer or one less,
   * or with a renewed certificate.
   *
   * From then on only clients are let in whose authority is trusted by it: also a client whose
   * handshake, wait for a place or `onConnect` is under way. A client whose authority, by its key,
   * is trusted before and after is not disturbed. Live sessions go on; close those that are no longer wanted. Where this throws,
   * the context that was in force stays.
   *
   * @param sslctx What {@linkcode buildServerSslctx} has made, or its argument.
   * @throws what {@linkcode buildServerSslctx} does.
   *
   * @example Trust somebody else
   * ```ts
   * import { EmptyPreambleError, SSLClient, SSLServer } from "@degu/degu";
   * import { TempPKI } from "@degu/degu/misc";
   * import { assertEquals, assertRejects } from "@std/assert";
   *
   * await using pki = await TempPKI.create();
   * await using other = await TempPKI.create();
   * const app = () => [204, "No Content", {}, null] as const;
   * await using server = new SSLServer(pki.serverSslconfig, ["127.0.0.1", 0], app);
   * server.serveForever();
   * await server.ready;
   * const client = new SSLClient(pki.clientSslconfig, server.address);
   * assertEquals((await client.request("GET", "/")).status, 204);
   *
   * server.setSslctx({ ...pki.serverSslconfig, caFile: other.serverSslconfig.caFile });
   * await assertRejects(() => client.request("GET", "/"), EmptyPreambleError);
   * ```
   */
  setSslctx(sslctx: ServerSslctx | ServerSslconfig): void {
    this.#listener.setSslctx(asServerSslctx(sslctx));
  }
}
