import type { Response as AppResponse } from "../base/app/message.ts";
import { Body } from "../base/body/body.ts";
import { type BodyOut, cancelSentBody, cancelUnusedBody } from "../base/body/sent_body.ts";
import {
  checkBoolean,
  checkOptions,
  notAllowedError,
  wrongArgumentError,
} from "../internal/checks.ts";
import { copyRepeatedLines, type HeadersToSend } from "../base/wire/headers.ts";
import { mayHaveBody, type Method } from "../base/wire/method.ts";
import { buildUri } from "../base/wire/uri.ts";
import type { Address } from "../base/address.ts";
import type { Socket } from "../base/app/app.ts";
import { checkRequest, checkResponse } from "../net/client/client_connection.ts";
import { onExchangeEnd } from "../net/client/connection.ts";
import {
  checkRequester,
  type Connector,
  makeConnectionOptions,
  type Requester,
} from "../net/client/requester.ts";
import { isRedirectStatus } from "../internal/statuses.ts";
import { ConnectionPool, timeoutOf } from "../net/client/connection_pool.ts";
import { plainMessageOf } from "../internal/caught_errors.ts";
import { quote } from "../internal/quote.ts";
import {
  checkFetchHeaders,
  fromFetchHeaders,
  makeBody,
  MAX_FETCH_HEADERS,
  NULL_BODY_STATUSES,
  quoteUrl,
  readAhead,
  toFetchHeaders,
} from "./messages.ts";

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
 * The origin of a URL can be left out. If a URL has an origin, its host and port must be those of
 * the client's `host`, unless the options allow others. A client without a `host`, over a Unix
 * socket or an abstract name, sends the host of the URL. Only the headers of the client, and the
 * headers that the Fetch standard derives from the body, are added. Redirects are followed within
 * the origin. As with any `fetch`, every failure is a `TypeError` with the error itself as its
 * `cause`, and an abort rejects with the signal's reason. docs/web.md has the details.
 *
 * @param client A client, a connection, or an object of the same shape. With a client, each request
 * has its own connection, which is closed once the body of the response has been read or canceled.
 * With a connection, all requests use it, one at a time, and its owner closes it.
 * @param options Whether URLs may have any host.
 * @throws {TypeError} if an argument or option is of a wrong type, or an option is unknown.
 *
 * @example
 * ```ts
 * import { Client, createFetch, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * await using server = new Server(["127.0.0.1", 0], async (request) => {
 *   return [200, "OK", {}, `${request.path}: ${await request.body?.text()}`];
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
export function createFetch(
  client: Requester | Connector,
  options: {
    /**
     * Whether URLs and `host` headers may have any host. All requests go to the same server, with
     * the `host` of the client, in any case.
     *
     * @default {false}
     */
    anyHost?: boolean | undefined;
  } = {},
): typeof fetch {
  const { anyHost = false } = checkOptions(options, { anyHost: checkBoolean });
  const destination = makeDestination(client);
  return async (input: RequestInfo | URL, initArgument?: RequestInit | null) => {
    const init = initArgument ?? {};
    if ("client" in init) {
      throw new TypeError(
        'init: must not have the option "client", which is for the fetch of Deno',
      );
    }
    const isRequest = input instanceof Request;
    const url = parseUrl(isRequest ? input.url : String(input), destination.base);
    if (!anyHost) checkHost(url, destination);
    // Copying a `Headers` takes quadratic time.
    if (init.headers instanceof Headers) checkFetchHeaders(init.headers);
    const request = new Request(isRequest ? input : url, init);
    try {
      if (!anyHost) checkHostHeader(request.headers.get("host"), destination);
      return await requestWithRedirects(destination, request, init.body);
    } catch (error) {
      if (request.body !== null && !request.body.locked) request.body.cancel(error).catch(() => {});
      if (request.signal.aborted) throw request.signal.reason;
      const message = `${request.method} ${request.url}: ${plainMessageOf(error)}`;
      throw new TypeError(message, { cause: error });
    }
  };
}

interface Destination {
  readonly requester: Requester;
  readonly base: URL;
  readonly host: string | null;
  readonly needsUrlHost: boolean;
  /** The time-out of the client, in seconds; `null` for no limit. */
  readonly timeout: number | null;
}

function makeDestination(client: Requester | Connector): Destination {
  checkRequester("client", client);
  // A pool has no address, but its connector does.
  const target = (client instanceof ConnectionPool ? client.connector : client) as {
    readonly address?: Address;
    readonly host?: string | null;
    readonly scheme?: string;
    readonly sock?: Socket;
    readonly baseHeaders?: HeadersToSend | null;
  };
  const { address, scheme: clientScheme, sock } = target;
  const host = target.host ?? target.baseHeaders?.["host"] ?? null;
  const isSecure = clientScheme === "https" || sock?.peerCertificate !== undefined;
  // Deno's address of a Unix socket has no host.
  const { hostname } = (sock?.remoteAddr ?? {}) as Partial<Deno.NetAddr>;
  const needsUrlHost = host === null && !Array.isArray(address) && hostname === undefined;
  const scheme = isSecure ? "https" : "http";
  const base = URL.parse(`${scheme}://${host ?? "localhost"}`) ?? new URL(`${scheme}://localhost`);
  return {
    requester: makeRequester(client),
    base,
    host: host === null ? null : `${host}`,
    needsUrlHost,
    timeout: timeoutOf(target),
  };
}

