/** An app that forwards each request to another server. */

import type { Api, AppObject } from "../base/app/app.ts";
import { checkString, copyOptions } from "../base/checks.ts";
import { keepUnused, makeOutputFromInput } from "../base/body/bodies.ts";
import {
  makeEmptyResponse,
  type Request,
  Response,
  type ResponseTuple,
} from "../base/app/message.ts";
import { BodyError, ConnectionClosedError, DeguError, EmptyPreambleError } from "../base/errors.ts";
import { quote } from "../base/quote.ts";
import { makeSafeLogger } from "../net/logger.ts";
import type { Session } from "../base/app/session.ts";
import { connectionOptions, type HeaderDict, isSpecial } from "../base/wire/headers.ts";
import { isPreambleTooLong } from "../base/wire/preamble.ts";
import type { Connector, Requester } from "../client.ts";
import { checkTarget, type Connected, isConnector } from "../net/requester.ts";
import type { Logger } from "../server.ts";

/** The logger that learns why a request could not be relayed. */
export interface ProxyOptions {
  /**
   * Gets a warning with the reason if a request could not be relayed; the client is told no reason.
   *
   * @default {nowhere}
   */
  logger?: Pick<Logger, "warn"> | undefined;
}

/**
 * The proxy that made each connection. Two proxies with the same key must not share connections.
 */
const makers = new WeakMap<Connected, ProxyApp>();

/**
 * A reverse proxy: relays each request to a server and its response back, with nothing changed:
 * method, path and query (without the components shifted to `mount`), headers, body, the boundaries
 * and extensions of chunks, status, reason. A `host` or `authorization` of the client replaces the
 * header that came with the request, and hop-by-hop headers are not forwarded (RFC 9110 §7.6.1):
 * `connection` and the headers that it names, `keep-alive`, `te`, `upgrade`, `expect`, `proxy-…`.
 *
 * Each session has its own upstream connection, in `session.store` under `key`. This connection is
 * closed when the session ends, and within a second after the client leaves, even while the
 * upstream processes its request. A client that closes its writing side counts as gone. Over what
 * only makes requests, such as a `ConnectionPool`, each request is relayed alone, and aborted when
 * the client leaves.
 *
 * @example
 * ```ts
 * import { type App, Client, ProxyApp, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * const app: App = (request) => [200, "OK", { path: request.uri }, null];
 * await using upstream = new Server(["127.0.0.1", 0], app);
 * upstream.serveForever();
 *
 * await using proxy = new Server(["127.0.0.1", 0], new ProxyApp(new Client(upstream.address)));
 * proxy.serveForever();
 *
 * const response = await new Client(proxy.address).request("GET", "/foo?bar");
 * assertEquals({ ...response.headers }, { path: "/foo?bar" });
 * ```
 */
export class ProxyApp implements AppObject {
  readonly #target: Requester | Connector;
  readonly #key: string;
  readonly #logger: Pick<Logger, "warn"> | null;
  readonly #followed = new WeakSet<Session>();

  /**
   * Makes a proxy to the server that a client is for.
   *
   * @param client Makes the connections to the server; or, if it can't, the requests.
   * @param key The key of the connection in `session.store`. Each proxy that the same session can
   * reach needs its own key.
   * @param options The logger for failures.
   * @throws {TypeError} if an argument has a wrong type.
   */
  constructor(client: Requester | Connector, key = "conn", options: ProxyOptions = {}) {
    checkTarget("client", client);
    checkString("key", key);
    const { logger } = copyOptions(options, ["logger"]);
    this.#target = client;
    this.#key = key;
    this.#logger = logger === undefined ? null : makeSafeLogger(logger, ["warn"]);
  }

  /**
   * Relays a request. If the upstream can't be reached, or fails before it answers, the response is
   * `502 Bad Gateway`; if the upstream takes longer than the client's `timeout`,
   * `504 Gateway Timeout`. If the headers are too large together with the client's own, the
   * response is `431 Request Header Fields Too Large`.
   *
   * @param request The request; the rest of its path is relayed.
   * @param session The session, whose `store` holds the connection to the server.
   * @throws {BodyError} if another app has used the body of the request.
   * @throws {DeguError} if another value is at `key` in `session.store`.
   * @throws {RangeError} if a header of the client can't be sent with the request.
   * @throws {Deno.errors.NotCapable} without the permission to connect.
   */
  async handle(request: Request, session: Session, _api?: Api): Promise<ResponseTuple | Response> {
    const uri = request.buildProxyUri();
    // A used body is a mistake of this program, so the error is thrown and not answered with 502.
    makeOutputFromInput(request.body);
    const stored = this.#findConnection(request, session);
    try {
      return await this.#relay(request, uri, session, stored);
    } catch (error) {
      // Any peer can send headers that are nearly too large.
      if (isPreambleTooLong(error)) {
        return makeEmptyResponse(request.method, 431, "Request Header Fields Too Large");
      }
      // Mistakes of this side: a header of the client that can't be sent, a missing permission.
      if (isMistake(error)) throw error;
      // When a client leaves, its upstream connection is closed, too.
      const left = session.signal.aborted;
      if (!left) this.#logger?.warn(`${session}: a request could not be relayed: ${error}`);
      return isLate(error)
        ? makeEmptyResponse(request.method, 504, "Gateway Timeout")
        : makeEmptyResponse(request.method, 502, "Bad Gateway");
    }
  }

