/** The headers that a client sends by default, and the headers that take their place. */

import { checkHeaderDict, type HeaderDict } from "../base/wire/headers.ts";

/**
 * The key of the program's own headers among those of a relayed request. The symbol is registered:
 * the proxy and the client may be of two copies of this package. `{ ...headers }` copies the key.
 */
const OWN = Symbol.for("degu.ownHeaders");

/**
 * Joins the headers that a relayed request came with and those of this program, which replace them.
 * In a request with these headers, or with a copy, the client's default headers replace all but the
 * program's own.
 */
export function relayedHeaders(received: HeaderDict, own: HeaderDict): HeaderDict {
  return { ...received, ...own, [OWN]: own };
}

/** Adds default headers to those of a request, which replace them unless they are relayed. */
export function withDefaults(headers: HeaderDict, defaults: HeaderDict): HeaderDict {
  checkHeaderDict(headers);
  const { [OWN]: own } = headers as { readonly [OWN]?: HeaderDict };
  return own === undefined ? { ...defaults, ...headers } : { ...headers, ...defaults, ...own };
}