function parseUrl(text: string, base: URL): URL {
  const url = URL.parse(text, base);
  if (url === null) throw wrongArgumentError("input", `must be a URL; got ${quoteUrl(text)}`);
  // Errors of a fetch quote the URL, which would show a password.
  if (url.username === "" && url.password === "") return url;
  throw wrongArgumentError(
    "input",
    "must be a URL without a user name and a password; remove them, and set the authorization " +
      "header or the client's option authorization",
  );
}

function checkHost(url: URL, { base, host }: Destination): void {
  // A path was resolved against `base`, so it always matches.
  if (host === null || url.host === base.host) return;
  // URL parsing omits the default port on both sides.
  if (url.host === URL.parse(`${url.protocol}//${host}`)?.host) return;
  throw wrongArgumentError(
    "input",
    `must be a URL of ${host}, where all requests go, or a path; got ${quoteUrl(url.href)} ` +
      "(anyHost: true allows any host)",
  );
}

/** The client would replace the header by its own. */
function checkHostHeader(header: string | null, { host }: Destination): void {
  if (header === null || host === null || header.toLowerCase() === host) return;
  throw wrongArgumentError(
    'headers["host"]',
    `must be ${host}, the host of the client, or left out; got ${quote(header)} (to send another ` +
      "host, set the option host of the client)",
  );
}

/** Makes a request and follows its redirects (Fetch standard, HTTP-redirect fetch). */
async function requestWithRedirects(
  destination: Destination,
  request: Request,
  givenBody: unknown,
): Promise<Response> {
  const { signal, redirect } = request;
  signal.throwIfAborted();
  let { method } = request;
  let url = new URL(request.url);
  if (!/^https?:$/.test(url.protocol)) throw new TypeError(`can't fetch ${url.protocol} URLs`);
  let headers = fromFetchHeaders(request.headers, null);
  if (destination.needsUrlHost) headers["host"] ??= url.host;
  // The framing of a body that was not read yet is checked by the requester.
  const { "content-length": _length, "transfer-encoding": _coding, ...otherHeaders } = headers;
  checkRequest(method as Method, toUri(url), otherHeaders, null);
  let requestContent = await readContent(request, givenBody, headers, destination.timeout);
  for (let redirects = 0;; redirects++) {
    url.hash = "";
    const uri = toUri(url);
    const body = requestContent.takeBody();
    // The requester also checks the framing, and cancels an unsent body.
    const appResponse = await destination.requester.request(
      method as Method,
      uri,
      headers,
      body,
      { signal, duplex: "full" },
    );
    checkResponse(appResponse);
    const { status } = appResponse;
    let redirectUrl, responseHeaders;
    try {
      redirectUrl = findRedirect(appResponse, redirect, url, destination.host ?? headers["host"]);
      if (redirectUrl !== null && redirects === MAX_REDIRECTS) {
        throw new TypeError(`more than ${MAX_REDIRECTS} redirects`);
      }
      if (redirectUrl !== null && status !== 303 && !requestContent.isReplayable) {
        throw new TypeError(
          `a redirect (status ${status}), but the body is a stream and has been sent`,
        );
      }
      responseHeaders = toFetchHeaders(appResponse.headers);
      if (responseHeaders === null) {
        throw new TypeError(`a response with more than ${MAX_FETCH_HEADERS} headers`);
      }
    } catch (error) {
      await appResponse.discard();
      // The response may have come before the whole body was sent.
      cancelSentBody(body, error);
      throw error;
    }
    if (redirectUrl === null) {
      return await makeResponse(method, url, redirects > 0, appResponse, responseHeaders);
    }
    await appResponse.discard();
    url = redirectUrl;
    const isChangedToGet = status === 303
      ? method !== "GET" && method !== "HEAD"
      : method === "POST" && (status === 301 || status === 302);
    if (!isChangedToGet) continue;
    method = "GET";
    requestContent = NO_CONTENT;
    const remainingHeaders = Object.entries(headers).filter(([name]) =>
      !BODY_HEADERS.includes(name)
    );
    headers = Object.fromEntries(remainingHeaders);
  }
}

/** Returns the path of a URL, in the spelling of {@linkcode buildUri}, and the query. */
function toUri({ href, pathname }: URL): string {
  // `search` doesn't tell an empty query from none. A fragment isn't sent.
  const [query = ""] = /\?.*/.exec(href.split("#", 1)[0]!) ?? [];
  try {
    return buildUri(pathname.slice(1).split("/").map(decodeURIComponent)) + query;
  } catch (error) {
    if (!(error instanceof URIError)) throw error;
    throw notAllowedError("input", `the path ${quote(pathname)} has an escape that is not UTF-8`);
  }
}

/**
 * A redirect to the host in the requests' `host` header is allowed, because it stays at the server.
 */
