/**
 * Requests as an app gets them, responses as a client gets them, and the result of an app: the
 * response that it returns or throws.
 */

import {
  type BodyIn,
  type BodyOut,
  cancelUnusedBody,
  determineBodyFraming,
  determineNullFraming,
  discardBody,
  encodeBody,
  type EncodedBody,
  isTooLongError,
  withContentType,
} from "../body/bodies.ts";
import { Body, ChunkedBody } from "../body/body.ts";
import { MemorySource } from "../body/body_source.ts";
import type { BodyReadOptions } from "../body/body_reader.ts";
import { decodeText, EMPTY_BYTES, makePlainView } from "../../internal/bytes.ts";
import {
  copyOptions,
  notAllowedError,
  notConstructibleError,
  wrongArgumentError,
  wrongTypeError,
} from "../../internal/checks.ts";
import { adoptBody, isForeignBody } from "../body/foreign_body.ts";
import { HiddenProperty, isInstance, propertyOf } from "../../internal/error_details.ts";
import { BodyError, DeguError } from "../errors.ts";
import { quote, typeNameOf } from "../../internal/quote.ts";
import { INSPECT, inspectFields } from "../../internal/printable.ts";
import {
  checkHeaderDict,
  checkHeaderName,
  type Framing,
  type HeaderDict,
  type HeadersToSend,
  parseConnectionOptions,
  type ReceivedHeaders,
} from "../wire/headers.ts";
import { checkStatus, isBodiless, type Method } from "../wire/preamble.ts";
import { buildUri, checkPath } from "../wire/uri.ts";

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
 * A response as a client gets it. An app may return it unchanged. The values are checked when the
 * response is sent.
 *
 * @example
 * ```ts
 * import { Response } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * const response = new Response(200, "OK", { hello: "world" }, null);
 * const { status, headers, body } = response;
 * assertEquals([status, headers["hello"], body], [200, "world", null]);
 * assertEquals(
 *   Deno.inspect(response),
 *   'Response(status=200, reason="OK", headers={ hello: "world" }, body=null)',
 * );
 * ```
 */
export class Response<B extends BodyOut = BodyIn> {
  /** The status, 100 to 599. */
  readonly status: number;
  /** The reason phrase. */
  readonly reason: string;
  /** The headers by lower-case name. */
  readonly headers: ReceivedHeaders;
  /** The body, or `null`. A body must be consumed before the connection's next request. */
  readonly body: B;

  /**
   * Makes a response from its four parts.
   *
   * @param status The status, 100 to 599.
   * @param reason The reason phrase.
   * @param headers The headers by lower-case name.
   * @param body The body, or `null` for no body.
   * @throws {TypeError} if the headers are not a plain object.
   */
  constructor(status: number, reason: string, headers: HeadersToSend, body: B) {
    checkHeaderDict(headers);
    this.status = status;
    this.reason = reason;
    // The field has the type of received headers; a program's own response has headers to send.
    this.headers = headers as ReceivedHeaders;
    this.body = body;
  }

  /** Whether the status is a success, 200 to 299. */
  get ok(): boolean {
    return this.status >= 200 && this.status <= 299;
  }

