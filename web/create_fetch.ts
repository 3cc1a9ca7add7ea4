/** `fetch` over a client. */

import type { Response as AppResponse } from "../base/app/message.ts";
import { type BodyOut, cancelUnused } from "../base/body/bodies.ts";
import { BodyIter } from "../base/body/body_iter.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import { mayHaveBody, type Method } from "../base/wire/preamble.ts";
import type { Address } from "../base/address.ts";
import type { Socket } from "../base/app/app.ts";
import { type ClientOptions, type Connector, type Requester, SSLClient } from "../client.ts";
import { checkTarget, isConnector, requesterOf } from "../net/requester.ts";
import { connectorOf } from "../net/connection_pool.ts";
import { plainMessageOf } from "../net/thrown.ts";
import { dictOf, headersOf, NULL_BODY, quoteUrl } from "./headers.ts";
import { bodyOfBytes, streamedBody, streamOf, StreamPieces } from "./streams.ts";

/** Statuses that redirect (Fetch standard, redirect status). */
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
const MAX_REDIRECTS = 20;
/** The headers that describe a body (Fetch standard, request-body-header name), and its framing. */
const BODY_HEADERS = [
  "content-encoding",
  "content-language",
  "content-location",
  "content-type",
  "content-length",
  "transfer-encoding",
];

/**
 * Makes a `fetch` whose requests all go to one server.
 *
 * Only the path and query of a URL are used, and its host if the client has none (over Unix sockets
 * and abstract names); the origin can be left out. The only added headers are the client's and
 * those that the Fetch standard derives from the body. Redirects are followed within the origin. As
 * with any `fetch`, every failure is a `TypeError` with the error itself as its `cause`, and an
 * abort rejects with the signal's reason. docs/web.md has the details.
 *
 * @param client A client, a connection, or an object of the same shape. With a client, each request
 * has its own connection, which is closed once the body of the response has been read or canceled.
 * With a connection, all requests use it, one at a time, and its owner closes it.
 * @throws {TypeError} if the argument is neither.
 *
 * @example
 * ```ts
 * import { Client, createFetch, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * await using server = new Server(["127.0.0.1", 0], async (request) => {
 *   const text = await request.body?.text();
 *   return [200, "OK", {}, new TextEncoder().encode(`${request.path}: ${text}`)];
 * });
 * server.serveForever();
 * const fetch = createFetch(new Client(server.address));
 * const response = await fetch("/hello", { method: "POST", body: "world" });
 * assertEquals(await response.text(), "hello: world");
 * ```
 *
 * @example Many requests over one connection
 * ```ts
 * import { Client, createFetch, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * await using server = new Server(["127.0.0.1", 0], (_request, session) => {
 *   return [200, "OK", { requests: `${session.requests}` }, null];
 * });
 * server.serveForever();
 * using conn = await new Client(server.address).connect();
 * const fetch = createFetch(conn);
 * const counts = [];
 * for (let i = 0; i < 3; i++) counts.push((await fetch("/")).headers.get("requests"));
 * assertEquals(counts, ["0", "1", "2"]);
 * ```
 */
export function createFetch(client: Requester | Connector): typeof fetch {
  const route = routeOf(client);
  return async (input: RequestInfo | URL, given?: RequestInit | null) => {
    const init = given ?? {};
    if ("client" in init) {
      throw new TypeError(
        'init: must not have the option "client", which is for the fetch of Deno',
      );
    }
    const isRequest = input instanceof Request;
    const url = parseUrl(isRequest ? input.url : String(input), route.base);
    const request = new Request(isRequest ? input : url, init);
    try {
      return await exchange(route, request, init.body);
    } catch (error) {
      if (request.body !== null && !request.body.locked) request.body.cancel(error).catch(() => {});
      if (request.signal.aborted) throw request.signal.reason;
      if (route.signal?.aborted) throw route.signal.reason;
      const message = `${request.method} ${request.url}: ${plainMessageOf(error)}`;
      throw new TypeError(message, { cause: error });
    }
  };
}

