/**
 * Redirects (Fetch standard, HTTP-redirect fetch).
 *
 * @module
 */

import type { Response as AppResponse } from "../base/app/message.ts";
import type { Exchange } from "./exchange.ts";
import { noContent } from "./request_content.ts";
import { quoteUrl } from "./request_url.ts";

const STATUSES: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
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
 * Returns the exchange that a response redirects to.
 *
 * @param redirects How many redirects were followed before.
 * @returns `null` if the response is not a redirect, or is not to be followed.
 * @throws {TypeError} if it must not be followed.
 */
export function redirect(
  exchange: Exchange,
  { status, headers }: AppResponse,
  mode: RequestRedirect,
  redirects: number,
): Exchange | null {
  if (mode === "manual" || !STATUSES.has(status)) return null;
  if (mode === "error") throw new TypeError(`a redirect (status ${status}), which was forbidden`);
  const { location } = headers;
  if (typeof location !== "string") return null;
  const url = URL.parse(location, exchange.url);
  if (url === null) throw new TypeError(`a redirect to ${quoteUrl(location)}, which is not a URL`);
  checkSameOrigin(exchange, url);
  if (redirects === MAX_REDIRECTS) throw new TypeError(`more than ${MAX_REDIRECTS} redirects`);
  if (status !== 303 && !exchange.content.replayable) {
    throw new TypeError(
      `a redirect (status ${status}), but the body is a stream and has been sent`,
    );
  }
  if (!becomesGet(exchange.method, status)) return { ...exchange, url };
  const rest = Object.entries(exchange.headers).filter(([name]) => !BODY_HEADERS.includes(name));
  return { ...exchange, url, method: "GET", content: noContent, headers: Object.fromEntries(rest) };
}

/** All requests go to one server, so a redirect must stay there. */
function checkSameOrigin({ url: from, route, headers }: Exchange, to: URL): void {
  // The server knows itself by the host header, which need not be the host of the URL.
  const host = route.host ?? headers["host"];
  const isHere = to.origin === from.origin || (to.protocol === from.protocol && to.host === host);
  if (!isHere) {
    throw new TypeError(`a redirect from ${from.origin} to ${to.origin}, another origin`);
  }
}

function becomesGet(method: string, status: number): boolean {
  if (status === 303) return method !== "GET" && method !== "HEAD";
  return method === "POST" && (status === 301 || status === 302);
}