  /**
   * The data of the body as a byte stream, for default and BYOB readers: empty and closed if the
   * body is `null`. Each access returns the same stream, and counts as an operation on the body.
   *
   * @throws {BodyError} if another operation of the body has begun before.
   */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return readableOf(this);
  }

  /**
   * Reads the data of the body, which is empty if the body is `null`.
   *
   * @param options The most bytes: `maxBytes`, by default 16777216.
   * @throws the same errors as {@linkcode ReadableBody.prototype.bytes}.
   */
  async bytes(options?: BodyReadOptions): Promise<Uint8Array<ArrayBuffer>> {
    return await makeReadableBody(this.body).bytes(options);
  }

  /**
   * Reads the data of the body as UTF-8 text, which is `""` if the body is `null`.
   *
   * @param options The most bytes: `maxBytes`, by default 16777216.
   * @throws the same errors as {@linkcode ReadableBody.prototype.text}.
   */
  async text(options?: BodyReadOptions): Promise<string> {
    return await makeReadableBody(this.body).text(options);
  }

  /**
   * Reads the data of the body, and parses it as JSON. A body that is `null` causes a
   * `SyntaxError`.
   *
   * @param options The most bytes: `maxBytes`, by default 16777216.
   * @throws the same errors as {@linkcode ReadableBody.prototype.json}.
   */
  async json(options?: BodyReadOptions): Promise<unknown> {
    return await makeReadableBody(this.body).json(options);
  }

  /**
   * Discards the unread part of the body, so that the connection can make another request: reads up
   * to 64 KiB, including the lines of chunks, for up to a second. A body that is longer or takes
   * longer is canceled, which closes the connection. Never rejects.
   */
  async discard(): Promise<void> {
    const body: BodyOut = this.body;
    if (body instanceof Body || body instanceof ChunkedBody) await discardBody(body);
    else cancelUnusedBody(body, new BodyError("the response was discarded"));
  }

  /** Discards the unread part of the body: {@linkcode Response.prototype.discard}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.discard();
  }

  /**
   * The four parts in order, as in Python Degu. Their types are lost:
   * `const { status, headers } = response` keeps them.
   */
  *[Symbol.iterator](): Generator<number | string | ReceivedHeaders | B, void, void> {
    yield this.status;
    yield this.reason;
    yield this.headers;
    yield this.body;
  }

  /** @internal */
  [INSPECT](inspect: (value: unknown, options?: unknown) => string, options: unknown): string {
    const { status, reason, headers, body } = this;
    return inspectFields("Response", { status, reason, headers, body }, inspect, options);
  }
}

/** The key of the response in a {@linkcode ResponseError}, in all copies of this package. */
const RESPONSE_KEY: unique symbol = Symbol.for("degu.response");

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

  /** @internal */
  get [RESPONSE_KEY](): ResponseTuple | ResponseObject {
    return this.response;
  }
}

/** The request that a received response belongs to. */
export interface AnsweredRequest {
  readonly method: Method;
  /** The path without the query, which may hold secrets. */
  readonly uri: string;
}

const answeredRequests: HiddenProperty<AnsweredRequest> = new HiddenProperty(
  Symbol.for("degu.request"),
);

/** Stores the request that a received response belongs to. */
export function setAnsweredRequest(response: Response, method: Method, uri: string): void {
  answeredRequests.set(response, { method, uri: uri.split("?", 1)[0]! });
}

/** Returns the request of a received response; `null` for a response that a program has made. */
export function answeredRequestOf(response: Response<BodyOut>): AnsweredRequest | null {
  return answeredRequests.get(response) ?? null;
}

/**
 * Returns a response whose body is one of this copy of the package: the same response, unless
 * another copy has received it.
 */
export function adoptResponse(response: Response): Response {
  const { status, reason, headers, body } = response;
  if (!isForeignBody(body)) return response;
  const adoptedResponse = new Response<BodyIn>(status, reason, headers, adoptBody(body));
  const request = answeredRequestOf(response);
  return request === null ? adoptedResponse : answeredRequests.set(adoptedResponse, request);
}

/** Makes a readable body of a body to be sent, for a program that calls an app without a server. */
export function makeReadableBody(body: BodyOut): NonNullable<BodyIn> {
  const encoded = encodeBody(body) ?? EMPTY_BYTES;
  if (encoded instanceof Uint8Array) {
    const bytes = new Uint8Array(makePlainView(encoded));
    return new Body(new MemorySource(bytes, "request"), bytes.length);
  }
  if ("bytes" in encoded) return encoded;
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  encoded.writeTo(writable).then(() => writable.close(), (error) => writable.abort(error))
    .catch(() => {});
  return encoded.chunked ? new ChunkedBody(readable) : new Body(readable, encoded.contentLength);
}

