import type { Response } from "../../base/app/message.ts";
import type { BodyOut } from "../../base/body/sent_body.ts";
import { notAllowedError, wrongArgumentError, wrongTypeError } from "../../internal/checks.ts";
import { checkHeaders, type HeadersToSend } from "../../base/wire/headers.ts";
import { mayHaveBody, type Method, type MethodWithBody } from "../../base/wire/method.ts";
import { Range } from "../../base/wire/range.ts";
import type { RequestOptions } from "./request_signal.ts";

/**
 * An object that makes requests: a `Client`, a `Connection`, a `ConnectionPool`, or a wrapper of
 * one of these. This package always passes headers and a body to `request`.
 *
 * @example A wrapper that signs requests
 * ```ts
 * import { Client, createFetch, type Requester, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * await using server = await Server.start(["127.0.0.1", 0], (request) => {
 *   return [200, "OK", {}, `${request.headers["x-signature"]}`];
 * });
 * const client = new Client(server.address);
 * const signing: Requester = {
 *   request: (method, uri, headers, ...rest) =>
 *     client.request(method, uri, { ...headers, "x-signature": method + uri }, ...rest),
 * };
 * const fetch = createFetch(signing);
 * assertEquals(await (await fetch("/a")).text(), "GET/a");
 * ```
 */
export interface Requester {
  /**
   * Makes a request and resolves to the response, whose body, if any, is still to be read.
   *
   * @param method The method, such as `GET`: see {@linkcode Method}.
   * @param uri The path, which starts with `/`, and the query.
   * @param headers The headers by lower-case name; not modified.
   * @param body The body; `null` unless the method is `PUT`, `POST` or `PATCH`.
   * @param options The signal of this request, and when its promise resolves.
   * @throws the same errors as {@linkcode Connection.prototype.request}.
   */
  request(
    method: Method,
    uri: string,
    headers?: HeadersToSend,
    body?: BodyOut,
    options?: RequestOptions,
  ): Promise<Response>;
}

/**
 * The arguments of a request with this method after its URI: the headers by lower-case name, which
 * are not modified, and the body, which is `null` unless the method is `PUT`, `POST` or `PATCH`;
 * then perhaps options. A `PUT`, `POST` or `PATCH` has both or neither: headers without a body are
 * a mistake, and the type refuses `request("POST", uri, data)`.
 */
export type RequestMessage<M extends Method, Options = RequestOptions> = Method extends M ? [
    headers?: HeadersToSend | undefined,
    body?: BodyOut | undefined,
    options?: Options | undefined,
  ]
  : [M] extends [Exclude<Method, MethodWithBody>] ? [
      headers?: HeadersToSend | undefined,
      body?: null | undefined,
      options?: Options | undefined,
    ]
  : [] | [
    headers: HeadersToSend,
    body: M extends MethodWithBody ? BodyOut : null,
    options?: Options | undefined,
  ];

/**
 * Returns the body of a request whose body may have been left out.
 *
 * @throws {TypeError} if a `PUT`, `POST` or `PATCH` has headers and no body.
 */
export function bodyOrNull(
  method: Method,
  headers: HeadersToSend | undefined,
  body: BodyOut | undefined,
): BodyOut {
  if (body !== undefined) return body;
  if (headers === undefined || !mayHaveBody(method)) return null;
  throw wrongArgumentError(
    "body",
    `must be given after the headers of a ${method} request: the data, or null for none; got ` +
      "undefined",
  );
}

/** The functions `get`, `put` and so on, which clients, connections and pools share. */
export abstract class RequestShortcuts implements Requester {
  /**
   * Makes a request and resolves to the response: {@linkcode Requester.request}.
   *
   * @param method The method, such as `GET`: see {@linkcode Method}.
   * @param uri The path, which starts with `/`, and the query.
   * @param message The headers, the body and the options.
   * @throws the same errors as {@linkcode Connection.prototype.request}.
   */
  abstract request<M extends Method>(
    method: M,
    uri: string,
    ...message: RequestMessage<M>
  ): Promise<Response>;

