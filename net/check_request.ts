/** The check of a request that needs no connection. */

import { type BodyOut, encodeBody, requestFraming, withContentType } from "../base/body/bodies.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import { MAX_PREAMBLE_BYTES } from "../base/wire/limits.ts";
import { checkRequestLine, formatRequestPreamble, type Method } from "../base/wire/preamble.ts";

/** The target of preambles that are formatted only as a check. */
const scratch = new Uint8Array(MAX_PREAMBLE_BYTES);

/**
 * Checks a request before a connection for it is opened or awaited. The connection checks the
 * request again, with its own headers.
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
  const sentHeaders = withContentType(headers, body);
  const framing = requestFraming(method, encodeBody(body), sentHeaders, false);
  formatRequestPreamble(scratch, method, uri, sentHeaders, null, framing);
}
