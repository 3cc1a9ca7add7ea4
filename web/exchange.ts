/**
 * One request of a `fetch` and its response.
 *
 * @module
 */

import { cancelUnused } from "../base/bodies.ts";
import { typeName } from "../base/errors.ts";
import type { HeaderDict } from "../base/headers.ts";
import type { Response as AppResponse } from "../base/message.ts";
import type { Method } from "../base/preamble.ts";
import { type Client, SSLClient } from "../client.ts";
import { closeAfterResponse, type Connection, transportOf } from "../net/connection.ts";
import type { RequestContent } from "./request_content.ts";

/** Where requests go, and over what. */
export interface Route {
  /** What URLs without an origin are relative to. */
  readonly base: URL;
  /** The value of the `host` header, or `null`. */
  readonly host: string | null;
  /** True where only a URL can say which host is meant: over Unix sockets and abstract names. */
  readonly isUnnamed: boolean;
  /** Aborts whatever is done here, if there is one. */
  readonly signal: AbortSignal | undefined;
  /** True where all requests go over one connection, which belongs to somebody else. */
  readonly kept: boolean;
  /** Gives the connection for a request. */
  connect(): Promise<Connection>;
}

/**
 * The way of a client's requests, each over a connection of its own, or of those over one connection.
 *
 * @throws {TypeError} where it is neither.
 */
export function routeOf(target: Client | Connection): Route {
  if (isClient(target)) {
    const { address, host, options: { signal } } = target;
    const base = baseOf(target instanceof SSLClient, host);
    const isUnnamed = host === null && !Array.isArray(address);
    return { base, host, isUnnamed, signal, kept: false, connect: () => target.connect() };
  }
  if (typeof target?.request !== "function" || typeof target.close !== "function") {
    throw new TypeError(`client: need a Client or a Connection; got ${typeName(target)}`);
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
    connect: () => Promise.resolve(target),
  };
}

function isClient(target: Client | Connection): target is Client {
  return typeof (target as Client | null)?.connect === "function";
}

/** Whether an address is that of a host, as Deno tells it; Unix sockets have a path or nothing. */
function hasHostname(address: unknown): boolean {
  return typeof (address as Partial<Deno.NetAddr> | null | undefined)?.hostname === "string";
}

function baseOf(secure: boolean, host: string | null): URL {
  const scheme = secure ? "https" : "http";
  return URL.parse(`${scheme}://${host ?? "localhost"}`) ?? new URL(`${scheme}://localhost`);
}

/** A request that can be sent, and after a redirect sent again. */
export interface Exchange {
  /** Where it goes. */
  readonly route: Route;
  /** Aborts it. */
  readonly signal: AbortSignal;
  /** The method; not checked yet. */
  method: string;
  /** The URL, without a fragment. */
  url: URL;
  /** The headers; not checked yet. */
  headers: HeaderDict;
  /** The body. */
  content: RequestContent;
}

/** A response, of which no more than the preamble has been read. */
export interface Answer {
  /** The response. */
  readonly response: AppResponse;
  /** To be called when the body has come to its end: from then on an abort is none of its business. */
  readonly ended: () => void;
}

/** Makes a request. */
export async function send(exchange: Exchange): Promise<Answer> {
  const { route, signal, method, url, headers, content } = exchange;
  const connection = await connect(route, signal, content);
  const ended = closeOnAbort(connection, signal, content);
  if (!route.kept) {
    closeAfterResponse(connection);
    callOnClose(connection, ended);
  }
  const uri = url.href.slice(url.origin.length);
  try {
    // The connection checks all of this, the method too.
    const response = await connection.request(method as Method, uri, headers, content.take());
    if (response.body === null) ended();
    return { response, ended };
  } catch (error) {
    ended();
    if (!route.kept) connection.close();
    throw error;
  }
}

/** Does away with a body that nobody wants. A connection that is kept stays usable, if it can. */
export async function discard({ kept }: Route, { response: { body }, ended }: Answer) {
  if (body === null) return;
  const giveUp = () => cancelUnused(body, new TypeError("the response was not wanted"));
  // One that is too long to be read is not worth a connection.
  if (kept) await body.read().catch(giveUp);
  else giveUp();
  ended();
}

/** Connects, unless the signal is faster: then a connection that still comes about is closed. */
async function connect(
  route: Route,
  signal: AbortSignal,
  content: RequestContent,
): Promise<Connection> {
  const connecting = route.connect();
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort);
  try {
    signal.throwIfAborted();
    return await Promise.race([connecting, aborted.promise]);
  } catch (error) {
    content.cancel(error);
    if (!route.kept) connecting.then((connection) => connection.close(), () => {});
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/**
 * Closes the connection when the signal says so; returns a function that ends this. The signal knows
 * the transport only, so that a response that was forgotten can be collected.
 */
function closeOnAbort(
  connection: Connection,
  signal: AbortSignal,
  content: RequestContent,
): () => void {
  const transport = transportOf(connection);
  const abort = () => {
    transport.close(signal.reason);
    // Nobody else would tell a source that is being waited for.
    content.cancel(signal.reason);
  };
  if (signal.aborted) abort();
  else signal.addEventListener("abort", abort);
  return () => signal.removeEventListener("abort", abort);
}

function callOnClose(connection: Connection, ended: () => void): void {
  const transport = transportOf(connection);
  const { onClose } = transport;
  transport.onClose = () => {
    ended();
    onClose?.();
  };
}
