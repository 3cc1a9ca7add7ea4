/** Fetch-style handlers as apps. */

import type { AppFunction } from "../base/app/app.ts";
import {
  checkFunction,
  checkInteger,
  checkString,
  copyOptions,
  wrongType,
} from "../base/checks.ts";
import { BodyError } from "../base/errors.ts";
import { typeName } from "../base/quote.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import type { Request as AppRequest, ResponseTuple } from "../base/app/message.ts";
import type { Session } from "../base/app/session.ts";
import type { Body } from "../base/body/body.ts";
import type { ChunkedBody } from "../base/body/chunked_body.ts";
import { dictOf, headersOf, quoteUrl } from "./headers.ts";
import { bodyOfBytes, PieceStream, streamedBody, StreamPieces } from "./streams.ts";

/** The second argument of a fetch-style handler. In Hono it is the `env` of the context. */
export interface FetchHandlerInfo {
  /** The request for an app. Its body belongs to the `Request`, which alone may read it. */
  readonly request: AppRequest;
  /**
   * The session of the connection, with the peer's certificate and a store for the connection's
   * values.
   */
  readonly session: Session;
  /** The address of the peer, as `Deno.serve` gives it; the path of a Unix peer is empty. */
  readonly remoteAddr: Deno.NetAddr | Deno.UnixAddr;
}

/** A function from a request to a response, both of the Fetch standard. */
export type FetchHandler = (
  request: globalThis.Request,
  info: FetchHandlerInfo,
) => globalThis.Response | Promise<globalThis.Response>;

/** How the messages of an app become those of the Fetch standard, and back. */
export interface FromFetchHandlerOptions {
  /**
   * The origin of the URLs of requests, such as `"https://device.local"`.
   *
   * @default {http or, for a peer with a certificate, https, and the host header}
   */
  origin?: string | undefined;
  /**
   * Chooses the `set-cookie` header to send, if a response has several.
   *
   * @default {several are an error}
   */
  chooseCookie?: ((cookies: readonly string[]) => string) | undefined;
  /**
   * The number of bytes to read and discard from a request's body that the handler left unread when
   * it responded with a status below 400, or `Infinity`. If more bytes are left, the session ends
   * after the response.
   *
   * @default {1048576}
   */
  maxUnreadBytes?: number | undefined;
}

const MAX_UNREAD_BYTES = 1048576;

/**
 * Makes an app from a fetch-style handler: a function, or an object with a method `fetch`, such as
 * a Hono app.
 *
 * Bodies stream in both directions. A response can't be made from a body that is still arriving;
 * the unread rest of a request's body is discarded. Some responses have no form in the strict
 * grammar, because of several `set-cookie` headers, a character, or a header's name: these are
 * errors, which go to the server's logger, like the handler's exceptions. docs/web.md lists all of
 * them.
 *
 * @param handler The handler, or an object whose method `fetch` is the handler.
 * @param options The URLs of requests, cookies, and unread bodies.
 * @throws {TypeError} if an argument or an option has a wrong type, or an option is unknown.
 * @throws {RangeError} if a value is not allowed.
 *
 * @example
 * ```ts
 * import { Client, fromFetchHandler, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * const app = fromFetchHandler(async (request) => {
 *   const { pathname } = new URL(request.url);
 *   return Response.json({ pathname, text: await request.text() });
 * });
 * await using server = new Server(["127.0.0.1", 0], app);
 * server.serveForever();
 * const client = new Client(server.address);
 * const response = await client.request("POST", "/hello", {}, new TextEncoder().encode("world"));
 * assertEquals(await response.body?.json(), { pathname: "/hello", text: "world" });
 * ```
 */
