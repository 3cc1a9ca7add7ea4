/**
 * Requests as an app gets them, responses as a client gets them, and the rules for an app's answer.
 */

import { type BodyIn, type BodyOut, cancelUnused, outgoingFraming } from "../body/bodies.ts";
import { EMPTY } from "../bytes.ts";
import { wrongType } from "../checks.ts";
import { BodyError, typeName } from "../errors.ts";
import { INSPECT, inspectFields } from "../printable.ts";
import type { Framing, HeaderDict } from "../wire/headers.ts";
import { checkStatus, isBodiless, type Method } from "../wire/preamble.ts";
import { buildUri } from "../wire/uri.ts";

/** An answer that an app may return instead of a `Response`. */
export type ResponseTuple = readonly [
  status: number,
  reason: string,
  headers: HeaderDict,
  body: BodyOut,
];

/**
 * A response as a client gets it; an app may return it as it is. Nothing is checked here.
 *
 * @example
 * ```ts
 * import { Response } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * const response = new Response(200, "OK", { hello: "world" }, null);
 * const [status, reason, headers, body] = response;
 * assertEquals([status, reason, headers, body], [200, "OK", { hello: "world" }, null]);
 * assertEquals(
 *   Deno.inspect(response),
 *   'Response(status=200, reason="OK", headers={ hello: "world" }, body=null)',
 * );
 * ```
 */
export class Response {
  /** The status, 100 to 599. */
  readonly status: number;
  /** The reason phrase. */
  readonly reason: string;
  /** The headers by lower-case name. */
  readonly headers: HeaderDict;
  /** The body, or `null`. A body must be consumed before the connection's next request. */
  readonly body: BodyIn;

  /**
   * Makes a response from its four parts.
   *
   * @param status The status, 100 to 599.
   * @param reason The reason phrase.
   * @param headers The headers by lower-case name.
   * @param body The body, or `null` for none.
   */
  constructor(status: number, reason: string, headers: HeaderDict, body: BodyIn) {
    this.status = status;
    this.reason = reason;
    this.headers = headers;
    this.body = body;
  }

  /** The four parts in order, so a response can be destructured like a tuple. */
  *[Symbol.iterator](): Generator<number | string | HeaderDict | BodyIn, void, void> {
    yield this.status;
    yield this.reason;
    yield this.headers;
    yield this.body;
  }

  /** The text for `console.log` and `Deno.inspect`. */
  [INSPECT](inspect: (value: unknown, options?: unknown) => string, options: unknown): string {
    const { status, reason, headers, body } = this;
    return inspectFields("Response", { status, reason, headers, body }, inspect, options);
  }
}

/**
 * A request as an app gets it.
 *
 * @example
 * ```ts
 * import { mkreq } from "@degu/degu/misc";
 * import { assertEquals } from "@std/assert";
 *
 * const request = mkreq("GET", "/foo/bar?key=value");
 * assertEquals(request.shiftPath(), "foo");
 * assertEquals(request.mount, ["foo"]);
 * assertEquals(request.path, ["bar"]);
 * assertEquals(request.buildProxyUri(), "/bar?key=value");
 * ```
 */
export class Request {
  /** The method. */
  readonly method: Method;
  /** The request target as it was sent. */
  readonly uri: string;
  /** The headers by lower-case name. */
  readonly headers: HeaderDict;
  /**
   * The body, or `null`. If the body is not read to its end, the session ends after the response.
   */
  readonly body: BodyIn;
  /** The components of the path that were shifted away; at first none. */
  readonly mount: string[];
  /** The components of the path that are left: `/foo/` is `["foo", ""]`, `/` is `[]`. */
  readonly path: string[];
  /** The text after the `?`, neither parsed nor decoded; `null` if there is no `?`. */
  readonly query: string | null;

  /**
   * Makes a request from its parts; nothing is checked here.
   *
   * @param method `GET`, `HEAD`, `DELETE`, `PUT` or `POST`.
   * @param uri The request target as it was sent.
   * @param headers The headers by lower-case name.
   * @param body The body, or `null` for none.
   * @param mount The components of the path that were shifted away.
   * @param path The components that are left.
   * @param query The text after the `?`, or `null`.
   */
  constructor(
    method: Method,
    uri: string,
    headers: HeaderDict,
    body: BodyIn,
    mount: string[],
    path: string[],
    query: string | null,
  ) {
    this.method = method;
    this.uri = uri;
    this.headers = headers;
    this.body = body;
    this.mount = mount;
    this.path = path;
    this.query = query;
  }

