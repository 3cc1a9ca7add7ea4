/** Merging of a client's default headers with the headers of a request. */

import { checkHeaderDict, type HeaderDict } from "../base/wire/headers.ts";

/**
 * The key under which the headers of a relayed request have those that the proxy added. The symbol
 * is registered, because the proxy and the client may be of two copies of this package. The copy
 * `{ ...headers }` has the key as well.
 */
const PROXY_HEADERS = Symbol.for("degu.ownHeaders");

/**
 * Merges the received headers of a relayed request with the proxy's own headers, which replace
 * them. The default headers of a client replace the received headers, and not the proxy's own.
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
export function withDefaults(headers: HeaderDict, defaults: HeaderDict): HeaderDict {
  checkHeaderDict(headers);
  const { [PROXY_HEADERS]: proxyHeaders } = headers as { readonly [PROXY_HEADERS]?: HeaderDict };
  return proxyHeaders === undefined
    ? { ...defaults, ...headers }
    : { ...headers, ...defaults, ...proxyHeaders };
}
