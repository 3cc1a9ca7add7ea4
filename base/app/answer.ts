/**
 * What an app may answer: the rules for what it returns, for everything that runs apps.
 *
 * @module
 */

import { type BodyIn, type BodyOut, cancelUnused, outgoingFraming } from "../body/bodies.ts";
import { wrongType } from "../checks.ts";
import { BodyError, typeName } from "../errors.ts";
import type { Framing, HeaderDict } from "../wire/headers.ts";
import {
  checkStatus,
  type Method,
  RESPONSE_LABELS,
  type ResponseLabels,
} from "../wire/preamble.ts";

/** What an app has returned, in parts. */
export interface Answer {
  readonly status: number;
  readonly reason: string;
  readonly headers: HeaderDict;
  readonly body: BodyOut;
}

const FIELDS = ["status", "reason", "headers", "body"] as const;

/**
 * Takes apart what an app has returned.
 *
 * @throws {TypeError} if it is neither a tuple of four nor has the fields of a response.
 */
export function readAnswer(returned: unknown): Answer {
  if (Array.isArray(returned)) {
    if (returned.length === FIELDS.length) {
      return { status: returned[0], reason: returned[1], headers: returned[2], body: returned[3] };
    }
    throw new TypeError(
      `response: must be [status, reason, headers, body]; got ${returned.length} items`,
    );
  }
  const isResponse = typeof returned === "object" && returned !== null &&
    "status" in returned && "reason" in returned && "headers" in returned && "body" in returned;
  if (!isResponse) {
    throw wrongType("response", "[status, reason, headers, body] or a Response", returned);
  }
  const { status, reason, headers, body } = returned as Answer;
  return { status, reason, headers, body };
}

/** What errors call the parts of what an app has returned: `response[0]` or `response.status`. */
export function labelsOf(returned: unknown): ResponseLabels {
  const label = (field: typeof FIELDS[number], index: number) =>
    Array.isArray(returned) ? `response[${index}]` : `response.${field}`;
  const [status = "", reason = "", headers = "", body = ""] = FIELDS.map(label);
  return { status, reason, headers, body };
}

/** What of a request its response depends on. */
export interface AnsweredRequest {
  readonly method: Method;
  readonly body: BodyIn;
}

/**
 * Checks everything about an answer but what its preamble is made of.
 *
 * @param unread Whether the body of the request has not been read to its end.
 * @returns How the end of the body will be known, as {@linkcode responseFraming} does.
 * @throws {TypeError} if the status or the body has a wrong type.
 * @throws {RangeError} if the status is not allowed, or the response must not have a body.
 * @throws {BodyError} if the body of the request is unread, or is that of the response as well, or the
 * body was used before.
 */
export function answerFraming(
  request: AnsweredRequest,
  unread: boolean,
  { status, body }: Answer,
  labels: ResponseLabels = RESPONSE_LABELS,
): Framing | undefined {
  checkStatus(status, 200, labels.status);
  if (body !== null && (body as unknown) === request.body) {
    throw new BodyError(`${labels.body}: must not be the body of the request`);
  }
  if (unread && status < 400) {
    throw new BodyError(
      `request.body: must be read to its end before a response with status ${status}; it may stay ` +
        "unread if the status is 400 or above",
    );
  }
  return responseFraming(request.method, status, body, labels.body);
}

/**
 * How the end of a response's body will be known; `undefined` if the headers are sent as given, because
 * they may describe a body that is not sent: in a response to HEAD, and with 304 (RFC 9110 §15.4.5).
 *
 * @throws {TypeError} if it is not a body.
 * @throws {RangeError} if the response must not have a body.
 * @throws {BodyError} if the body was used before.
 */
export function responseFraming(
  method: Method,
  status: number,
  body: BodyOut,
  label = "body",
): Framing | undefined {
  const isBodiless = method === "HEAD" || status === 204 || status === 304;
  if (isBodiless && body !== null) {
    const where = method === "HEAD" ? "in a response to HEAD" : `with status ${status}`;
    throw new RangeError(`${label}: must be null ${where}; got ${typeName(body)}`);
  }
  return isBodiless && status !== 204 ? undefined : outgoingFraming(body, label);
}

/**
 * Cancels whatever an app has returned that looks like a body and has not been used, because it will
 * not be sent; not the body of the request, which is not the app's to lose. Never throws.
 */
export function cancelAnswer(returned: unknown, requestBody: BodyIn, reason: unknown): void {
  for (const body of bodiesIn(returned)) if (body !== requestBody) cancelUnused(body, reason);
}

/** What may be a body in something that need not be an answer. */
function bodiesIn(returned: unknown): readonly unknown[] {
  if (Array.isArray(returned)) return returned;
  try {
    return [(returned as Partial<Answer> | null | undefined)?.body];
  } catch {
    return [];
  }
}

/** The error for reading the body of a request that was already answered with an error. */
export function unreadError(status: number): BodyError {
  return new BodyError(`the response, with status ${status}, was sent before this body was read`);
}