  /** Moves the first component of the path to `mount` and returns it; `null` if none is left. */
  shiftPath(): string | null {
    const component = this.path.shift();
    if (component === undefined) return null;
    this.mount.push(component);
    return component;
  }

  /** The request target for the server behind this app: path and query, without `mount`. */
  buildProxyUri(): string {
    return buildUri(this.path, this.query);
  }

  /** The text for `console.log` and `Deno.inspect`. */
  [INSPECT](inspect: (value: unknown, options?: unknown) => string, options: unknown): string {
    const { method, uri, headers, body, mount, path, query } = this;
    const fields = { method, uri, headers, body, mount, path, query };
    return inspectFields("Request", fields, inspect, options);
  }
}

/**
 * Makes a response with an empty body; in answer to HEAD, without a body.
 *
 * With a body of `null` the response would have neither a content-length nor a coding. Other
 * clients then read until the connection closes (RFC 9112 §6.3), but the connection may stay open.
 */
export function makeEmptyResponse(
  method: Method,
  status: number,
  reason: string,
  headers: HeaderDict = {},
): ResponseTuple {
  return [status, reason, headers, method === "HEAD" ? null : EMPTY];
}

/** The parts of an app's answer. */
export interface Answer {
  readonly status: number;
  readonly reason: string;
  readonly headers: HeaderDict;
  readonly body: BodyOut;
}

/**
 * Splits the value that an app returned into its parts: a tuple of four items, or an object with
 * the fields of a response.
 */
export function readAnswer(returned: unknown): Answer {
  if (Array.isArray(returned)) {
    if (returned.length === 4) {
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

/**
 * Checks everything about an answer except its reason and headers; returns the framing that
 * {@linkcode announcedFraming} determines.
 *
 * @param method The method of the request, which the app may have changed in its `Request`.
 * @param requestBody The body of the request, which the app may have changed, too.
 * @param owner The text that errors put before the names of the parts: `"response."`.
 */
export function answerFraming(
  method: Method,
  requestBody: BodyIn,
  { status, body }: Answer,
  owner = "",
): Framing | undefined {
  checkStatus(status, 200, owner);
  if (body !== null && (body as unknown) === requestBody) {
    throw new BodyError(`${owner}body: must not be the body of the request`);
  }
  return announcedFraming(method, status, body, owner);
}

/**
 * The framing that the headers of a response announce: usually that of its body. A response to HEAD
 * announces the body that GET would get, though the body is not sent (RFC 9110 §9.3.2). `undefined`
 * if there is no body, but the headers may announce one, and are sent as given: in a response to
 * HEAD, and with 304 (RFC 9110 §15.4.5).
 */
export function announcedFraming(
  method: Method,
  status: number,
  body: BodyOut,
  owner = "",
): Framing | undefined {
  if (body !== null && (status === 204 || status === 304)) {
    throw new RangeError(`${owner}body: must be null with status ${status}; got ${typeName(body)}`);
  }
  const isAsGiven = body === null && status !== 204 && isBodiless(method, status);
  return isAsGiven ? undefined : outgoingFraming(body, owner);
}

/**
 * Cancels each unused body in the value that an app returned, because no body of it will be sent;
 * but not the body of the request, which belongs to the server. Never throws.
 */
export function cancelAnswer(returned: unknown, requestBody: BodyIn, reason: unknown): void {
  try {
    // The value might not be an answer: all items of an array may be bodies.
    const bodies: readonly unknown[] = Array.isArray(returned)
      ? returned
      : [(returned as Partial<Answer> | null)?.body];
    for (const body of bodies) if (body !== requestBody) cancelUnused(body, reason);
  } catch {
    // The value has a getter that throws.
  }
}

/** The reason with which the body of an answer to HEAD is canceled. */
export function bodyToHeadError(): BodyError {
  return new BodyError("a response to HEAD has no body; its headers were sent");
}

/** The error for reading the body of a request that was already answered. */
export function unreadError(status: number): BodyError {
  return new BodyError(`the response, with status ${status}, was sent before this body was read`);
}