export function fromFetchHandler(
  handler: FetchHandler | { readonly fetch: FetchHandler },
  options: FromFetchHandlerOptions = {},
): AppFunction {
  const { origin, chooseCookie, maxUnreadBytes = MAX_UNREAD_BYTES } = checkOptions(options);
  const isFunction = typeof handler === "function";
  if (!isFunction && typeof handler?.fetch !== "function") {
    throw wrongType("handler", 'a function or an object with a method "fetch"', handler);
  }
  return async (request, session) => {
    const url = urlOf(request, origin ?? originOf(request, session));
    if (url === null) return [400, "Bad Request", {}, null];
    const { body } = request;
    const scope = new RequestScope(session);
    const hasContent = body !== null && (body.chunked || body.contentLength > 0);
    const incoming = hasContent ? new IncomingStream(body, scope.abort) : null;
    try {
      const fetchRequest = new Request(url, {
        method: request.method,
        headers: headersOf(request.headers),
        body: incoming?.stream ?? null,
        signal: scope.signal,
      });
      const info = { request, session, remoteAddr: remoteAddrOf(session) };
      const response =
        await (isFunction ? handler(fetchRequest, info) : handler.fetch(fetchRequest, info));
      checkResponse(response);
      try {
        if (response.body !== null && response.body === incoming?.stream) {
          throw new BodyError("the body of a request can't be the body of its response");
        }
        const headers = dictOf(response.headers, chooseCookie);
        const unread = response.status < 400 ? incoming : null;
        const isHeld = unread?.isHeld === true;
        // The handler may hold the body without reading it: by a clone, or by a reader. Then the
        // rest could not be discarded while the response waits for it, so the response has to be
        // complete without the rest.
        if (isHeld) unread?.abandon();
        else await unread?.drain(maxUnreadBytes);
        const answer = await answerOf(request, response, headers, isHeld, scope);
        if (isHeld) await unread?.drain(maxUnreadBytes);
        return answer;
      } catch (error) {
        cancel(response.body, error);
        throw error;
      }
    } finally {
      incoming?.abandon();
      if (!scope.isStreaming) scope.end();
    }
  };
}

/** Converts a response to an answer; if `wholeOnly`, the whole body must be available already. */
async function answerOf(
  { method }: AppRequest,
  { status, statusText, body }: Response,
  headers: HeaderDict,
  wholeOnly: boolean,
  scope: RequestScope,
): Promise<ResponseTuple> {
  const reason = statusText || (REASONS.get(status) ?? "Unknown");
  if (body === null) {
    // Without a length, other clients would wait for the end of the connection. For HEAD, the
    // handler has removed the length.
    const isNone = method === "HEAD" || status === 204 || status === 304;
    return [status, reason, headers, isNone ? null : new Uint8Array(0)];
  }
  // Canceling the body of a response to HEAD must not abort the request.
  const pieces = method === "HEAD" ? new StreamPieces(body) : scope.takePieces(body);
  // A length that the handler states is not checked by reading.
  const isStated = method === "HEAD" && Object.hasOwn(headers, "content-length");
  const whole = isStated ? null : await pieces.takeWhole(headers);
  if (whole !== null) return [status, reason, headers, bodyOfBytes(whole)];
  if (!wholeOnly) {
    if (method !== "HEAD") scope.stream(pieces);
    return [status, reason, headers, streamedBody(pieces, headers)];
  }
  const error = new BodyError(
    "the handler has responded with a stream while the body of the request was still being read, " +
      "or held by a clone; read it to its end before the response: none can be made from a body " +
      "that is still arriving",
  );
  pieces.cancel(error);
  throw error;
}

function cancel(body: ReadableStream<Uint8Array> | null, reason: unknown): void {
  // A locked stream belongs to its reader.
  body?.cancel(reason).catch(() => {});
}

function checkResponse(response: unknown): asserts response is Response {
  // Cross-runtime packages bring their own class of responses, so the shape decides.
  const { status, headers, body, bodyUsed, type } = (response ?? {}) as Partial<Response>;
  if (typeof status !== "number" || typeof headers?.getSetCookie !== "function") {
    throw new TypeError(`handler: must return a Response; got ${typeName(response)}`);
  }
  if (type === "error" || status < 200) {
    throw new RangeError(`handler: must return a Response with status 200 to 599; got ${status}`);
  }
  if (bodyUsed === true || body?.locked === true) {
    throw new BodyError("handler: must return a Response whose body is unused; got a used one");
  }
}