/**
 * The streams of messages, each with its body: an app may replace the body of a request, which then
 * needs a new stream.
 */
const readableBodies = new WeakMap<
  Request | Response<BodyOut>,
  { readonly body: BodyOut; readonly readableBody: NonNullable<BodyIn> }
>();

/** Returns the data of a message as a byte stream: the same stream for each call. */
function readableOf(
  message: Request | Response<BodyOut>,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const { body } = message;
  const cachedBody = readableBodies.get(message);
  if (cachedBody !== undefined && cachedBody.body === body) return cachedBody.readableBody.readable;
  const readableBody = makeReadableBody(body);
  readableBodies.set(message, { body, readableBody });
  return readableBody.readable;
}

/**
 * Makes the headers of a copy of a request: an object without a prototype, as received headers are,
 * without headers that are `undefined`.
 *
 * The headers are now those of the program, so the `connection` of the client must not name any of
 * them: a proxy would remove them (RFC 9110 §7.6.1). Of the options that the client has sent, the
 * result keeps only those that name no header.
 */
function makeHeadersOfCopy(headers: HeaderDict, receivedOptions: readonly string[]): HeaderDict {
  checkHeaderDict(headers, "changes.headers");
  const entries = Object.entries(headers).filter(([, value]) => value !== undefined);
  for (const [name] of entries) checkHeaderName(name, "changes.headers");
  const copy: HeaderDict = Object.setPrototypeOf(Object.fromEntries(entries), null);
  const options = parseConnectionOptions(copy);
  const keptOptions = options.filter((option) =>
    option === "close" || option === "keep-alive" || !receivedOptions.includes(option)
  );
  if (keptOptions.length === options.length) return copy;
  if (keptOptions.length > 0) copy["connection"] = keptOptions.join(", ");
  else delete copy["connection"];
  return copy;
}

const NO_PARAMETERS: Readonly<Record<string, string>> = Object.freeze(Object.create(null));

/**
 * The errors that `Request.json()` has thrown, each with the store of its request. The store
 * identifies the request, because copies of a request have the same store.
 */
const jsonErrors = new WeakMap<object, Map<string, unknown>>();

/** The changes that {@linkcode Request.prototype.with} makes in a copy of a request. */
export interface RequestChanges {
  /**
   * The headers by lower-case name, which replace all headers of the request. A `connection` that
   * was copied from the request keeps only the options `close` and `keep-alive`.
   *
   * @default {the headers of the request}
   */
  headers?: HeadersToSend | undefined;
  /**
   * The components of the path.
   *
   * @default {the path of the request}
   */
  path?: readonly string[] | undefined;
  /**
   * The components of the path that an outer app has matched.
   *
   * @default {the mount of the request}
   */
  mount?: readonly string[] | undefined;
}

/**
 * The key of the core of a request. With a private name instead, `RouteRequest`, which omits a
 * property, would be no request.
 */
const CORE: unique symbol = Symbol("core");

/**
 * The fields of a request that only this package can use. No public module exports this class, so
 * programs can't make a request.
 */
export class RequestCore {
  /** The map that `Request.store` returns; `null` before the first access. */
  store: Map<string, unknown> | null = null;
  /** For a copy, the options of the `connection` that the client has sent; `null` otherwise. */
  receivedOptions: readonly string[] | null = null;
}

