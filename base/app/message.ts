/**
 * Requests as an app gets them, and responses as a client does.
 *
 * @module
 */

import type { BodyIn, BodyOut } from "../body/bodies.ts";
import type { HeaderDict } from "../wire/headers.ts";
import { INSPECT, inspectFields } from "../inspect.ts";
import type { Method } from "../wire/preamble.ts";
import { buildUri } from "../wire/uri.ts";

/** What an app may return instead of a `Response`. */
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
  /** By lower-case name. */
  readonly headers: HeaderDict;
  /** The body, or `null`. It must be consumed before the connection's next request. */
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

  /** What `console.log` and `Deno.inspect` show. */
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
  /** By lower-case name. */
  readonly headers: HeaderDict;
  /** The body, or `null`. It must be consumed before responding, unless the response is an error. */
  readonly body: BodyIn;
  /** The components of the path that were shifted away; at first none. */
  readonly mount: string[];
  /** The components of the path that are left: `/foo/` is `["foo", ""]`, `/` is `[]`. */
  readonly path: string[];
  /** What follows the `?`, neither parsed nor decoded; `null` if there is none. */
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
   * @param query What follows the `?`, or `null`.
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

  /** The request target for what is behind this app: path and query, without `mount`. */
  buildProxyUri(): string {
    return buildUri(this.path, this.query);
  }

  /** What `console.log` and `Deno.inspect` show. */
  [INSPECT](inspect: (value: unknown, options?: unknown) => string, options: unknown): string {
    const { method, uri, headers, body, mount, path, query } = this;
    const fields = { method, uri, headers, body, mount, path, query };
    return inspectFields("Request", fields, inspect, options);
  }
}