  /** The connection of the session, if this request may use it. */
  #findConnection({ method, body }: Request, session: Session): Connected | null {
    if (!isConnector(this.#target)) return null;
    const stored = session.store.get(this.#key);
    if (stored === undefined) return null;
    if (!isConnection(stored) || (makers.get(stored) ?? this) !== this) {
      throw new DeguError(
        `session.store: ${
          quote(this.#key)
        } is in use by something else; give each ProxyApp a key of ` +
          "its own",
      );
    }
    // If the upstream closes an idle connection, a POST without a body may have been processed, and
    // must not be sent twice (RFC 9110 §9.2.2). A new connection has not been idle.
    const onlyOnce = method === "POST" && body === null;
    if (!onlyOnce && !stored.closed) return stored;
    stored.close();
    return null;
  }

  async #relay(
    request: Request,
    uri: string,
    session: Session,
    stored: Connected | null,
  ): Promise<Response> {
    const { method, body } = request;
    const headers = endToEndHeaders(request.headers);
    this.#endWith(session);
    const target = this.#target;
    if (!isConnector(target)) {
      const { signal } = session;
      return passOn(await target.request(method, uri, headers, body, { signal }));
    }
    const connection = stored ?? await this.#connect(target, session);
    // If the stored connection is stale, a new connection needs the same body.
    const release = keepUnused(body);
    try {
      return passOn(await connection.request(method, uri, headers, body));
    } catch (error) {
      const untouched = body === null || !body.used;
      if (stored === null || !untouched || !isStale(error) || session.signal.aborted) throw error;
    } finally {
      release();
    }
    connection.close();
    const another = await this.#connect(target, session);
    return passOn(await another.request(method, uri, headers, body));
  }

  async #connect(connector: Connector, session: Session): Promise<Connected> {
    const connection = await connector.connect({ signal: session.signal });
    makers.set(connection, this);
    session.store.set(this.#key, connection);
    return connection;
  }

  /** Ends a session, and its upstream connection with it, as soon as its client has left. */
  #endWith(session: Session): void {
    const { signal } = session;
    if (signal.aborted) return this.#end(session);
    if (this.#followed.has(session)) return;
    this.#followed.add(session);
    signal.addEventListener("abort", () => this.#end(session), { once: true });
  }

  #end(session: Session): void {
    // Closing the session first makes the failure of its upstream connection an expected one.
    session.close(session.signal.reason);
    const connection = session.store.get(this.#key);
    if (isConnector(this.#target) && isConnection(connection)) connection.close();
  }
}

/** The response for the client. */
function passOn(response: Response): Response {
  const { status, reason, headers, body } = response;
  const kept = endToEndHeaders(headers);
  return kept === headers ? response : new Response(status, reason, kept, body);
}

function isConnection(value: unknown): value is Connected {
  return typeof (value as Partial<Connected> | null)?.request === "function" &&
    typeof (value as Connected).close === "function";
}

/**
 * True if a connection from an earlier request was unusable: closed by the upstream while idle, or
 * left with an unread response.
 */
function isStale(error: unknown): boolean {
  return error instanceof EmptyPreambleError || error instanceof ConnectionClosedError ||
    error instanceof BodyError;
}

/** True if the upstream has not answered in time, at any of its addresses if it has several. */
function isLate(error: unknown): boolean {
  const cause = (error as Partial<Error> | null)?.cause;
  const errors: unknown[] = cause instanceof AggregateError ? cause.errors : [error];
  return errors.every((each) => each instanceof Deno.errors.TimedOut);
}

function isMistake(error: unknown): boolean {
  return error instanceof TypeError || error instanceof RangeError ||
    error instanceof Deno.errors.NotCapable;
}

/**
 * The headers that an intermediary must remove (RFC 9110 §7.6.1), besides `proxy-…`; and `expect`,
 * because no interim response is relayed that could fulfill it (§10.1.1).
 */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "te",
  "upgrade",
  "expect",
]);

function isHopByHop(name: string): boolean {
  return HOP_BY_HOP.has(name) || name.startsWith("proxy-");
}

/**
 * Returns the headers without hop-by-hop headers and without those that `connection` names. `host`
 * and the headers that define a body's end or range are kept even if `connection` names them:
 * without them the message would be a different one. If there is nothing to remove, the same object
 * is returned.
 */
export function endToEndHeaders(headers: HeaderDict): HeaderDict {
  const names = Object.keys(headers);
  if (!names.some(isHopByHop)) return headers;
  const options = new Set(connectionOptions(headers));
  // Received headers have no prototype either.
  const kept: HeaderDict = Object.setPrototypeOf({}, null);
  for (const name of names) {
    const isNamed = options.has(name) && name !== "host" && !isSpecial(name);
    if (!isHopByHop(name) && !isNamed) kept[name] = headers[name]!;
  }
  return kept;
}
