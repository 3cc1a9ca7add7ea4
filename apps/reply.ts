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
 * @param rest The body, and the headers by lower-case name, which are copied. A string is sent as
 * UTF-8, with the content-type `text/plain;charset=utf-8` unless the headers have one. Without a
 * body, leave it out, or pass `null`.
 * @throws {TypeError} if the status is not a number, or if the body is given and `undefined`, such
 * as the result of a look-up that has failed.
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
  ...rest:
    | []
    | [body: S extends 204 | 304 ? null : BodyOut, headers?: HeadersToSend | undefined]
): ResponseTuple {
  const [body = null, headers = {}] = rest;
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
  if (isRedirectStatus(status) && headers["location"] === undefined) {
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
    return [status, reason, { "content-type": TEXT_CONTENT_TYPE, ...headers }, prepareBody(body)];
  }
  return [status, reason, { ...headers }, body];
}

/** Values that JSON would write as `{}`, or as an object with numbers as names. */
type LostValue =
  | { [Symbol.iterator](): unknown }
  | { [Symbol.asyncIterator](): unknown }
  | { bytes(): unknown }
  | MessageBody
  | ArrayBufferLike
  | ArrayBufferView
  | RegExp
  | WeakRef<WeakKey>
  | WeakSet<WeakKey>
  | WeakMap<WeakKey, unknown>;

/** The type itself if JSON keeps its content down to six levels; otherwise advice at the member. */
type JsonValue<T, Levels extends readonly unknown[] = []> = unknown extends T ? T
  : T extends
    | string
    | number
    | boolean
    | null
    | undefined
    | { toJSON(): unknown }
    | ((...args: never[]) => unknown) ? T
  : T extends PromiseLike<unknown> ? "await the promise, which JSON would write as {}"
  : T extends bigint ? "convert the bigint to a number or a text"
  : T extends readonly unknown[] ? JsonMembers<T, Levels>
  : T extends LostValue ? "convert it to an array or a plain object: JSON would lose its content"
  // Other types with a name and a message have no stack.
  : T extends Error
    ? "stack" extends keyof T ? "choose members of the error: JSON would lose its message" : T
  : JsonMembers<T, Levels>;

type JsonMembers<T, Levels extends readonly unknown[]> = Levels["length"] extends 6 ? T
  : { [K in keyof T]: JsonValue<T[K], [...Levels, unknown]> };

type IsUnion<T, All = T> = T extends unknown ? [All] extends [T] ? false : true : never;

/**
 * The type itself if `json` accepts it.
 *
 * @internal
 */
export type JsonArgument<T, Rest> = [T] extends [undefined | void] ? unknown extends T ? T : never
  : [T] extends [symbol | ((...args: never[]) => unknown)] ? never
  : [T] extends [400 | 401 | 403 | 404 | 405 | 409 | 410 | 412 | 413 | 415 | 422 | 429 | 500 | 503]
    ? [Rest, IsUnion<T>] extends [[], false]
      ? `for the status, write reply(${T}); for the number, json(${T}, 200)`
    : T
  : JsonValue<T>;

/**
 * Not true for a type parameter of the calling function, which isn't assignable to `JsonArgument`.
 * The compiler evaluates a tuple of a type parameter as that of `any`.
 *
 * @internal
 */
export type IsRefused<T, Rest> = [unknown] extends [T] ? false
  : [T] extends [JsonArgument<T, Rest>] ? false
  : true;

/**
 * Makes a response with a value as JSON.
 *
 * @param value The value for `JSON.stringify`. The type refuses a value that JSON can't write, or
 * whose content JSON would lose, such as a promise, a `Map`, an `Error` or a `Uint8Array`, down to
 * six levels.
 * @param rest The status, by default 200, as for {@linkcode reply}, but not 204 or 304; and the
 * headers by lower-case name, which are copied. The content-type is `application/json` unless the
 * headers have one. The status can't be left out if the value is written as a number that is
 * usually the status of an error: `json(404, 200)`.
 * @throws {TypeError} if the value can't be JSON: `undefined`, a function, a value that contains
 * itself, or a value that is or contains a bigint, or an object whose content would be lost. The
 * message names the member.
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
  value: [IsRefused<T, Rest>] extends [true] ? JsonArgument<T, Rest> : T,
  ...rest: Rest
): ResponseTuple {
  const [status = 200, headers = {}] = rest;
  // An object with other members would lose only its `then`.
  if (isThenable(value)) throw lostPromiseError("value");
  let text: string | undefined;
  try {
    // `JSON.stringify` may return `undefined`, which its type doesn't say.
    text = JSON.stringify(value) as string | undefined;
  } catch (error) {
    checkJsonMembers(value);
    throw error;
  }
  if (text === undefined) {
    throw wrongArgumentError("value", `must have a form in JSON; got ${typeNameOf(value)}`);
  }
  if (TRACES_OF_LOST_VALUES.some((trace) => text.includes(trace))) checkJsonMembers(value);
  return reply(status, text, { "content-type": "application/json", ...headers });
}

/**
 * Text that JSON contains if a value has lost its content: that of an empty object, of bytes, and
 * of an error with members of its own.
 */
const TRACES_OF_LOST_VALUES = ["{}", '"0":', 'Error"', '"code":', '"status":'] as const;

/** The objects that JSON writes as a text, a number or a boolean. */
const BOXES = [String, Number, Boolean] as const;

/** @throws {TypeError} if JSON can't write a member, or would lose its content. */
function checkJsonMembers(value: unknown): void {
  const labels = new Map<unknown, string>();
  // The replacer gets each member after its `toJSON`.
  JSON.stringify(value, function (this: unknown, key, member: unknown) {
    const ownerLabel = labels.get(this);
    const label = ownerLabel === undefined ? "value" : `${ownerLabel}[${quote(key)}]`;
    if (typeof member === "bigint") {
      throw wrongArgumentError(
        label,
        "must have a form in JSON; got a bigint: convert it to a number or a text",
      );
    }
    if (typeof member !== "object" || member === null) return member;
    if (isThenable(member)) throw lostPromiseError(label);
    if (losesContent(member)) {
      const typeName = typeNameOf(member);
      const noun = `${/^[AEIO]/i.test(typeName) ? "an" : "a"} ${typeName}`;
      const advice = member instanceof Error
        ? "choose the members to send, such as its message"
        : "convert it to an array or object";
      throw wrongArgumentError(label, `must have a form in JSON; got ${noun}: ${advice}`);
    }
    labels.set(member, label);
    return member;
  });
}

function isThenable(value: unknown): boolean {
  return typeof (value as Partial<PromiseLike<unknown>> | null | undefined)?.then === "function";
}

function lostPromiseError(label: string): TypeError {
  return wrongArgumentError(label, "must be a value; got a promise, which must be awaited");
}

function losesContent(object: object): boolean {
  if (Array.isArray(object) || BOXES.some((Box) => object instanceof Box)) return false;
  if (object instanceof Error || ArrayBuffer.isView(object)) return true;
  if (Symbol.iterator in object || Symbol.asyncIterator in object) return true;
  if (Object.keys(object).length > 0) return false;
  // The object has content that only its methods and getters show: it is no empty record.
  for (
    let prototype: object | null = Object.getPrototypeOf(object);
    prototype !== null && prototype !== Object.prototype;
    prototype = Object.getPrototypeOf(prototype)
  ) {
    if (Reflect.ownKeys(prototype).some((name) => name !== "constructor")) return true;
  }
  return false;
}
