import { notAllowedError, wrongArgumentError } from "../internal/checks.ts";
import type { ResponseTuple } from "../base/app/app_result.ts";
import { type BodyOut, prepareBody } from "../base/body/bodies.ts";
import type { MessageBody } from "../base/body/body.ts";
import { quote, typeNameOf } from "../internal/quote.ts";
import type { HeadersToSend } from "../base/wire/headers.ts";
import { checkStatus, isBodiless } from "../base/wire/preamble.ts";
import { findReasonPhrase, isRedirectStatus } from "../internal/statuses.ts";

const TEXT_CONTENT_TYPE = "text/plain;charset=utf-8";

/**
 * Makes a response with the standard reason phrase of its status.
 *
 * @param status 200 to 599, with a reason phrase in RFC 9110 §15, RFC 6585, or 507.
 * @param body The body. A string is sent as UTF-8, with the content-type `text/plain;charset=utf-8`
 * unless the headers have one. Without a body, it is `null`.
 * @param headers The headers by lower-case name, which are copied.
 * @throws {TypeError} if the status is not a number.
 * @throws {RangeError} if the status has no standard reason phrase, if there is a body with 204 or
 * 304, if a redirect has no `location`, or if a string has a lone surrogate.
 *
 * @example
 * ```ts
 * import { type App, Client, reply, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * const app: App = ({ path }) => path[0] === "hello" ? reply(200, "hello, world") : reply(404);
 * await using server = new Server(["127.0.0.1", 0], app);
 * server.serveForever();
 * const client = new Client(server.address);
 * const hello = await client.request("GET", "/hello");
 * assertEquals(await hello.body?.text(), "hello, world");
 * assertEquals((await client.request("GET", "/other")).reason, "Not Found");
 * ```
 */
export function reply<S extends number>(
  status: number extends S ? S : `${S}` extends `${2 | 3 | 4 | 5}${number}` ? S : never,
  body?: S extends 204 | 304 ? null : BodyOut,
  headers: HeadersToSend = {},
): ResponseTuple {
  checkStatus(status, 200, "");
  const reason = findReasonPhrase(status);
  if (reason === undefined) {
    throw notAllowedError(
      "status",
      `${status} has no standard reason phrase; return [${status}, reason, headers, body]`,
    );
  }
  if (isRedirectStatus(status) && headers["location"] === undefined) {
    throw notAllowedError(
      "headers",
      `must have location with status ${status}: reply(${status}, null, { location: "/new" })`,
    );
  }
  if (isBodiless("GET", status)) {
    if (body !== undefined && body !== null) {
      throw notAllowedError("body", `must be null with status ${status}; got ${typeNameOf(body)}`);
    }
    return [status, reason, { ...headers }, null];
  }
  if (typeof body === "string") {
    return [status, reason, { "content-type": TEXT_CONTENT_TYPE, ...headers }, prepareBody(body)];
  }
  return [status, reason, { ...headers }, body ?? null];
}

/**
 * Makes a response with a value as JSON.
 *
 * @param value The value for `JSON.stringify`. The type refuses a value whose content JSON
 * would lose, such as a `Map`, a `Response` or a body.
 * @param rest The status, by default 200, as for {@linkcode reply}, but not 204 or 304; and the
 * headers by lower-case name, which are copied. The content-type is `application/json` unless the
 * headers have one. The status can't be left out if the value is written as a number that is
 * usually the status of an error: `json(404, 200)`.
 * @throws {TypeError} if the value can't be JSON: `undefined`, a function, a promise, or a value
 * that contains itself.
 * @throws {RangeError} if {@linkcode reply} throws a `RangeError`.
 *
 * @example
 * ```ts
 * import { type App, Client, json, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * const app: App = () => json({ temperature: 21.5 });
 * await using server = new Server(["127.0.0.1", 0], app);
 * server.serveForever();
 * const { body } = await new Client(server.address).request("GET", "/");
 * assertEquals(await body?.json(), { temperature: 21.5 });
 * ```
 */
export function json<
  const T,
  Rest extends [status?: number, headers?: HeadersToSend] = [number?, HeadersToSend?],
>(
  value: [T] extends [undefined | void] ? unknown extends T ? T : never
    : T extends string | readonly unknown[] | { toJSON(): unknown } ? T
    : T extends PromiseLike<unknown> | bigint | symbol | ((...args: never[]) => unknown) ? never
    // JSON would write maps, sets, streams, the platform's responses, and buffers as {}.
    : T extends { [Symbol.iterator](): unknown } | { [Symbol.asyncIterator](): unknown } ? never
    : T extends { bytes(): unknown } | MessageBody | ArrayBufferLike ? never
    : T extends 400 | 401 | 403 | 404 | 405 | 409 | 410 | 412 | 413 | 415 | 422 | 429 | 500 | 503
      ? Rest extends [] ? `for the status, write reply(${T}); for the number, json(${T}, 200)` : T
    : T,
  ...rest: Rest
): ResponseTuple {
  const [status = 200, headers = {}] = rest;
  // `JSON.stringify` would convert a promise to {}.
  if (typeof (value as Partial<PromiseLike<unknown>> | null)?.then === "function") {
    throw wrongArgumentError("value", "must be a value; got a promise, which must be awaited");
  }
  if (typeof value === "object" && value !== null) checkMembers(value);
  // `JSON.stringify` may return `undefined`, which its type doesn't say.
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined) {
    throw wrongArgumentError("value", `must have a form in JSON; got ${typeNameOf(value)}`);
  }
  return reply(status, text, { "content-type": "application/json", ...headers });
}

/** Refuses members that `JSON.stringify` would convert to `{}`. Deeper members are not checked. */
function checkMembers(value: object): void {
  if (typeof (value as { readonly toJSON?: unknown }).toJSON === "function") return;
  for (const [key, member] of Object.entries(value)) {
    if (typeof member !== "object" || member === null) continue;
    const isPromise = typeof (member as Partial<PromiseLike<unknown>>).then === "function";
    if (!isPromise && !(member instanceof Map) && !(member instanceof Set)) continue;
    throw wrongArgumentError(
      `value[${quote(key)}]`,
      isPromise
        ? "must be a value; got a promise, which must be awaited"
        : `must have a form in JSON; got a ${typeNameOf(member)}: convert it to an array or object`,
    );
  }
}
