import { notAllowedError, wrongArgumentError } from "../internal/checks.ts";
import type { ResponseTuple } from "../base/app/app_result.ts";
import { type BodyOut, checkText } from "../base/body/sent_body.ts";
import { typeNameOf } from "../internal/quote.ts";
import type { HeadersToSend } from "../base/wire/headers.ts";
import { checkStatus, isBodiless } from "../base/wire/preamble.ts";
import { findReasonPhrase, isRedirectStatus } from "../internal/statuses.ts";

const TEXT_CONTENT_TYPE = "text/plain;charset=utf-8";

/**
 * Makes a response with the standard reason phrase of its status.
 *
 * @param status 200 to 599, with a reason phrase in RFC 9110 §15, RFC 6585, or 507.
 * @param rest The body, and the headers by lower-case name, which are copied. A string is sent as
 * UTF-8, with the content-type `text/plain;charset=utf-8` unless the headers have one. Without a
 * body, leave it out, or pass `null`.
 * @throws {TypeError} if the status is not a number, or the body is given and `undefined`.
 * @throws {RangeError} if the status has no standard reason phrase, if there is a body with 204 or
 * 304, if a redirect has no `location`, or if a string has a lone surrogate.
 *
 * @example
 * ```ts
 * import { type App, Client, reply, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * const app: App = ({ path }) => path[0] === "hello" ? reply(200, "hello, world") : reply(404);
 * await using server = await Server.start(["127.0.0.1", 0], app);
 * const client = new Client(server.address);
 * const hello = await client.request("GET", "/hello");
 * assertEquals(await hello.body?.text(), "hello, world");
 * assertEquals((await client.request("GET", "/other")).reason, "Not Found");
 * ```
 */
export function reply<S extends number>(
  status: number extends S ? S : `${S}` extends `${2 | 3 | 4 | 5}${number}` ? S : never,
  ...rest:
    | []
    | [body: S extends 204 | 304 ? null : BodyOut, headers?: HeadersToSend | undefined]
): ResponseTuple {
  // Without an iterator, which would cost an allocation for each response.
  const body = rest[0] ?? null;
  const headers = rest[1];
  checkStatus(status, 200, "");
  if (rest.length > 0 && rest[0] === undefined) {
    throw wrongArgumentError(
      "body",
      "must be null or left out if there is none; got undefined, such as the result of a failed " +
        "look-up",
    );
  }
  const reason = findReasonPhrase(status);
  if (reason === undefined) {
    throw notAllowedError(
      "status",
      `${status} has no standard reason phrase; return [${status}, reason, headers, body]`,
    );
  }
  if (isRedirectStatus(status) && headers?.["location"] === undefined) {
    throw notAllowedError(
      "headers",
      `must have location with status ${status}: reply(${status}, null, { location: "/new" })`,
    );
  }
  if (isBodiless("GET", status)) {
    if (body !== null) {
      throw notAllowedError("body", `must be null with status ${status}; got ${typeNameOf(body)}`);
    }
    return [status, reason, { ...headers }, null];
  }
  if (typeof body === "string") {
    checkText("body", body);
    return [status, reason, { "content-type": TEXT_CONTENT_TYPE, ...headers }, body];
  }
  return [status, reason, { ...headers }, body];
}

/**
 * Makes a response with a value as JSON.
 *
 * @param value The value for `JSON.stringify`, which writes a promise, a `Map`, a `Set` and most
 * errors as `{}`, and leaves out members that are `undefined` or functions.
 * @param status The status, by default 200, as for {@linkcode reply}, but not 204 or 304.
 * @param headers The headers by lower-case name, which are copied. The content-type is
 * `application/json` unless the headers have one.
 * @throws {TypeError} if JSON has no form for the value: `undefined`, a function, a symbol, a value
 * that contains itself, or a value that is or contains a bigint.
 * @throws {RangeError} if {@linkcode reply} throws a `RangeError`.
 *
 * @example
 * ```ts
 * import { type App, Client, json, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * const app: App = () => json({ temperature: 21.5 });
 * await using server = await Server.start(["127.0.0.1", 0], app);
 * const { body } = await new Client(server.address).request("GET", "/");
 * assertEquals(await body?.json(), { temperature: 21.5 });
 * ```
 */
export function json(value: unknown, status = 200, headers: HeadersToSend = {}): ResponseTuple {
  // `JSON.stringify` may return `undefined`, which its type doesn't say.
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined) {
    throw wrongArgumentError("value", `must have a form in JSON; got ${typeNameOf(value)}`);
  }
  return reply(status, text, { "content-type": "application/json", ...headers });
}
