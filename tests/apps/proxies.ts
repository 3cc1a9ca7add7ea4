/** Proxies on their own servers, with raw peers on both sides. */

import { ProxyApp } from "@degu/degu";
import type { Address } from "@degu/degu/base";
import { Client, type ClientOptions } from "@degu/degu/client";
import { RawPeer, RawServer } from "@degu/testing/raw_peer.ts";
import { serve, type Serving } from "@degu/testing/serving.ts";

/** Serves a proxy. By default its client sends no `host`, and has a time-out of a minute. */
export function serveProxy(
  upstream: Address,
  options: ClientOptions = {},
  address?: Address,
): Serving {
  const client = new Client(upstream, { host: null, timeout: 60, ...options });
  return serve(new ProxyApp(client), {}, address);
}

/**
 * Starts a proxy and its upstream server, and connects a client to the proxy.
 *
 * @param directory A directory for Unix sockets, whose buffers don't grow; by default TCP.
 */
export async function connectThrough(options: ClientOptions = {}, directory?: string) {
  const upstream = new RawServer(directory && `${directory}/upstream`);
  const proxy = serveProxy(upstream.address, options, directory && `${directory}/proxy`);
  const clientPeer = await RawPeer.connect(proxy.address);
  return {
    upstream,
    proxy,
    clientPeer,
    [Symbol.asyncDispose]: async () => {
      clientPeer.close();
      upstream[Symbol.dispose]();
      await proxy[Symbol.asyncDispose]();
    },
  };
}

/** Requests of every kind. A proxy passes on every part of them. */
export const REQUESTS: readonly string[] = [
  "GET / HTTP/1.1\r\n\r\n",
  "GET /foo/?bar=baz&x HTTP/1.1\r\naccept-language: de, en;q=0.5\r\nhost: example\r\n\r\n",
  "GET /foo HTTP/1.1\r\nrange: bytes=2-4\r\n\r\n",
  'HEAD /foo/bar? HTTP/1.1\r\nif-none-match: "abc"\r\n\r\n',
  "DELETE /a.b/~c HTTP/1.1\r\nconnection-x: keep-alive\r\n\r\n",
  "PUT / HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
  "POST / HTTP/1.1\r\ncontent-length: 5\r\nx-expect: 100-continue\r\n\r\nhello",
  "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
  "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" +
  "1\r\na\r\n5;key=value\r\nhello\r\n1\r\nb\r\n0;last=one\r\n\r\n",
];

/** The headers that RFC 9110 §7.6.1 forbids a proxy to pass on, and `expect`. */
const HOP_BY_HOP = /^(connection|keep-alive|te|trailer|upgrade|expect|proxy-.*)$/;
const ALWAYS_RELAYED = /^(host|content-length|transfer-encoding|range|content-range)$/;

/** Returns the headers that a proxy passes on in a response. */
export function removeHopByHop<T>(headers: Readonly<Record<string, T>>): Record<string, T> {
  const connection = `${headers["connection"] ?? ""}`;
  const options = connection.toLowerCase().split(",").map((option) => option.trim());
  const isDropped = (name: string) => HOP_BY_HOP.test(name) || options.includes(name);
  const isRelayed = ([name]: [string, T]) => ALWAYS_RELAYED.test(name) || !isDropped(name);
  return Object.fromEntries(Object.entries(headers).filter(isRelayed));
}

/** Returns the headers of a request that a proxy passes on. */
export function relayRequestHeaders<T>(headers: Readonly<Record<string, T>>): Record<string, T> {
  // CGI and WSGI read other characters than letters and digits as `-`.
  const isRelayed = ([name]: [string, T]) => /^[a-z0-9-]+$/.test(name);
  return Object.fromEntries(Object.entries(removeHopByHop(headers)).filter(isRelayed));
}