/** The destination of requests, and their connections. */
interface Route {
  readonly target: Requester;
  /** The base of URLs without an origin. */
  readonly base: URL;
  /** The value of the `host` header, or `null`. */
  readonly host: string | null;
  /** True if only a URL can name the host: over Unix sockets and abstract names. */
  readonly isUnnamed: boolean;
  /** Aborts all requests of this route, if given. */
  readonly signal: AbortSignal | undefined;
  /** True if all requests use one connection, which the caller owns. */
  readonly kept: boolean;
}

/** The properties of a client or connection that are used if they are there. */
interface Described {
  readonly address?: Address;
  readonly host?: string | null;
  readonly options?: Pick<ClientOptions, "signal">;
  readonly sock?: Socket;
  readonly baseHeaders?: HeaderDict | null;
  readonly closed?: boolean;
}

function routeOf(given: Requester | Connector): Route {
  checkTarget("client", given);
  const target = requesterOf(given);
  // A pool makes requests only, but its connector knows where they go.
  const described = connectorOf(given) ?? given;
  const { address, host: named, options, sock, baseHeaders, closed } = described as Described;
  if (isConnector(described)) {
    const host = named ?? null;
    const base = baseOf(described instanceof SSLClient, host);
    const isUnnamed = host === null && !Array.isArray(address);
    return { target, base, host, isUnnamed, signal: options?.signal, kept: false };
  }
  const host = typeof baseHeaders?.["host"] === "string" ? baseHeaders["host"] : null;
  const base = baseOf(sock?.peerCertificate !== undefined, host);
  // Deno's address of a Unix socket has no host.
  const { hostname } = (sock?.remoteAddr ?? {}) as Partial<Deno.NetAddr>;
  const isUnnamed = host === null && typeof hostname !== "string";
  return { target, base, host, isUnnamed, signal: undefined, kept: closed !== undefined };
}

function baseOf(secure: boolean, host: string | null): URL {
  const scheme = secure ? "https" : "http";
  return URL.parse(`${scheme}://${host ?? "localhost"}`) ?? new URL(`${scheme}://localhost`);
}

/** Parses a URL, absolute or relative to `base`. */
function parseUrl(text: string, base: URL): URL {
  const url = URL.parse(text, base);
  if (url === null) throw new TypeError(`input: must be a URL; got ${quoteUrl(text)}`);
  // Errors of a fetch quote the URL, which would show a password.
  if (url.username === "" && url.password === "") return url;
  throw new TypeError(
    "input: must be a URL without a user name and a password; remove them, and set the authorization " +
      "header or the client's option authorization",
  );
}

/** Makes a request and follows its redirects (Fetch standard, HTTP-redirect fetch). */
async function exchange(route: Route, request: Request, given: unknown): Promise<Response> {
  const { signal, redirect } = request;
  signal.throwIfAborted();
  let { method } = request;
  let url = new URL(request.url);
  if (!/^https?:$/.test(url.protocol)) throw new TypeError(`can't fetch ${url.protocol} URLs`);
  url.hash = "";
  let headers = dictOf(request.headers);
  if (route.isUnnamed) headers["host"] ??= url.host;
  let content = await contentOf(request, given, headers);
  for (let redirects = 0;; redirects++) {
    const uri = url.href.slice(url.origin.length);
    // The target checks all arguments, even the method, and cancels a body that it doesn't send.
    const answer = await route.target.request(method as Method, uri, headers, content.take(), {
      signal,
    });
    const { status } = answer;
    let next;
    try {
      next = findRedirect(answer, redirect, url, route.host ?? headers["host"]);
      if (next !== null && redirects === MAX_REDIRECTS) {
        throw new TypeError(`more than ${MAX_REDIRECTS} redirects`);
      }
      if (next !== null && status !== 303 && !content.replayable) {
        throw new TypeError(
          `a redirect (status ${status}), but the body is a stream and has been sent`,
        );
      }
    } catch (error) {
      await discard(route, answer);
      throw error;
    }
    if (next === null) return await makeResponse(route, method, url, redirects > 0, answer);
    await discard(route, answer);
    url = next;
    const becomesGet = status === 303
      ? method !== "GET" && method !== "HEAD"
      : method === "POST" && (status === 301 || status === 302);
    if (!becomesGet) continue;
    method = "GET";
    content = NO_CONTENT;
    const kept = Object.entries(headers).filter(([name]) => !BODY_HEADERS.includes(name));
    headers = Object.fromEntries(kept);
  }
}

