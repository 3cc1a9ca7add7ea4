/**
 * Responses with a status and an empty body.
 *
 * @module
 */

import { EMPTY } from "../bytes.ts";
import type { HeaderDict } from "../wire/headers.ts";
import type { ResponseTuple } from "./message.ts";
import type { Method } from "../wire/preamble.ts";

/**
 * Makes a response with an empty body; in answer to HEAD, without one.
 *
 * With a body of `null` the response would have neither a content-length nor a coding. Other clients then
 * read until the connection closes (RFC 9112 §6.3), but it may stay open.
 */
export function makeEmptyResponse(
  method: Method,
  status: number,
  reason: string,
  headers: HeaderDict = {},
): ResponseTuple {
  return [status, reason, headers, method === "HEAD" ? null : EMPTY];
}
