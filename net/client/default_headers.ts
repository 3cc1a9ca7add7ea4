import { checkHeaders, type HeadersToSend } from "../../base/wire/headers.ts";

/** The key of a property that a copy `{ ...headers }` also has. */
const PROXY_HEADERS = Symbol("proxy headers");

export function mergeRelayedHeaders(
  receivedHeaders: HeadersToSend,
  proxyHeaders: HeadersToSend,
): HeadersToSend {
  return { ...receivedHeaders, ...proxyHeaders, [PROXY_HEADERS]: proxyHeaders };
}

/** A header that a proxy relays doesn't replace a default header. */
export function withDefaultHeaders(
  headers: HeadersToSend,
  defaultHeaders: HeadersToSend,
): HeadersToSend {
  checkHeaders(headers);
  const { [PROXY_HEADERS]: proxyHeaders } = headers as { readonly [PROXY_HEADERS]?: HeadersToSend };
  return proxyHeaders === undefined
    ? { ...defaultHeaders, ...headers }
    : { ...headers, ...defaultHeaders, ...proxyHeaders };
}
