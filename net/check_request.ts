/** The checks of a request that need no connection. */

import { notAllowed } from "../internal/checks.ts";
import { type BodyOut, encodeBody, requestFraming } from "../base/body/bodies.ts";
import { withContentType } from "../base/body/platform_body.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import { MAX_PREAMBLE_BYTES } from "../base/wire/limits.ts";
import {
  checkMethod,
  formatRequestPreamble,
  mayHaveBody,
  type Method,
} from "../base/wire/preamble.ts";
import { checkUri } from "../base/wire/uri.ts";

/** The target of preambles that are formatted only to be checked. */
const unsent = new Uint8Array(MAX_PREAMBLE_BYTES);

/**
 * Checks a request before a connection for it is opened or awaited. The connection checks the
 * request once more, with its own headers.
 *
 * @throws {TypeError} if an argument has a wrong type.
 * @throws {RangeError} if a value is not allowed.
 * @throws {BodyError} if the body has been used before.
 */
export function checkRequest(
  method: Method,
  uri: string,
  headers: HeaderDict,
  body: BodyOut,
): void {
  checkRequestLine(method, uri, body);
  const sent = withContentType(headers, body);
  const framing = requestFraming(method, encodeBody(body), sent, false);
  formatRequestPreamble(unsent, method, uri, sent, null, framing);
}

/** Checks the method and the URI, and that only PUT and POST have a body. */
export function checkRequestLine(method: Method, uri: string, body: BodyOut): void {
  checkMethod(method);
  checkUri(uri);
  if (body !== null && !mayHaveBody(method)) {
    const advice = body === undefined
      ? `as ${method.toLowerCase()}() passes it`
      : "since only PUT and POST have a body; buildUri(path, parameters) puts parameters in the URI";
    throw notAllowed("body", `must be null if the method is ${method}, ${advice}`);
  }
}
