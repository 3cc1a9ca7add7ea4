/**
 * `fetch` over a client.
 *
 * @module
 */

import { cancelUnused } from "../base/bodies.ts";
import { typeName } from "../base/errors.ts";
import type { HeaderDict } from "../base/headers.ts";
import type { Response as AppResponse } from "../base/message.ts";
import type { Method } from "../base/preamble.ts";
import type { Client } from "../client.ts";
import { closeAfterResponse, type Connection, transportOf } from "../net/connection.ts";
import { streamOf } from "./bodies.ts";
import { FetchResponse } from "./fetch_response.ts";
import { dictOf, headersOf } from "./headers.ts";
import { contentOf, noContent, type RequestContent } from "./request_content.ts";

/** A request that can be sent, and after a redirect sent again. */
interface Exchange {
  readonly client: Client;
  readonly signal: AbortSignal;
  method: string;
  url: URL;
  headers: HeaderDict;
  content: RequestContent;
}

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
/** As many as the Fetch standard allows (HTTP-redirect fetch, 7). */
const MAX_REDIRECTS = 20;
/** Statuses whose responses have no body in the Fetch standard. */
const NULL_BODY: ReadonlySet<number> = new Set([204, 205, 304]);
/** The headers that speak of a body (Fetch standard, request-body-header name). */
const BODY_HEADERS = [
  "content-encoding",
  "content-language",
  "content-location",
  "content-type",
  "content-length",
  "transfer-encoding",
];

/**
 * Makes a `fetch` whose requests all go to the server of one client.
 *
 * Of a URL only path and query count; one without an origin will do. Every request has a connection
 * of its own, which is closed once the body of the response has been read or cancelled. No headers
 * are added but those that the Fetch standard derives from the body, and the client's. Redirects are
 * followed within the origin. As with any `fetch` whatever fails is a `TypeError`, with the error
 * itself as its `cause`, and an abort rejects with the signal's reason. docs/web.md has the details.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { createFetch } from "@degu/degu/web";
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
 */
export function createFetch(client: Client): typeof fetch {
  if (typeof client?.connect !== "function") {
    throw new TypeError(`client: need a Client; got ${typeName(client)}`);
  }
  const base = URL.parse(`http://${client.host ?? "localhost"}`) ?? new URL("http://localhost");
  return async (input: RequestInfo | URL, init: RequestInit = {}) => {
    if ("client" in init) {
      throw new TypeError('init: the option "client" is for Deno\'s fetch; this one has a client');
    }
    const request = new Request(input instanceof Request ? input : new URL(input, base), init);
    const { signal } = request;
    try {
      signal.throwIfAborted();
      const url = withoutFragment(new URL(request.url));
      if (!/^https?:$/.test(url.protocol)) throw new TypeError(`can't fetch ${url.protocol} URLs`);
      const headers = dictOf(request.headers);
      const content = await contentOf(request, init.body, headers);
      const { method, redirect } = request;
      const exchange = { client, signal, method, url, headers, content };
      return await follow(exchange, redirect);
    } catch (error) {
      if (request.body !== null && !request.body.locked) request.body.cancel(error).catch(() => {});
      throw explain(error, request, client);
    }
  };
}

/** What a `fetch` rejects with. */
function explain(error: unknown, { method, url, signal }: Request, client: Client): unknown {
  if (signal.aborted) return signal.reason;
  if (client.options.signal?.aborted) return client.options.signal.reason;
  const message = error instanceof Error ? error.message : String(error);
  return new TypeError(`${method} ${url}: ${message}`, { cause: error });
}

/** Makes a request and, as far as redirects are to be followed, those that it leads to. */
async function follow(exchange: Exchange, mode: RequestRedirect): Promise<Response> {
  for (let redirects = 0;; redirects++) {
    const response = await send(exchange);
    if (mode !== "manual" && REDIRECTS.has(response.status)) {
      try {
        if (redirect(exchange, response, mode, redirects)) {
          giveUp(response);
          continue;
        }
      } catch (error) {
        giveUp(response);
        throw error;
      }
    }
    return makeResponse(exchange, response, redirects > 0);
  }
}