  /** Short for `request("PUT", uri, headers, body, options)`: {@linkcode Requester.request}. */
  put(uri: string, ...message: RequestMessage<"PUT">): Promise<Response> {
    return this.request("PUT", uri, ...message);
  }

  /** Short for `request("POST", uri, headers, body, options)`: {@linkcode Requester.request}. */
  post(uri: string, ...message: RequestMessage<"POST">): Promise<Response> {
    return this.request("POST", uri, ...message);
  }

  /** Short for `request("PATCH", uri, headers, body, options)`: {@linkcode Requester.request}. */
  patch(uri: string, ...message: RequestMessage<"PATCH">): Promise<Response> {
    return this.request("PATCH", uri, ...message);
  }

  /** Short for `request("GET", uri, headers, null, options)`: {@linkcode Requester.request}. */
  get(uri: string, headers: HeadersToSend = {}, options?: RequestOptions): Promise<Response> {
    return this.request("GET", uri, headers, null, options);
  }

  /** Short for `request("HEAD", uri, headers, null, options)`: {@linkcode Requester.request}. */
  head(uri: string, headers: HeadersToSend = {}, options?: RequestOptions): Promise<Response> {
    return this.request("HEAD", uri, headers, null, options);
  }

  /** Short for `request("DELETE", uri, headers, null, options)`: {@linkcode Requester.request}. */
  delete(uri: string, headers: HeadersToSend = {}, options?: RequestOptions): Promise<Response> {
    return this.request("DELETE", uri, headers, null, options);
  }

  /**
   * Makes a `GET` request for the bytes from `start` up to, not including, `stop` (RFC 9110 §14.2).
   * A server that supports ranges responds with the status 206 and a `content-range`. Any other
   * server responds with 200 and the whole representation.
   *
   * @param uri The path, which starts with `/`, and the query.
   * @param headers The headers by lower-case name; a `range` among them must be the same range.
   * @param start The position of the first byte.
   * @param stop The position after the last byte; `Infinity` for the rest.
   * @param options A signal that aborts this request.
   * @throws {RangeError} if the range is not valid, or `headers` have another range.
   * @throws the same errors as {@linkcode Requester.request}.
   */
  async getRange(
    uri: string,
    headers: HeadersToSend,
    start: number,
    stop: number,
    options?: RequestOptions,
  ): Promise<Response> {
    return await this.request("GET", uri, withRange(headers, start, stop), null, options);
  }
}

/**
 * An object that makes connections: a `Client`, or a wrapper of a client. Each connection has one
 * owner, which makes one request at a time, and closes the connection.
 */
export interface Connector {
  /**
   * Opens a connection.
   *
   * @param options A signal that aborts connecting.
   * @throws the same errors as {@linkcode Client.prototype.connect}.
   */
  connect(
    options?: { signal?: AbortSignal | undefined },
  ): Promise<
    Requester & {
      readonly closed: boolean;
      close(): void;
    }
  >;
}

export type ConnectorConnection = Awaited<ReturnType<Connector["connect"]>>;

export function isConnector(target: Requester | Connector): target is Connector {
  return typeof (target as Partial<Connector> | null | undefined)?.connect === "function";
}

export function checkRequester(label: string, target: Requester | Connector): void {
  const isRequester = isConnector(target) ||
    typeof (target as Partial<Requester> | null | undefined)?.request === "function";
  if (isRequester) return;
  throw wrongTypeError(
    label,
    'a Client or a Connection, as in new Client(["127.0.0.1", 8080])',
    target,
  );
}

function withRange(headers: HeadersToSend, start: number, stop: number): HeadersToSend {
  const range = new Range(start, stop);
  checkHeaders(headers);
  const headerRange = Object.hasOwn(headers, "range") ? headers["range"] : undefined;
  if (headerRange !== undefined) {
    if (!(headerRange instanceof Range)) {
      throw wrongTypeError('headers["range"]', "a Range", headerRange);
    }
    if (headerRange.start !== start || headerRange.stop !== stop) {
      throw notAllowedError('headers["range"]', `must be ${range} or left out; got ${headerRange}`);
    }
  }
  return { ...headers, range };
}
