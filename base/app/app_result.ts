import type { BodyIn } from "../body/body.ts";
import {
  type BodyOut,
  cancelUnusedBody,
  isShortText,
  prepareBody,
  type ResponseBody,
  withContentType,
} from "../body/sent_body.ts";
import { BodyError, DeguError } from "../errors.ts";
import type { HeadersToSend } from "../wire/headers.ts";
import { checkStatus } from "../wire/preamble.ts";
import { wrongArgumentError, wrongTypeError } from "../../internal/checks.ts";
import { propertyOf } from "../../internal/caught_errors.ts";
import { unknownTrustErrors } from "../../internal/error_details.ts";
import { quote } from "../../internal/quote.ts";
import { findReasonPhrase } from "../../internal/statuses.ts";
import { findContentStatus, type Request, Response } from "./message.ts";

/** A response that an app may return, as an array. */
export type ResponseTuple = readonly [
  status: number,
  reason: string,
  headers: HeadersToSend,
  body: BodyOut,
];

/** A response that an app may return, as an object, such as the `Response` of a client. */
export interface ResponseObject {
  /** The status, 200 to 599. */
  readonly status: number;
  /** The reason phrase. */
  readonly reason: string;
  /** The headers by lower-case name. */
  readonly headers: HeadersToSend;
  /** The body, or `null`. */
  readonly body: BodyOut;
}

/**
 * An error with a response. If an app, or a function that the app calls, throws this error, the app
 * responds with that response. Wrappers of the app get it like any other response.
 *
 * @example
 * ```ts
 * import { type App, reply, type Request, ResponseError } from "@degu/degu";
 * import { callApp, mkreq } from "@degu/degu/misc";
 * import { assertEquals } from "@std/assert";
 *
 * function userOf(request: Request): string {
 *   if (request.headers["authorization"] === "Bearer secret") return "anna";
 *   throw new ResponseError(reply(401, null, { "www-authenticate": "Bearer" }));
 * }
 * const app: App = (request) => reply(200, `hello, ${userOf(request)}`);
 * assertEquals((await callApp(app, mkreq("GET", "/"))).status, 401);
 * ```
 */
export class ResponseError extends DeguError {
  /** The name of the class. */
  override readonly name: string = "ResponseError";
  /** The response of the app. */
  readonly response: ResponseTuple | ResponseObject;

  /**
   * Makes an error with a response.
   *
   * @param response The response, in any form that an app may return.
   * @throws {TypeError} if the value is not a response.
   */
  constructor(response: ResponseTuple | ResponseObject) {
    const { status, reason } = splitAppResult(response);
    super(`the app answers ${status} ${quote(`${reason}`)}`);
    this.response = response;
  }
}

export interface OutgoingResponse {
  readonly status: number;
  readonly reason: string;
  readonly headers: HeadersToSend;
  readonly body: ResponseBody;
}

export function responseOf(appResult: unknown): Response<BodyOut> {
  if (appResult instanceof Response) return appResult;
  const { status, reason, headers, body } = splitAppResult(appResult);
  return new Response(status, reason, withContentType(headers, body, "response."), body);
}

export function parseAppResult(appResult: unknown): OutgoingResponse {
  // Without another object and an iterator, which would cost an allocation for each response.
  if (Array.isArray(appResult) && appResult.length === 4) {
    return prepareResponse(appResult[0], appResult[1], appResult[2], appResult[3]);
  }
  const { status, reason, headers, body } = splitAppResult(appResult);
  return prepareResponse(status, reason, headers, body);
}

function prepareResponse(
  status: number,
  reason: string,
  headers: HeadersToSend,
  body: BodyOut,
): OutgoingResponse {
  checkStatus(status, 200, "response.");
  return {
    status,
    reason,
    headers: withContentType(headers, body, "response."),
    body: isShortText(body) ? body : prepareBody(body, "response."),
  };
}

export function statusOf(appResult: ResponseTuple | ResponseObject): number {
  return splitAppResult(appResult).status;
}

function splitAppResult(appResult: unknown): ResponseObject {
  if (Array.isArray(appResult)) {
    if (appResult.length === 4) {
      const [status, reason, headers, body] = appResult;
      return { status, reason, headers, body };
    }
    throw wrongArgumentError(
      "response",
      `must be [status, reason, headers, body]; got ${appResult.length} items`,
    );
  }
  const isResponse = typeof appResult === "object" && appResult !== null &&
    "status" in appResult && "reason" in appResult && "headers" in appResult && "body" in appResult;
  if (!isResponse) {
    const expected = "[status, reason, headers, body] or { status, reason, headers, body }";
    throw wrongTypeError(
      "response",
      `${expected} (fromFetchHandler() makes an app of a handler)`,
      appResult,
    );
  }
  return appResult as ResponseObject;
}

/** Returns `null` for an error of a trust check, which the server logs and answers with 503. */
export function findThrownResponse(error: unknown): ResponseTuple | ResponseObject | null {
  const isResponse = error instanceof ResponseError && !unknownTrustErrors.get(error);
  return isResponse ? error.response : null;
}

export function findStatusOfThrownResponse(thrown: unknown): number | null {
  if (thrown instanceof Error) return null;
  const isTuple = Array.isArray(thrown) && thrown.length === 4;
  const status = propertyOf(thrown, isTuple ? 0 : "status");
  const isResponse = isTuple || propertyOf(thrown, "headers") !== undefined;
  return isResponse && typeof status === "number" ? status : null;
}

/** @param body The body of the request as it arrived; the app may have changed its `Request`. */
export function findAppErrorResponse(
  request: Request,
  body: BodyIn,
  error: unknown,
): ResponseTuple | ResponseObject | null {
  const response = findThrownResponse(error);
  if (response !== null) return response;
  const status = findContentStatus(request, body, error);
  return status === null ? null : [status, findReasonPhrase(status)!, {}, null];
}

/**
 * Doesn't cancel the body of the request, because that body belongs to the server. Never throws.
 */
export function cancelAppResult(appResult: unknown, requestBody: BodyIn, reason: unknown): void {
  try {
    // The value may be invalid, so every item of an array may be a body.
    const bodies: readonly unknown[] = Array.isArray(appResult)
      ? appResult
      : [(appResult as Partial<OutgoingResponse> | null)?.body];
    for (const body of bodies) if (body !== requestBody) cancelUnusedBody(body, reason);
  } catch {
    // The value has a getter that throws.
  }
}

export function unsentHeadBodyError(): BodyError {
  return new BodyError("a response to HEAD has no body; its headers were sent");
}

export function unreadBodyError(status: number): BodyError {
  return new BodyError(`the response, with status ${status}, was sent before this body was read`);
}
