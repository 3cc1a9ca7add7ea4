import { makeReadableBody, Request, RequestContext } from "../base/app/message.ts";
import { Body, type BodyIn, ChunkedBody } from "../base/body/body.ts";
import { determineBodyFraming, prepareBody, withContentType } from "../base/body/sent_body.ts";
import { checkInteger } from "../internal/checks.ts";
import type { HeadersToSend } from "../base/wire/headers.ts";
import type { Method } from "../base/wire/method.ts";
import { checkUri } from "../base/wire/uri.ts";
import { checkRequest } from "../net/client/client_connection.ts";
import { bodyOrNull, type RequestMessage } from "../net/client/requester.ts";

/**
 * Makes a request like those that an app gets.
 *
 * @param method The method, such as `GET`: see {@linkcode Method}.
 * @param uri The path, which starts with `/`, and the query.
 * @param message The headers by lower-case name, and the body, as for `client.request`; then
 * perhaps the number of path components to move to `mount`. A text, bytes, a `Blob`,
 * `URLSearchParams` and a `BodyIter` become a `Body`, a `ChunkedBodyIter` becomes a `ChunkedBody`,
 * and the request has the headers of the body that a client would send. If the body is empty, it is
 * `null`.
 * @throws {TypeError} if a value has a wrong type.
 * @throws {RangeError} if a value is not allowed. A client refuses the same headers and bodies.
 *
 * @example
 * ```ts
 * import { mkreq } from "@degu/degu/misc";
 * import { assertEquals } from "@std/assert";
 *
 * const request = mkreq("PUT", "/lamp/kitchen", {}, '{"on": true}');
 * assertEquals(request.headers["content-length"], 12);
 * assertEquals(await request.body?.json(), { on: true });
 * ```
 */
export function mkreq<M extends Method>(
  method: M,
  uri: string,
  ...message: RequestMessage<M, number>
): Request {
  const [givenHeaders, givenBody, shift = 0] = message;
  const headers = givenHeaders === undefined ? {} : givenHeaders;
  const body = bodyOrNull(method, givenHeaders, givenBody);
  checkRequest(method, uri, headers, body);
  const { path, query } = checkUri(uri, "uri", true);
  const encodedBody = prepareBody(body);
  const framing = determineBodyFraming(encodedBody);
  checkInteger("shift", shift, 0, path.length);
  let requestBody: BodyIn;
  let headersWithType: HeadersToSend = withContentType(headers, body);
  if (body === null || body instanceof Body || body instanceof ChunkedBody) requestBody = body;
  else if (framing === 0) requestBody = null;
  else {
    requestBody = makeReadableBody(encodedBody, "request");
    const framingHeaders: HeadersToSend = framing === "chunked"
      ? { "transfer-encoding": framing }
      : { "content-length": framing as number };
    headersWithType = { ...framingHeaders, ...headersWithType };
  }
  const context = new RequestContext();
  const request = new Request(context, method, uri, headersWithType, requestBody, [], path, query);
  for (let i = 0; i < shift; i++) request.shiftPath();
  return request;
}
