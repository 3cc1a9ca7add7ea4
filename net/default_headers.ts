import { checkHeaderDict, type HeaderDict } from "../base/wire/headers.ts";

/**
 * The key of a property of a relayed request's headers, which holds the headers that the proxy has
 * added. The symbol is registered, because the proxy and the client may come from two copies of
 * this package. A copy `{ ...headers }` also has the key.
 */
const PROXY_HEADERS = Symbol.for("degu.ownHeaders");

/**
 * Merges the received headers of a relayed request with the proxy's own headers, which replace
 * received headers of the same name. The default headers of a client replace received headers, but
 * not the proxy's own headers.
 */
export function mergeRelayedHeaders(
  receivedHeaders: HeaderDict,
  proxyHeaders: HeaderDict,
): HeaderDict {
  return { ...receivedHeaders, ...proxyHeaders, [PROXY_HEADERS]: proxyHeaders };
}

/**
 * Adds a client's default headers to the headers of a request. A header of the request replaces a
 * default header of the same name. A header that a proxy relays doesn't replace a default header.
 */
export function withDefaultHeaders(headers: HeaderDict, defaultHeaders: HeaderDict): HeaderDict {
  checkHeaderDict(headers);
  const { [PROXY_HEADERS]: proxyHeaders } = headers as { readonly [PROXY_HEADERS]?: HeaderDict };
  return proxyHeaders === undefined
    ? { ...defaultHeaders, ...headers }
    : { ...headers, ...defaultHeaders, ...proxyHeaders };
}