/** Adds path parameters to a request. */
export function addParameters(request: Request, parameters: Record<string, string>): void {
  const merged = Object.assign(Object.create(null), request.parameters, parameters);
  Object.assign(request, { parameters: Object.freeze(merged) });
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
  /** `GET`, `HEAD`, `DELETE`, `PUT` or `POST`. */
  readonly method: Method;
  /** The request target as it was sent. */
  readonly uri: string;
  /** The headers by lower-case name. */
  readonly headers: ReceivedHeaders;
  /**
   * The body, or `null`. If the body is not read to its end, the session ends after the response.
   */
  readonly body: BodyIn;
  /**
   * The components that {@linkcode Request.prototype.shiftPath} has removed from the path; at first
   * `[]`.
   */
  readonly mount: string[];
  /** The remaining components of the path: `/foo/` is `["foo", ""]`, `/` is `[]`. */
  readonly path: string[];
  /** The text after the `?`, neither parsed nor decoded; `null` if there is no `?`. */
  readonly query: string | null;
  /**
   * The values of the names in braces of `routes()`: an object without a prototype. The value of a
   * name that the route lacks is `undefined`.
   */
  readonly parameters: Readonly<Record<string, string | undefined>> = NO_PARAMETERS;
  /** @internal */
  declare readonly [CORE]: RequestCore;

  /** @internal */
  constructor(
    core: RequestCore,
    method: Method,
    uri: string,
    headers: HeaderDict,
    body: BodyIn,
    mount: string[],
    path: string[],
    query: string | null,
  ) {
    if (!(core instanceof RequestCore)) {
      throw notConstructibleError("Request", 'mkreq() of "@degu/degu/misc", or request.with()');
    }
    this[CORE] = core;
    this.method = method;
    this.uri = uri;
    // The field has the type of received headers; a program's own request has headers to send.
    this.headers = headers as ReceivedHeaders;
    this.body = body;
    this.mount = mount;
    this.path = path;
    this.query = query;
  }

  /**
   * Values that apps keep for this request, such as the user that a middleware has authenticated.
   * Every copy of the request has the same map. The values are not disposed of. Keep the values of
   * a connection in `session.store`; behind a proxy, many clients share a connection.
   */
  get store(): Map<string, unknown> {
    return this[CORE].store ??= new Map();
  }

  /**
   * Copies the request with other headers, path or mount, for the next app. The copy has the same
   * body, store, parameters, URI and query; its path and mount are arrays of its own.
   *
   * @param changes The headers, path and mount of the copy.
   * @throws {TypeError} if an option has a wrong type, or is unknown.
   * @throws {RangeError} if a component can't be in a path, or a name can't be that of a header.
   *
   * @example
   * ```ts
   * import { mkreq } from "@degu/degu/misc";
   * import { assertEquals, assertStrictEquals } from "@std/assert";
   *
   * const request = mkreq("GET", "/photos/1.jpg", { authorization: "secret" });
   * const { authorization: _, ...headers } = request.headers;
   * const copy = request.with({ headers, path: ["pictures", "1.jpg"] });
   * assertEquals(copy.headers["authorization"], undefined);
   * assertEquals(copy.buildProxyUri(), "/pictures/1.jpg");
   * assertStrictEquals(copy.store, request.store);
   * ```
   */
  with(changes: RequestChanges): Request {
    const { headers, path = this.path, mount = this.mount } = copyOptions(
      changes,
      ["headers", "path", "mount"],
      "changes",
    );
    const receivedOptions = this[CORE].receivedOptions ?? parseConnectionOptions(this.headers);
    const core = new RequestCore();
    core.store = this.store;
    core.receivedOptions = receivedOptions;
    const copy = new Request(
      core,
      this.method,
      this.uri,
      headers === undefined ? this.headers : makeHeadersOfCopy(headers, receivedOptions),
      this.body,
      checkPath(mount, "changes.mount"),
      checkPath(path, "changes.path"),
      this.query,
    );
    return Object.assign(copy, { parameters: this.parameters });
  }

  /**
   * The parameters of the query, decoded, as new `URLSearchParams` for each call: empty if there is
   * no query.
   */
  get searchParams(): URLSearchParams {
    return new URLSearchParams(this.query ?? "");
  }

  /**
   * The data of the body as a byte stream: {@linkcode Response.prototype.readable}.
   *
   * @throws {BodyError} if another operation of the body has begun before.
   */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return readableOf(this);
  }

  /**
   * Reads the data of the body, which is empty if the body is `null`. If the body is too long and
   * the app doesn't catch the error, the response is `413 Content Too Large`.
   *
   * @param options The most bytes: `maxBytes`, by default 16777216.
   * @throws the same errors as {@linkcode ReadableBody.prototype.bytes}.
   */
  async bytes(options?: BodyReadOptions): Promise<Uint8Array<ArrayBuffer>> {
    return await makeReadableBody(this.body).bytes(options);
  }

  /**
   * Reads the data of the body as UTF-8 text, which is `""` if the body is `null`. In other
   * respects, this method works like {@linkcode Request.prototype.bytes}.
   *
   * @param options The most bytes: `maxBytes`, by default 16777216.
   * @throws the same errors as {@linkcode ReadableBody.prototype.text}.
   */
  async text(options?: BodyReadOptions): Promise<string> {
    return await makeReadableBody(this.body).text(options);
  }

  /**
   * Reads the data of the body, and parses it as JSON. In other respects, this method works like
   * {@linkcode Request.prototype.bytes}. If the app doesn't catch the `SyntaxError`, the response
   * is `400 Bad Request`.
   *
   * @param options The most bytes: `maxBytes`, by default 16777216.
   * @throws {SyntaxError} if the data is not JSON in UTF-8, or the body is empty or `null`; else as
   * {@linkcode ReadableBody.prototype.bytes} does.
   *
   * @example
   * ```ts
   * import { type App, json, reply } from "@degu/degu";
   * import { callApp, mkreq } from "@degu/degu/misc";
   * import { assertEquals } from "@std/assert";
   *
   * const app: App = async (request) => {
   *   const value = await request.json({ maxBytes: 1000 });
   *   return typeof value === "number" ? json(value + 1) : reply(400, "not a number");
   * };
   * for (const [sent, status] of [["5", 200], ["[]", 400], ["five", 400]] as const) {
   *   assertEquals((await callApp(app, mkreq("POST", "/", {}, sent))).status, status);
   * }
   * ```
   */
  async json(options?: BodyReadOptions): Promise<unknown> {
    const bytes = await this.bytes(options);
    try {
      return JSON.parse(decodeText(bytes));
    } catch (cause) {
      const error = new SyntaxError("the body of the request is not JSON in UTF-8", { cause });
      jsonErrors.set(error, this.store);
      throw error;
    }
  }

  /**
   * Moves the first component of the path to `mount`, and returns it; `null` if `path` is empty.
   */
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

  /** @internal */
  [INSPECT](inspect: (value: unknown, options?: unknown) => string, options: unknown): string {
    const { method, uri, headers, body, mount, path, query, parameters } = this;
    const fields = { method, uri, headers, body, mount, path, query };
    if (parameters !== NO_PARAMETERS) Object.assign(fields, { parameters });
    return inspectFields("Request", fields, inspect, options);
  }
}

