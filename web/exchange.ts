/**
 * One request of a `fetch` and its response.
 *
 * @module
 */

import { type BodyOut, cancelUnused } from "../base/body/bodies.ts";
import { wrongType } from "../base/checks.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import type { Response as AppResponse } from "../base/app/message.ts";
import type { Method } from "../base/wire/preamble.ts";
import { type Client, type Connection, type RequestOptions, SSLClient } from "../client.ts";
import type { RequestContent } from "./request_content.ts";

/** Where requests go, and over which connections. */
export interface Route {
  /** What URLs without an origin are relative to. */
  readonly base: URL;
  /** The value of the `host` header, or `null`. */
  readonly host: string | null;
  /** True if only a URL can name the host: over Unix sockets and abstract names. */
  readonly isUnnamed: boolean;
  /** Aborts everything on this route, if there is one. */
  readonly signal: AbortSignal | undefined;
  /** True if all requests use one connection, which the caller owns. */
  readonly kept: boolean;
  /** Makes a request. */
  request(
    method: Method,
    uri: string,
    headers: HeaderDict,
    body: BodyOut,
    options: RequestOptions,
  ): Promise<AppResponse>;
}

/**
 * The route of a client's requests, each over its own connection, or of requests over one connection.
 *
 * @throws {TypeError} if it is neither.
 */
export function routeOf(target: Client | Connection): Route {
  const request: Route["request"] = (...args) => target.request(...args);
  if (isClient(target)) {
    const { address, host, options: { signal } } = target;
    const base = baseOf(target instanceof SSLClient, host);
    const isUnnamed = host === null && !Array.isArray(address);
    return { base, host, isUnnamed, signal, kept: false, request };
  }
  if (typeof target?.request !== "function" || typeof target.close !== "function") {
    throw wrongType("client", "a Client or a Connection", target);
  }
  const { host } = target.baseHeaders ?? {};
  const text = typeof host === "string" ? host : null;
  const base = baseOf(target.sock.peerCertificate !== undefined, text);
  return {
    base,
    host: text,
    isUnnamed: text === null && !hasHostname(target.sock.remoteAddr),
    signal: undefined,
    kept: true,
    request,
  };
}

function isClient(target: Client | Connection): target is Client {
  return typeof (target as Client | null)?.connect === "function";
}

/** True for the address of a host, in Deno's form; the address of a Unix socket has at most a path. */
function hasHostname(address: unknown): boolean {
  return typeof (address as Partial<Deno.NetAddr> | null | undefined)?.hostname === "string";
}

function baseOf(secure: boolean, host: string | null): URL {
  const scheme = secure ? "https" : "http";
  return URL.parse(`${scheme}://${host ?? "localhost"}`) ?? new URL(`${scheme}://localhost`);
}

/** A request that can be sent, and sent again after a redirect. */
export interface Exchange {
  /** Where it goes. */
  readonly route: Route;
  /** Aborts it. */
  readonly signal: AbortSignal;
  /** The method; not checked yet. */
  readonly method: string;
  /** The URL, without a fragment. */
  readonly url: URL;
  /** The headers; not checked yet. */
  readonly headers: HeaderDict;
  /** The body. */
  readonly content: RequestContent;
}

/** Makes a request. Its signal aborts it until the body of the response is consumed. */
export async function send(exchange: Exchange): Promise<AppResponse> {
  const { route, signal, method, url, headers, content } = exchange;
  const uri = url.href.slice(url.origin.length);
  // The connection checks all of this, the method too, and cancels a body that it doesn't send.
  return await route.request(method as Method, uri, headers, content.take(), { signal });
}

/** Discards an unwanted body. A connection that is kept stays usable, if possible. */
export async function discard({ kept }: Route, { body }: AppResponse): Promise<void> {
  if (body === null) return;
  const giveUp = () => cancelUnused(body, new TypeError("the response was not wanted"));
  // Reading a long body to the end costs more than a new connection.
  if (kept) await body.read().catch(giveUp);
  else giveUp();
}
