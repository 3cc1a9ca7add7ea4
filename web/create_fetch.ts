/**
 * `fetch` over a client.
 *
 * @module
 */

import type { Response as AppResponse } from "../base/app/message.ts";
import type { Client } from "../client.ts";
import type { Connection } from "../net/client_connection.ts";
import { plainMessageOf } from "../net/thrown.ts";
import { streamOf } from "./bodies.ts";
import { discard, type Exchange, type Route, routeOf, send } from "./exchange.ts";
import { FetchResponse } from "./fetch_response.ts";
import { dictOf, headersOf } from "./headers.ts";
import { redirect } from "./redirect.ts";
import { contentOf } from "./request_content.ts";
import { parseRequestUrl } from "./request_url.ts";

/** Statuses whose responses have no body in the Fetch standard. */
const NULL_BODY: ReadonlySet<number> = new Set([204, 205, 304]);

/**
 * Makes a `fetch` whose requests all go to one server.
 *
 * Only the path and query of a URL are used, and its host if the client has none (over Unix sockets and
 * abstract names); the origin can be left out. The only headers added are those that the Fetch standard
 * derives from the body, and the client's. Redirects are followed within the origin. As with any
 * `fetch`, every failure is a `TypeError` with the error itself as its `cause`, and an abort rejects
 * with the signal's reason. docs/web.md has the details.
 *
 * @param client A client: each request gets its own connection, which is closed once the body of
 * the response has been read or canceled. Or a connection: all requests use it, one at a time, and its
 * owner closes it.
 * @throws {TypeError} if it is neither.
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
export function createFetch(client: Client | Connection): typeof fetch {
  const route = routeOf(client);
  return async (input: RequestInfo | URL, given?: RequestInit | null) => {
    const init = given ?? {};
    if ("client" in init) {
      throw new TypeError(
        'init: must not have the option "client", which is for the fetch of Deno',
      );
    }
    const isRequest = input instanceof Request;
    const url = parseRequestUrl(isRequest ? input.url : String(input), route.base);
    const request = new Request(isRequest ? input : url, init);
    try {
      return await follow(await makeExchange(route, request, init), request.redirect);
    } catch (error) {
      if (request.body !== null && !request.body.locked) request.body.cancel(error).catch(() => {});
      throw asFetchError(error, request, route);
    }
  };
}

async function makeExchange(route: Route, request: Request, init: RequestInit): Promise<Exchange> {
  const { method, signal } = request;
  signal.throwIfAborted();
  const url = new URL(request.url);
  if (!/^https?:$/.test(url.protocol)) throw new TypeError(`can't fetch ${url.protocol} URLs`);
  url.hash = "";
  const headers = dictOf(request.headers);
  if (route.isUnnamed) headers["host"] ??= url.host;
  const content = await contentOf(request, init.body, headers);
  return { route, signal, method, url, headers, content };
}

/** What a `fetch` rejects with. */
function asFetchError(error: unknown, { method, url, signal }: Request, route: Route): unknown {
  if (signal.aborted) return signal.reason;
  if (route.signal?.aborted) return route.signal.reason;
  return new TypeError(`${method} ${url}: ${plainMessageOf(error)}`, { cause: error });
}

/** Makes a request and follows its redirects if that is enabled. */
async function follow(first: Exchange, mode: RequestRedirect): Promise<Response> {
  let exchange = first;
  for (let redirects = 0;; redirects++) {
    const answer = await send(exchange);
    let next;
    try {
      next = redirect(exchange, answer, mode, redirects);
    } catch (error) {
      await discard(exchange.route, answer);
      throw error;
    }
    if (next === null) return await makeResponse(exchange, answer, redirects > 0);
    await discard(exchange.route, answer);
    exchange = next;
  }
}

async function makeResponse(
  { method, url, route }: Exchange,
  answer: AppResponse,
  redirected: boolean,
): Promise<Response> {
  const { status, reason, headers, body } = answer;
  const init = { status, statusText: reason, headers: headersOf(headers) };
  if (body === null || NULL_BODY.has(status) || method === "HEAD") {
    await discard(route, answer);
    return new FetchResponse(null, init, url.href, redirected);
  }
  return new FetchResponse(streamOf(body), init, url.href, redirected);
}
