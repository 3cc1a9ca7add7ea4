import type { Api, AppObject } from "../base/app/app.ts";
import { makeOutputFromInput } from "../base/body/sent_body.ts";
import { checkFunction, copyOptions } from "../internal/checks.ts";
import {
  isSystemError,
  isTooManyOpenFilesError,
  messageOf,
  propertyOf,
} from "../internal/caught_errors.ts";
import { DeguError } from "../base/errors.ts";
import { findThrownResponse, type ResponseTuple } from "../base/app/app_result.ts";
import { type Request, Response } from "../base/app/message.ts";
import { isBrokenBodyError } from "../net/transport/incoming_body.ts";
import {
  type Logger,
  logPeerWarning,
  makeSafeLogger,
  type SafeLogger,
} from "../base/app/logger.ts";
import type { Session } from "../base/app/session.ts";
import {
  checkHeaders,
  copyRepeatedLines,
  type HeadersToSend,
  isFramingOrRangeHeader,
  parseConnectionOptions,
} from "../base/wire/headers.ts";
import { METHOD_NAMES } from "../base/wire/method.ts";
import { buildUri } from "../base/wire/uri.ts";
import { isPreambleTooLongError } from "../base/wire/preamble.ts";
import { ConnectionPool, originOf } from "../net/client/connection_pool.ts";
import {
  checkRequester,
  type Connector,
  isConnector,
  type Requester,
} from "../net/client/requester.ts";
import { isTimeout } from "../net/client/retry.ts";
import { checkResponse, OVERRIDING_HEADERS } from "../net/client/client_connection.ts";

/** The headers that a proxy adds to requests, and its logger. */
export interface ProxyOptions {
  /**
   * Returns headers for a relayed request, such as the address of its client. A header replaces a
   * header of the same name that was received, or that the client sends by default. Only the
   * client's own `host` and `authorization` replace these headers. A header that is `undefined` is
   * left out. The header `connection` of the request can't remove these headers.
   *
   * @default {nothing is added}
   */
  headers?:
    | ((request: Request, session: Session) => HeadersToSend | Promise<HeadersToSend>)
    | undefined;
  /**
   * The logger, which gets a warning with the reason if a request could not be relayed. The
   * response doesn't contain the reason.
   *
   * @default {the log of the server, at level `info`}
   */
  logger?: Pick<Logger, "warn" | "record"> | undefined;
}

/**
 * A reverse proxy: relays each request to the server of a client, and its response back. Hop-by-hop
 * headers (RFC 9110 §7.6.1) are not forwarded, and an OPTIONS with `max-forwards` is answered or
 * counted down (§7.6.2).
 *
 * All sessions share the connections of a `ConnectionPool`, which are closed ten seconds after
 * their last request, or when the proxy is disposed of. If `client` can't make connections, such as
 * your own pool, it makes the requests. The requests of a session that has ended, or whose client
 * disconnects or closes its writing side, are aborted within a second.
 *
 * @example
 * ```ts
 * import { type App, Client, ProxyApp, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * const app: App = (request) => [200, "OK", { path: request.uri }, null];
 * await using upstream = await Server.start(["127.0.0.1", 0], app);
 *
 * const proxyApp = new ProxyApp(new Client(upstream.address));
 * await using proxy = await Server.start(["127.0.0.1", 0], proxyApp);
 *
 * const response = await new Client(proxy.address).request("GET", "/foo?bar");
 * assertEquals({ ...response.headers }, { path: "/foo?bar" });
 * ```
 */
export class ProxyApp implements AppObject, AsyncDisposable {
  readonly #requester: Requester;
  readonly #pool: ConnectionPool | null;
  /** The origin of the upstream; `null` if it is unknown. */
  readonly #origin: string | null;
  readonly #headers: ProxyOptions["headers"];
  readonly #logger: SafeLogger<"warn"> | null;