function giveUp(response: AppResponse): void {
  cancelUnused(response.body, new TypeError("the response was not wanted"));
}

/** Turns the exchange to where the response says; false where it says nothing. */
function redirect(
  exchange: Exchange,
  { status, headers }: AppResponse,
  mode: RequestRedirect,
  redirects: number,
): boolean {
  if (mode === "error") throw new TypeError(`a redirect (status ${status}), which was forbidden`);
  const { location } = headers;
  if (typeof location !== "string") return false;
  const url = URL.parse(location, exchange.url);
  if (url === null) throw new TypeError(`a redirect to "${location}", which is no URL`);
  checkOrigin(exchange, url);
  if (redirects === MAX_REDIRECTS) throw new TypeError(`more than ${MAX_REDIRECTS} redirects`);
  if (status !== 303 && !exchange.content.replayable) {
    throw new TypeError(
      `a redirect (status ${status}), but the body is a stream and has been sent`,
    );
  }
  const { method } = exchange;
  if (
    (method === "POST" && (status === 301 || status === 302)) ||
    (status === 303 && method !== "GET" && method !== "HEAD")
  ) {
    exchange.method = "GET";
    exchange.content = noContent;
    const rest = Object.entries(exchange.headers).filter(([name]) => !BODY_HEADERS.includes(name));
    exchange.headers = Object.fromEntries(rest);
  }
  exchange.url = withoutFragment(url);
  return true;
}

function withoutFragment(url: URL): URL {
  url.hash = "";
  return url;
}

/** All requests go to one server, so a redirect has to stay there. */
function checkOrigin({ url: from, client }: Exchange, to: URL): void {
  // The server knows itself by the host that the client sends, which need not be the URL's.
  const here = to.origin === from.origin ||
    (to.protocol === from.protocol && to.host === client.host);
  if (!here || to.username !== "" || to.password !== "") {
    throw new TypeError(`a redirect from ${from.origin} to ${to.origin}, another origin`);
  }
}

function makeResponse(
  { method, url }: Exchange,
  { status, reason, headers, body }: AppResponse,
  redirected: boolean,
): Response {
  const init = { status, statusText: reason, headers: headersOf(headers) };
  const isNull = body === null || NULL_BODY.has(status) || method === "HEAD";
  if (isNull) cancelUnused(body, new TypeError(`a response with status ${status} has no body`));
  return new FetchResponse(isNull ? null : streamOf(body), init, url.href, redirected);
}

/** Makes one request over a connection of its own. */
async function send(exchange: Exchange): Promise<AppResponse> {
  const { client, signal, method, url, headers, content } = exchange;
  const connection = await connect(client, signal, content);
  closeAfterResponse(connection);
  closeOnAbort(connection, signal, content);
  const uri = url.href.slice(url.origin.length);
  try {
    // The connection checks all of this, the method too.
    return await connection.request(method as Method, uri, headers, content.take());
  } catch (error) {
    connection.close();
    throw error;
  }
}

/** Connects, unless the signal is faster: then a connection that still comes about is closed. */
async function connect(
  client: Client,
  signal: AbortSignal,
  content: RequestContent,
): Promise<Connection> {
  const connecting = client.connect();
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort);
  try {
    signal.throwIfAborted();
    return await Promise.race([connecting, aborted.promise]);
  } catch (error) {
    content.cancel(error);
    connecting.then((connection) => connection.close(), () => {});
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** The signal knows the transport only, so that a response that was forgotten can be collected. */
function closeOnAbort(connection: Connection, signal: AbortSignal, content: RequestContent): void {
  const transport = transportOf(connection);
  const abort = () => {
    transport.close(signal.reason);
    // Nobody else would tell a source that is being waited for.
    content.cancel(signal.reason);
  };
  if (signal.aborted) return abort();
  const { onClose } = transport;
  transport.onClose = () => {
    signal.removeEventListener("abort", abort);
    onClose?.();
  };
  signal.addEventListener("abort", abort);
}