/** The response of an app, with an encoded body. */
export interface OutgoingResponse {
  readonly status: number;
  readonly reason: string;
  readonly headers: HeaderDict;
  readonly body: EncodedBody;
}

/**
 * Makes a response of the value that an app returned: a tuple of four items, or an object with the
 * fields of a response.
 */
export function responseOf(appResult: unknown): Response<BodyOut> {
  if (appResult instanceof Response) return appResult;
  const { status, reason, headers, body } = splitAppResult(appResult);
  return new Response(status, reason, withContentType(headers, body, "response."), body);
}

/** Splits the value that an app returned into its parts, and encodes the body. */
export function parseAppResult(appResult: unknown): OutgoingResponse {
  const { status, reason, headers, body } = splitAppResult(appResult);
  return {
    status,
    reason,
    headers: withContentType(headers, body, "response."),
    body: encodeBody(body, "response."),
  };
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

/**
 * Checks the status and the body of a response, and returns its framing as
 * {@linkcode determineAnnouncedFraming} does.
 *
 * @param method The method of the request as it arrived; the app may have changed its `Request`.
 * @param requestBody The body of the request as it arrived.
 * @param unframedNull Whether `null` is sent without framing, for the original Degu.
 */
export function determineResponseFraming(
  method: Method,
  requestBody: BodyIn,
  { status, headers, body }: OutgoingResponse,
  unframedNull: boolean,
): Framing | undefined {
  const labelPrefix = "response.";
  checkStatus(status, 200, labelPrefix);
  if (body !== null && (body as unknown) === requestBody) {
    throw new BodyError(`${labelPrefix}body: must not be the body of the request`);
  }
  return determineAnnouncedFraming(method, status, headers, body, labelPrefix, unframedNull);
}

/**
 * Returns the framing that the headers of a response announce: usually the framing of its body. A
 * response to HEAD announces the body that GET would get, although the body is not sent (RFC 9110
 * §9.3.2). Returns `undefined` if there is no body, but the headers of the app may announce one: in
 * a response to HEAD, and with 304 (RFC 9110 §15.4.5).
 */
export function determineAnnouncedFraming(
  method: Method,
  status: number,
  headers: HeaderDict,
  body: EncodedBody,
  labelPrefix = "",
  unframedNull = false,
): Framing | undefined {
  if (body !== null) {
    if (status !== 204 && status !== 304) return determineBodyFraming(body, labelPrefix);
    throw notAllowedError(
      `${labelPrefix}body`,
      `must be null with status ${status}; got ${typeNameOf(body)}`,
    );
  }
  if (status === 204) return null;
  return isBodiless(method, status) ? undefined : determineNullFraming(headers, unframedNull);
}

/** Returns the response of a {@linkcode ResponseError}; `undefined` for any other error. */
export function findThrownResponse(error: unknown): ResponseTuple | ResponseObject | undefined {
  return propertyOf(error, RESPONSE_KEY) as ResponseTuple | ResponseObject | undefined;
}

/** Returns the status of a thrown value that is a response; `null` for any other value. */
export function findStatusOfThrownResponse(thrown: unknown): number | null {
  try {
    if (thrown instanceof Error) return null;
    const isTuple = Array.isArray(thrown) && thrown.length === 4;
    const status = propertyOf(thrown, isTuple ? 0 : "status");
    const isResponse = isTuple || propertyOf(thrown, "headers") !== undefined;
    return isResponse && typeof status === "number" ? status : null;
  } catch {
    // The value is a revoked proxy.
    return null;
  }
}

/**
 * Returns the response to a request whose app has thrown an error: the response of a
 * {@linkcode ResponseError}, a 413 if the body of the request exceeds the app's limit, a 400 if
 * `request.json()` failed, and `null` for any other error.
 *
 * @param body The body of the request as it arrived; the app may have changed its `Request`.
 */
export function findAppErrorResponse(
  request: Request,
  body: BodyIn,
  error: unknown,
): ResponseTuple | ResponseObject | null {
  const response = findThrownResponse(error);
  if (response !== undefined) return response;
  if (isInstance(error, BodyError) && isTooLongError(body, error)) {
    return [413, "Content Too Large", {}, null];
  }
  if (isInstance(error, SyntaxError) && jsonErrors.get(error) === request.store) {
    return [400, "Bad Request", {}, null];
  }
  return null;
}

/**
 * Cancels each unused body in the value that an app returned, when that value is not sent. The body
 * of the request isn't canceled, because it belongs to the server. Never throws.
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

/** Makes the error for the body of a response to HEAD, which is canceled instead of being sent. */
export function unsentHeadBodyError(): BodyError {
  return new BodyError("a response to HEAD has no body; its headers were sent");
}

/** Makes the error for reading the body of a request after its response was sent. */
export function unreadBodyError(status: number): BodyError {
  return new BodyError(`the response, with status ${status}, was sent before this body was read`);
}