  /**
   * Makes a proxy to the server of a client.
   *
   * @param client Makes the connections to the server. If the client can't make connections, it
   * makes the requests.
   * @param options The headers to add, and the logger for failures.
   * @throws {TypeError} if an argument or an option has a wrong type.
   */
  constructor(client: Requester | Connector, options: ProxyOptions = {}) {
    checkRequester("client", client);
    const { headers, logger } = copyOptions(options, ["headers", "logger"]);
    if (headers !== undefined) checkFunction("headers", headers);
    // The pool needs no limit: each session makes one request at a time, so the pool has at most as
    // many connections as the server has sessions.
    this.#pool = isConnector(client)
      ? new ConnectionPool(client, { maxConnections: Infinity })
      : null;
    this.#requester = this.#pool ?? client as Requester;
    this.#origin = originOf(client);
    this.#headers = headers;
    this.#logger = logger === undefined ? null : makeSafeLogger(logger, ["warn"]);
  }

  /**
   * Relays a request. If the proxy can't connect to the upstream, the response is
   * `503 Service Unavailable`: the upstream didn't get the request. If the upstream fails before it
   * answers, the response is `502 Bad Gateway`; if connecting or the upstream takes longer than the
   * client's `timeout`, `504 Gateway Timeout`. If the headers are too large together with the
   * client's own, the response is `431 Request Header Fields Too Large`.
   *
   * @param request The request; its path without the `mount` is relayed.
   * @param session The session. The signal of the request, which is aborted at the end of the
   * session, aborts the relayed request.
   * @throws {ResponseError} if the client throws a `ResponseError`.
   * @throws {BodyError} if another app has used the body of the request.
   * @throws {RangeError} if a header of the client can't be sent with the request.
   * @throws {Deno.errors.NotCapable} without the permission to connect.
   * @throws the error of the system, for which the server responds with 503, if too many files are
   * open.
   */
  async handle(request: Request, session: Session, _api?: Api): Promise<ResponseTuple | Response> {
    const uri = request.buildProxyUri();
    // A used body is a bug of this program: throw its error instead of responding with 502.
    makeOutputFromInput(request.body);
    const { method, body } = request;
    const addedHeaders = this.#headers === undefined ? {} : await this.#headers(request, session);
    checkHeaders(addedHeaders);
    const receivedHeaders = removeAmbiguousNames(removeHopByHopHeaders(request.headers));
    const countedHeaders = method === "OPTIONS" ? countForward(receivedHeaders) : receivedHeaders;
    if (countedHeaders === null) return [200, "OK", { allow: METHOD_NAMES.join(", ") }, null];
    // The client's own headers replace the received headers, but not those of `options.headers`.
    const headers = { ...countedHeaders, ...addedHeaders, [OVERRIDING_HEADERS]: addedHeaders };
    const { signal } = request;
    try {
      const response = await this.#requester.request(method, uri, headers, body, {
        signal,
        duplex: "full",
      });
      checkResponse(response);
      return relayResponse(this.#mapLocations(response, request));
    } catch (error) {
      // The headers of a peer may be too large together with the client's own headers.
      if (isPreambleTooLongError(error)) {
        return [431, "Request Header Fields Too Large", {}, null];
      }
      if (findThrownResponse(error) !== null) throw error;
      // Errors of this program: a header of the client that can't be sent, a missing permission.
      if (isProgramError(error)) throw error;
      // The sender broke the body of its request: the server sends the error response.
      if (isBrokenBodyError(error)) throw error;
      // This process has no file descriptor left for a connection: the server responds with 503.
      if (isTooManyOpenFilesError(error)) throw error;
      // If the session has ended, or an app in front has aborted the request, it isn't a failure.
      const hasSessionEnded = session.message !== null;
      const isAbortedByApp = !session.signal.aborted;
      const isCanceled = signal.aborted && (hasSessionEnded || isAbortedByApp);
      const logLine = `${session}: a request could not be relayed: ${messageOf(error)}`;
      if (!isCanceled) logPeerWarning(session, this.#logger, logLine, error);
      if (isUpstreamTimeout(error)) return [504, "Gateway Timeout", {}, null];
      return isConnectError(error)
        ? [503, "Service Unavailable", {}, null]
        : [502, "Bad Gateway", {}, null];
    }
  }

  /**
   * Puts the `mount` of the request before the path of a location at the upstream, so that the
   * location leads through this proxy.
   */
  #mapLocations(response: Response, { mount }: Request): Response {
    const { status, reason, headers, body } = response;
    const changes: HeadersToSend = {};
    for (const name of ["location", "content-location"]) {
      const value = headers[name];
      if (value === undefined) continue;
      const path = this.#origin !== null && value.startsWith(`${this.#origin}/`)
        ? value.slice(this.#origin.length)
        : value;
      if (!LOCAL_PATH.test(path)) continue;
      const prefix = mount.length === 0 ? "" : buildUri(mount);
      if (prefix + path !== value) changes[name] = prefix + path;
    }
    if (Object.keys(changes).length === 0) return response;
    const mapped = Object.setPrototypeOf({ ...headers, ...changes }, null);
    return new Response(status, reason, copyRepeatedLines(headers, mapped), body);
  }