function findRedirect(
  { status, headers: { location } }: AppResponse,
  mode: RequestRedirect,
  sourceUrl: URL,
  host: unknown,
): URL | null {
  if (mode === "manual" || !isRedirectStatus(status)) return null;
  if (mode === "error") throw new TypeError(`a redirect (status ${status}), which was forbidden`);
  if (typeof location !== "string") return null;
  const targetUrl = URL.parse(location, sourceUrl);
  if (targetUrl === null) {
    throw new TypeError(`a redirect to ${quoteUrl(location)}, which is not a URL`);
  }
  // All requests go to one server, so a redirect must stay at its origin.
  if (
    targetUrl.origin === sourceUrl.origin ||
    (targetUrl.protocol === sourceUrl.protocol && targetUrl.host === host)
  ) return targetUrl;
  throw new TypeError(`a redirect from ${sourceUrl.origin} to ${targetUrl.origin}, another origin`);
}

// ───────────────────────── the body of a request

interface RequestContent {
  readonly isReplayable: boolean;
  takeBody(): BodyOut;
}

const NO_CONTENT: RequestContent = { isReplayable: true, takeBody: () => null };

async function readContent(
  request: Request,
  givenBody: unknown,
  headers: HeadersToSend,
  timeout: number | null,
): Promise<RequestContent> {
  if (givenBody instanceof Blob) {
    return { isReplayable: true, takeBody: () => givenBody };
  }
  if (request.body === null) return NO_CONTENT;
  if (!mayHaveBody(request.method)) {
    // The requester refuses a body that isn't empty.
    const piece = await readFirstPiece(request.body, request.signal, timeout);
    if (piece !== null) return { isReplayable: true, takeBody: () => piece };
    // The framing of an empty body.
    delete headers["content-length"];
    delete headers["transfer-encoding"];
    return NO_CONTENT;
  }
  // A `Request` doesn't show whether its body was made from a stream, or from text, bytes or a
  // form.
  const isFixed = givenBody !== undefined && givenBody !== null &&
    (typeof givenBody !== "object" || !(Symbol.asyncIterator in givenBody));
  const content = isFixed
    ? [await request.bytes()]
    : headers["transfer-encoding"] === undefined
    ? await readAhead(request.body)
    : request.body;
  if (!(content instanceof ReadableStream)) {
    return { isReplayable: true, takeBody: () => makeBody(content) };
  }
  const { "content-length": length } = headers;
  const takeBody = () => typeof length === "number" ? new Body(content, length) : content;
  return { isReplayable: false, takeBody };
}

/**
 * Reads the first bytes of a stream, and cancels it; `null` if it is empty, as the body of a DELETE
 * without content in `Deno.serve` is.
 */
async function readFirstPiece(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  signal: AbortSignal,
  timeout: number | null,
): Promise<Uint8Array | null> {
  const reader = stream.getReader();
  const stopped = Promise.withResolvers<never>();
  const timer = timeout === null
    ? undefined
    : setTimeout(() => stopped.reject(stalledBodyError(timeout)), timeout * 1000);
  const onAbort = () => stopped.reject(signal.reason);
  signal.addEventListener("abort", onAbort);
  let failure: unknown;
  try {
    for (;;) {
      const { done, value } = await Promise.race([reader.read(), stopped.promise]);
      if (done) return null;
      if (value.length > 0) return value;
    }
  } catch (error) {
    failure = error;
    throw error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
    reader.cancel(failure).catch(() => {});
  }
}

function stalledBodyError(timeout: number): Error {
  const problem = `the body, which must be empty, had neither a byte nor an end for ${timeout} s`;
  return new Deno.errors.TimedOut(problem);
}

// ───────────────────────── the response

async function makeResponse(
  method: string,
  url: URL,
  redirected: boolean,
  appResponse: AppResponse,
  headers: [name: string, value: string][],
): Promise<Response> {
  const { status, reason, body } = appResponse;
  const responseInit = { status, statusText: reason, headers };
  const hasNullBody = body === null || NULL_BODY_STATUSES.has(status) || method === "HEAD";
  if (hasNullBody) await appResponse.discard();
  const response = new Response(hasNullBody ? null : body.readable, responseInit);
  // A handler may return this response.
  copyRepeatedLines(appResponse.headers, response.headers);
  for (const [name, value] of Object.entries({ url: url.href, redirected })) {
    // The getters of a response are also configurable.
    Object.defineProperty(response, name, { value, configurable: true });
  }
  return response;
}

function makeRequester(requester: Requester | Connector): Requester {
  if ("request" in requester) return requester;
  return {
    async request(method, uri, headers = {}, body = null, options = {}) {
      let connection;
      try {
        checkRequest(method, uri, headers, body);
        connection = await requester.connect({ signal: options.signal });
      } catch (error) {
        cancelUnusedBody(body, error);
        throw error;
      }
      const close = () => connection.close();
      try {
        const response = await connection.request(
          method,
          uri,
          headers,
          body,
          makeConnectionOptions(connection, options),
        );
        onExchangeEnd(connection, response.body, close);
        return response;
      } catch (error) {
        close();
        throw error;
      }
    },
  };
}