/** A host and a port, and nothing that could become another part of a URL. */
const HOST = /^([-0-9A-Za-z._~]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$/;

function originOf({ headers }: AppRequest, { peerCertificate }: Session): string | null {
  const { host = "localhost" } = headers;
  if (typeof host !== "string" || !HOST.test(host)) return null;
  return `${peerCertificate === null ? "http" : "https"}://${host}`;
}

/** The URL of a request; `null` if no URL is equivalent. */
function urlOf(request: AppRequest, origin: string | null): string | null {
  if (origin === null) return null;
  const uri = request.buildProxyUri();
  const url = URL.parse(origin + uri);
  if (url === null || !isSameOrigin(url.origin, origin)) return null;
  // Here `.` is an ordinary component of a path, but URLs can't express it.
  return url.href.slice(url.origin.length) === uri ? url.href : null;
}

/** Tells whether a URL has the given host: URL parsing makes an IPv4 address of `0x7f.1`. */
function isSameOrigin(parsed: string, given: string): boolean {
  return parsed === given || plainOrigin(parsed) === plainOrigin(given);
}

/** An origin in lower case, without a default port and without a dot at the end of its host. */
function plainOrigin(origin: string): string {
  return origin.toLowerCase()
    .replace(origin.startsWith("https:") ? /:443$/ : /:80$/, "")
    .replace(/\.(?=:\d+$|$)/, "");
}

function remoteAddrOf({ address }: Session): Deno.NetAddr | Deno.UnixAddr {
  if (address === null) return { transport: "unix", path: "" };
  return { transport: "tcp", hostname: address[0], port: address[1] };
}

function checkOptions(options: FromFetchHandlerOptions): FromFetchHandlerOptions {
  const copy = copyOptions(options, ["origin", "chooseCookie", "maxUnreadBytes"]);
  const { origin, chooseCookie, maxUnreadBytes } = copy;
  if (chooseCookie !== undefined) checkFunction("chooseCookie", chooseCookie);
  if (maxUnreadBytes !== undefined) checkInteger("maxUnreadBytes", maxUnreadBytes, 0, Infinity);
  if (origin === undefined) return copy;
  checkString("origin", origin);
  const url = URL.parse(origin);
  if (url !== null && /^https?:$/.test(url.protocol) && url.href === `${url.origin}/`) {
    return { ...copy, origin: url.origin };
  }
  throw new RangeError(
    `origin: must be "http://host" or "https://host:port"; got ${quoteUrl(origin)}`,
  );
}

// ───────────────────────── the body of the request

/** The body of a request as a stream. A reader that cancels the stream leaves the body unread. */
class IncomingStream {
  readonly #pieces: PieceStream;
  #canceled = false;

  /** Takes over a body that has at least one byte or is chunked. */
  constructor(body: Body | ChunkedBody, onFailure: (error: unknown) => void) {
    // Iterating is faster than a stream, but yields a chunk only once the chunk is complete.
    const pieces = (body.chunked ? body.readable : body)[Symbol.asyncIterator]();
    const length = body.chunked ? Infinity : body.contentLength;
    this.#pieces = new PieceStream(
      pieces,
      length,
      (failure) => failure !== undefined && onFailure(failure.error),
      () => {
        this.#canceled = true;
        return Promise.resolve();
      },
    );
  }

  /** The stream for the handler. */
  get stream(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#pieces.stream;
  }

  /** True if the rest of the body has a reader, which may be waiting for it. */
  get isHeld(): boolean {
    return this.stream.locked && this.#pieces.missing > 0 && !this.#canceled;
  }

  /**
   * Drops the rest of the body after the handler has responded; more than `limit` bytes stay
   * unread.
   */
  async drain(limit: number): Promise<void> {
    const pieces = this.#pieces;
    if (pieces.missing === 0) return;
    this.abandon();
    if (Number.isFinite(pieces.missing) && pieces.missing > limit) return;
    for (let drained = 0; pieces.missing > 0 && drained <= limit;) {
      drained += (await pieces.next())?.length ?? 0;
    }
  }

  /** Makes every later read fail: dropped bytes must not look like the end of the body. */
  abandon(): void {
    // A body that was read to its end may still have bytes in the stream.
    if (this.#pieces.missing === 0) return;
    this.#pieces.fail(
      new BodyError("the handler has responded, so the rest of the request's body was dropped"),
    );
  }
}

// ───────────────────────── until the response is sent

/**
 * The longest silence of a response's stream after the client has left. The client may have closed
 * only its writing side, so pieces that come in time are still sent.
 */
const IDLE_MILLISECONDS = 500;