/**
 * The URL of a redirect to follow; `null` if there is none, or redirects are not to be followed. A
 * forbidden redirect is a `TypeError`. The server's `host` in requests need not be the host of
 * their URL.
 */
function findRedirect(
  { status, headers: { location } }: AppResponse,
  mode: RequestRedirect,
  from: URL,
  host: unknown,
): URL | null {
  if (mode === "manual" || !REDIRECTS.has(status)) return null;
  if (mode === "error") throw new TypeError(`a redirect (status ${status}), which was forbidden`);
  if (typeof location !== "string") return null;
  const to = URL.parse(location, from);
  if (to === null) throw new TypeError(`a redirect to ${quoteUrl(location)}, which is not a URL`);
  // All requests go to one server, so a redirect must stay there.
  if (to.origin === from.origin || (to.protocol === from.protocol && to.host === host)) return to;
  throw new TypeError(`a redirect from ${from.origin} to ${to.origin}, another origin`);
}

/** Discards an unwanted body. A connection that is kept stays usable, if possible. */
async function discard({ kept }: Route, { body }: AppResponse): Promise<void> {
  if (body === null) return;
  const giveUp = () => cancelUnused(body, new TypeError("the response was not wanted"));
  // Reading a long body to the end costs more than a new connection.
  if (kept) await body.read().catch(giveUp);
  else giveUp();
}

// ───────────────────────── the body of a request

/** The content of a request, which a redirect may send again. */
interface RequestContent {
  /** False for a stream, which can be sent only once. */
  readonly replayable: boolean;
  /** The body for the next request. */
  take(): BodyOut;
}

const NO_CONTENT: RequestContent = { replayable: true, take: () => null };

async function contentOf(
  request: Request,
  given: unknown,
  headers: HeaderDict,
): Promise<RequestContent> {
  if (given instanceof Blob) {
    const take = () => new BodyIter(new StreamPieces(given.stream()), given.size);
    return { replayable: true, take };
  }
  // A `Request` doesn't show whether its body was made from a stream, or from text, bytes or a
  // form.
  const isFixed = given !== undefined && given !== null &&
    (typeof given !== "object" || !(Symbol.asyncIterator in given));
  if (isFixed) return contentOfBytes([await request.bytes()]);
  if (request.body === null) {
    // A method that allows a body has a length of 0 (Fetch standard, HTTP-network-or-cache fetch,
    // 8).
    return mayHaveBody(request.method) ? contentOfBytes([]) : NO_CONTENT;
  }
  const pieces = new StreamPieces(request.body);
  const whole = await pieces.takeWhole(headers);
  if (whole !== null) return contentOfBytes(whole);
  return { replayable: false, take: () => streamedBody(pieces, headers) };
}

function contentOfBytes(pieces: readonly Uint8Array[]): RequestContent {
  return { replayable: true, take: () => bodyOfBytes(pieces) };
}

// ───────────────────────── the response

async function makeResponse(
  route: Route,
  method: string,
  url: URL,
  redirected: boolean,
  answer: AppResponse,
): Promise<Response> {
  const { status, reason, headers, body } = answer;
  const init = { status, statusText: reason, headers: headersOf(headers) };
  if (body === null || NULL_BODY.has(status) || method === "HEAD") {
    await discard(route, answer);
    return responseFrom(null, init, url.href, redirected);
  }
  return responseFrom(streamOf(body), init, url.href, redirected);
}

/**
 * A response of type "basic", without filtering, with its URL and whether it was redirected there.
 */
function responseFrom(
  body: BodyInit | null,
  init: ResponseInit,
  url: string,
  redirected: boolean,
): Response {
  const response = new Response(body, init);
  const clone = () => {
    const copy = Response.prototype.clone.call(response);
    const { status, statusText, headers } = copy;
    return responseFrom(copy.body, { status, statusText, headers }, url, redirected);
  };
  for (const [name, value] of Object.entries({ url, redirected, type: "basic", clone })) {
    // The properties stay configurable, as the getters of a response are: other code may redefine
    // them, and a proxy may show other values.
    Object.defineProperty(response, name, { value, configurable: true });
  }
  return response;
}