  /** Closes the connections to the server. */
  async close(): Promise<void> {
    await this.#pool?.close();
  }

  /** Closes the connections to the server: {@linkcode ProxyApp.prototype.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

const MAX_FORWARDS = 2 ** 31;

/**
 * Counts `max-forwards` down (RFC 9110 §7.6.2). Returns `null` if the request must not be
 * forwarded.
 */
function countForward(headers: HeadersToSend): HeadersToSend | null {
  const value = headers["max-forwards"];
  if (typeof value !== "string" || !/^[0-9]+$/.test(value)) return headers;
  const count = Math.min(Number(value), MAX_FORWARDS);
  if (count === 0) return null;
  return Object.setPrototypeOf({ ...headers, "max-forwards": `${count - 1}` }, null);
}

/**
 * A path that URL parsing doesn't read as `//` and a host. URL parsing drops tabs, and reads `\` as
 * `/`.
 */
const LOCAL_PATH = /^\/(?!\t*[/\\])/;

function relayResponse(response: Response): Response {
  const { status, reason, headers, body } = response;
  const keptHeaders = removeHopByHopHeaders(headers);
  return keptHeaders === headers ? response : new Response(status, reason, keptHeaders, body);
}

/**
 * Only errors of connecting, and of handshakes, have an address. An error of connecting that
 * another call can't fix is an error of the system.
 */
function isConnectError(error: unknown): boolean {
  const address = propertyOf(error, "address") ?? null;
  return address !== null || isSystemError(error) && !(error instanceof DeguError);
}

function isUpstreamTimeout(error: unknown): boolean {
  const cause = propertyOf(error, "cause");
  const errors: unknown[] = cause instanceof AggregateError ? cause.errors : [error];
  return errors.every(isTimeout);
}

function isProgramError(error: unknown): boolean {
  return error instanceof TypeError || error instanceof RangeError ||
    error instanceof Deno.errors.NotCapable;
}

/**
 * The headers that an intermediary must remove (RFC 9110 §7.6.1), besides `proxy-…`; `expect`,
 * because the proxy doesn't relay interim responses (§10.1.1); and `trailer`, because the proxy
 * drops trailers (§6.5.1).
 */
const HOP_BY_HOP_HEADERS: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "te",
  "upgrade",
  "expect",
  "trailer",
]);

function isHopByHop(name: string): boolean {
  return HOP_BY_HOP_HEADERS.has(name) || name.startsWith("proxy-");
}

/**
 * Removes headers whose names servers with CGI or WSGI can't tell from others: they read `x_user`
 * as `x-user`, so a client could forge a header that a proxy adds.
 */
function removeAmbiguousNames(headers: HeadersToSend): HeadersToSend {
  const names = Object.keys(headers);
  if (names.every(isUnambiguous)) return headers;
  const keptEntries = names.filter(isUnambiguous).map((name) => [name, headers[name]]);
  return Object.setPrototypeOf(Object.fromEntries(keptEntries), null);
}

function isUnambiguous(name: string): boolean {
  return /^[a-z0-9-]+$/.test(name);
}

/**
 * Keeps `host` and the headers that define a body's end or range, even if `connection` names them:
 * a message without them would have another meaning.
 */
export function removeHopByHopHeaders(headers: HeadersToSend): HeadersToSend {
  const names = Object.keys(headers);
  if (!names.some(isHopByHop)) return headers;
  const options = new Set(parseConnectionOptions(headers));
  // Like received headers, the result has no prototype.
  const keptHeaders: HeadersToSend = Object.setPrototypeOf({}, null);
  for (const name of names) {
    const isNamed = options.has(name) && name !== "host" && !isFramingOrRangeHeader(name);
    if (!isHopByHop(name) && !isNamed) keptHeaders[name] = headers[name]!;
  }
  return copyRepeatedLines(headers, keptHeaders);
}