/** A request, from the call of the handler until the response has been sent or canceled. */
class RequestScope {
  readonly #session: Session;
  readonly #aborter = new AbortController();
  #pieces: StreamPieces | null = null;
  #watching: ReturnType<typeof setInterval> | undefined;

  constructor(session: Session) {
    this.#session = session;
    const { signal } = session;
    signal.addEventListener("abort", this.#sessionEnded);
    if (signal.aborted) this.#aborter.abort(signal.reason);
  }

  /**
   * Aborted when the session ends or its client leaves, when the body of the request fails, and
   * when the body of the response can't be sent to its end. A finished request is no longer
   * aborted.
   */
  get signal(): AbortSignal {
    return this.#aborter.signal;
  }

  /** True if the response is a stream that is still being sent. */
  get isStreaming(): boolean {
    return this.#pieces !== null;
  }

  /** Called when the body of the request has failed, or the body of the response was cut. */
  readonly abort = (reason: unknown): void => {
    this.#aborter.abort(reason);
  };

  /** Takes over the stream of a response; the scope ends with the stream. */
  takePieces(stream: ReadableStream<Uint8Array>): StreamPieces {
    const cut = (reason: unknown) => {
      this.end();
      this.abort(reason);
    };
    return new StreamPieces(stream, cut, () => this.end());
  }

  /** Makes these pieces, which have not arrived yet, the response. */
  stream(pieces: StreamPieces): void {
    this.#pieces = pieces;
    if (this.#session.signal.aborted) this.#cancelPieces(pieces);
  }

  /** Called when the session is over, or its client has left. */
  readonly #sessionEnded = (): void => {
    this.#aborter.abort(this.#session.signal.reason);
    if (this.#pieces !== null) this.#cancelPieces(this.#pieces);
  };

  /** Cancels an unwanted stream: at once, or after a silence. */
  #cancelPieces(pieces: StreamPieces): void {
    const session = this.#session;
    const { reason } = session.signal;
    if (session.message !== null) return pieces.cancel(reason);
    let last = pieces.wait;
    this.#watching = setInterval(() => {
      const { wait } = pieces;
      if (wait === 0 || wait !== last) {
        last = wait;
        return;
      }
      pieces.cancel(reason);
      session.close(reason);
    }, IDLE_MILLISECONDS);
  }

  /** Ends the scope: nothing more will be sent. */
  end(): void {
    clearInterval(this.#watching);
    this.#pieces = null;
    this.#session.signal.removeEventListener("abort", this.#sessionEnded);
  }
}

// ───────────────────────── reason phrases

/** The phrases of the IANA registry (RFC 9110 §16.2.1), in the characters that are allowed here. */
const REASONS: ReadonlyMap<number, string> = new Map(
  Array.from(
    `
    200 OK, 201 Created, 202 Accepted, 203 Non-Authoritative Information, 204 No Content
    205 Reset Content, 206 Partial Content, 207 Multi-Status, 208 Already Reported, 226 IM Used
    300 Multiple Choices, 301 Moved Permanently, 302 Found, 303 See Other, 304 Not Modified
    305 Use Proxy, 307 Temporary Redirect, 308 Permanent Redirect
    400 Bad Request, 401 Unauthorized, 402 Payment Required, 403 Forbidden, 404 Not Found
    405 Method Not Allowed, 406 Not Acceptable, 407 Proxy Authentication Required
    408 Request Timeout, 409 Conflict, 410 Gone, 411 Length Required, 412 Precondition Failed
    413 Content Too Large, 414 URI Too Long, 415 Unsupported Media Type, 416 Range Not Satisfiable
    417 Expectation Failed, 421 Misdirected Request, 422 Unprocessable Content, 423 Locked
    424 Failed Dependency, 425 Too Early, 426 Upgrade Required, 428 Precondition Required
    429 Too Many Requests, 431 Request Header Fields Too Large, 451 Unavailable For Legal Reasons
    500 Internal Server Error, 501 Not Implemented, 502 Bad Gateway, 503 Service Unavailable
    504 Gateway Timeout, 505 HTTP Version Not Supported, 506 Variant Also Negotiates
    507 Insufficient Storage, 508 Loop Detected, 511 Network Authentication Required
    `.matchAll(/(\d{3}) ([^,\n]+)/g),
    ([, status, phrase]) => [Number(status), phrase!],
  ),
);
