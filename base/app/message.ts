import {
  Body,
  type BodyIn,
  ChunkedBody,
  contentErrorsOfBody,
  discardBody,
  parseJson,
  parseJsonText,
  ReadableBody,
  readUpTo,
} from "../body/body.ts";
import { type BodyOut, cancelUnusedBody, prepareBody } from "../body/sent_body.ts";
import {
  type BytesConverter,
  type ContentError,
  copyIfShared,
  MemorySource,
} from "../body/body_reader.ts";
import { decodeText, EMPTY_BYTES, makePlainView } from "../../internal/bytes.ts";
import { copyOptions, notConstructibleError } from "../../internal/checks.ts";
import { hasCause } from "../../internal/caught_errors.ts";
import { HiddenProperty } from "../../internal/error_details.ts";
import { BodyError } from "../errors.ts";
import { hideSecrets, INSPECT, inspectFields } from "../../internal/printable.ts";
import { quote } from "../../internal/quote.ts";
import {
  checkHeaderName,
  checkHeaders,
  type HeadersToSend,
  parseConnectionOptions,
  type ReceivedHeaders,
} from "../wire/headers.ts";
import type { Method } from "../wire/method.ts";
import { buildUri, checkPath } from "../wire/uri.ts";

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
    checkHeaders(headers);
    this.status = status;
    this.reason = reason;
    // The field has the type of received headers, but a program may pass headers to send.
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

  /** Reads the data of the body, if any: {@linkcode ReadableBody.prototype.bytes}. */
  async bytes(options?: { maxBytes?: number | undefined }): Promise<Uint8Array<ArrayBuffer>> {
    return await makeReadableBody(this.body, "response").bytes(options);
  }

  /** Reads the body, if any, as UTF-8 text: {@linkcode ReadableBody.prototype.text}. */
  async text(options?: { maxBytes?: number | undefined }): Promise<string> {
    return await makeReadableBody(this.body, "response").text(options);
  }

  /**
   * Reads the data of the body, and parses it as JSON. A body that is `null` causes a
   * `SyntaxError`. First check the status, for example with {@linkcode expectOk}: the body of an
   * error is seldom JSON.
   *
   * The result is `unknown`, unlike the `any` of `fetch`, because a server can send any value:
   * check it. `json<Lamp>()` has the type without a check, like `as Lamp`.
   *
   * @param options The maximum number of bytes: `maxBytes`, by default 16777216.
   * @throws the same errors as {@linkcode ReadableBody.prototype.json}.
   */
  async json<T = unknown>(options?: { maxBytes?: number | undefined }): Promise<NoInfer<T>> {
    const label = `the body of the response ${this.status} ${quote(this.reason)}`;
    return parseJson(await this.text(options), label, "; check the status first, as by expectOk()");
  }

  /**
   * Discards the unread part of the body, so that the connection can make another request: reads up
   * to 64 KiB, including the chunk headers, for up to a second. A body that is longer or takes
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
  toJSON(): unknown {
    return { ...this, headers: hideSecrets(this.headers) };
  }

  /** @internal */
  [INSPECT](inspect: (value: unknown, options?: unknown) => string, options: unknown): string {
    const { status, reason, headers, body } = this;
    return inspectFields("Response", { status, reason, headers, body }, inspect, options);
  }
}

interface RequestLine {
  readonly method: Method;
  /** The path without the query, which may hold secrets. */
  readonly uri: string;
}

const requestLines: HiddenProperty<RequestLine> = new HiddenProperty();

export function setRequestLine(response: Response, method: Method, uri: string): void {
  requestLines.set(response, { method, uri: uri.split("?", 1)[0]! });
}

export function requestLineOf(response: Response<BodyOut>): RequestLine | null {
  return requestLines.get(response) ?? null;
}

export function makeReadableBody(
  body: BodyOut,
  kind: MemorySource["kind"],
): NonNullable<BodyIn> {
  const encoded = prepareBody(body) ?? EMPTY_BYTES;
  if (encoded instanceof Uint8Array) {
    const bytes = new Uint8Array(makePlainView(encoded));
    return new Body(new MemorySource(bytes, kind), bytes.length);
  }
  if (encoded instanceof ReadableBody) return encoded;
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  encoded.writeTo(writable).then(() => writable.close(), (error) => writable.abort(error))
    .catch(() => {});
  return encoded.chunked ? new ChunkedBody(readable) : new Body(readable, encoded.contentLength);
}

/**
 * The readable body of each message, and the body from which it was made: an app may replace the
 * body of a request, which then needs a new readable body.
 */
const readableBodies = new WeakMap<
  Request | Response<BodyOut>,
  { readonly body: BodyOut; readonly readableBody: NonNullable<BodyIn> }
>();

function readableOf(message: Request | Response<BodyOut>): ReadableStream<Uint8Array<ArrayBuffer>> {
  const { body } = message;
  const cachedBody = readableBodies.get(message);
  if (cachedBody !== undefined && cachedBody.body === body) return cachedBody.readableBody.readable;
  const kind = message instanceof Request ? "request" : "response";
  const readableBody = makeReadableBody(body, kind);
  readableBodies.set(message, { body, readableBody });
  return readableBody.readable;
}

/**
 * Makes the headers of a copy of a request: an object without a prototype, as received headers are,
 * without headers that are `undefined`.
 *
 * Removes the options of `connection` that the client has sent, except `close` and `keep-alive`. A
 * proxy removes each header that an option names (RFC 9110 §7.6.1), so an option of the client
 * could remove a header that the program has added.
 */
function makeHeadersOfCopy(
  headers: HeadersToSend,
  changes: HeadersToSend,
  receivedOptions: readonly string[],
): HeadersToSend {
  checkHeaders(changes, "changes.headers");
  for (const name of Object.keys(changes)) checkHeaderName(name, "changes.headers");
  const entries = Object.entries({ ...headers, ...changes })
    .filter(([, value]) => value !== undefined);
  const copy: HeadersToSend = Object.setPrototypeOf(Object.fromEntries(entries), null);
  const options = parseConnectionOptions(copy);
  const removedOptions = new Set(receivedOptions);
  const keptOptions = options.filter((option) =>
    option === "close" || option === "keep-alive" || !removedOptions.has(option)
  );
  if (keptOptions.length === options.length) return copy;
  if (keptOptions.length > 0) copy["connection"] = keptOptions.join(", ");
  else delete copy["connection"];
  return copy;
}

const NO_PARAMETERS: Readonly<Record<string, string>> = Object.freeze(Object.create(null));

/** A property of the store, which copies of a request share. */
const contentErrors: HiddenProperty<readonly ContentError[]> = new HiddenProperty();

/** Marks an error that says that the content of a request isn't what the app reads. */
export function markContentError<E extends Error>(
  error: E,
  { store }: Request,
  status: ContentError["status"] = 400,
): E {
  contentErrors.set(store, [...contentErrors.get(store) ?? [], { error, status }]);
  return error;
}

/** @param body The body of the request as it arrived; the app may have changed its `Request`. */
function contentErrorsOf(request: Request, body: BodyIn): readonly ContentError[] {
  return [...contentErrorsOfBody(body), ...contentErrors.get(request[STORE]) ?? []];
}

/**
 * Returns the last error of a request's content to which a response with this status belongs;
 * `null` if there was none.
 */
export function findContentError(request: Request, body: BodyIn, status: number): unknown {
  const errors = contentErrorsOf(request, body).filter((each) => each.status === status);
  return errors.at(-1)?.error ?? null;
}

/** Returns the status for an error of a request's content; `null` for an error of the app. */
export function findContentStatus(
  request: Request,
  body: BodyIn,
  error: unknown,
): ContentError["status"] | null {
  const errors = contentErrorsOf(request, body);
  let status: ContentError["status"] | null = null;
  // The outermost of several content errors decides.
  hasCause(error, (cause) => {
    status = errors.find((each) => each.error === cause)?.status ?? null;
    return status !== null;
  });
  return status;
}

/** Not async: its promise would be another one, whose rejection isn't handled. */
function readContent<Value>(
  request: Request,
  options: { maxBytes?: number | undefined } | undefined,
  convert: BytesConverter<Value>,
): Promise<Value> {
  const convertContent: BytesConverter<Value> = (bytes, hasOwnMemory) => {
    try {
      return convert(bytes, hasOwnMemory);
    } catch (error) {
      markContentError(error as Error, request);
      throw error;
    }
  };
  try {
    return readUpTo(makeReadableBody(request.body, "request"), options, convertContent);
  } catch (error) {
    return Promise.reject(error);
  }
}

function parseContent<T>(bytes: Uint8Array): T {
  try {
    return parseJsonText(decodeText(bytes));
  } catch (cause) {
    throw new SyntaxError("the body of the request is not JSON in UTF-8", { cause });
  }
}

/**
 * Symbols in place of private names, which `Omit` would remove: then a `RouteRequest` could not be
 * passed as a `Request`.
 */
const CONTEXT: unique symbol = Symbol("request context");
const STORE: unique symbol = Symbol("request store");

/** What requests share. No public module exports this class: programs can't make a request. */
export class RequestContext {
  /**
   * @param signalSource The session; never `null` in an object that several requests share.
   * @param receivedOptions For a copy, the options of the `connection` that the client has sent.
   */
  constructor(
    public signalSource: { readonly signal: AbortSignal } | null = null,
    readonly receivedOptions: readonly string[] | null = null,
  ) {}
}

/** Gives a request that a program has made the signal of a session. */
export function attachSignal(request: Request, source: { readonly signal: AbortSignal }): void {
  request[CONTEXT].signalSource ??= source;
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
  /** The method, such as `GET`. */
  readonly method: Method;
  /**
   * The path and the query as they were received, but without a host and without components `.`; a
   * path can have several spellings.
   */
  readonly uri: string;
  /** The headers by lower-case name. */
  readonly headers: ReceivedHeaders;
  /**
   * The body, or `null`. If the body is not read to its end, the session ends after the response.
   */
  readonly body: BodyIn;
  /**
   * The components that {@linkcode Request.prototype.shiftPath} has removed from the path, decoded;
   * at first `[]`.
   */
  readonly mount: string[];
  /**
   * The remaining components of the path, decoded: `/foo/` is `["foo", ""]`, `/a%20b` is `["a b"]`,
   * `/` is `[]`. A component has no slash and no NUL, and is not `..`. Only the last can be empty.
   */
  readonly path: string[];
  /** The text after the `?`, neither parsed nor decoded; `null` if there is no `?`. */
  readonly query: string | null;
  /**
   * The values of the names in braces of `routes()`: an object without a prototype. The value of a
   * name that the route lacks is `undefined`.
   */
  readonly parameters: Readonly<Record<string, string | undefined>> = NO_PARAMETERS;
  /** @internal */
  declare readonly [CONTEXT]: RequestContext;
  /** @internal */
  declare [STORE]: Map<string, unknown> | null;

  /** @internal */
  constructor(
    context: RequestContext,
    method: Method,
    uri: string,
    headers: HeadersToSend,
    body: BodyIn,
    mount: string[],
    path: string[],
    query: string | null,
  ) {
    if (!(context instanceof RequestContext)) {
      throw notConstructibleError("Request", 'mkreq() of "@degu/degu/misc", or request.with()');
    }
    this[CONTEXT] = context;
    this[STORE] = null;
    this.method = method;
    this.uri = uri;
    // The field has the type of received headers, but a program may pass headers to send.
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
    return this[STORE] ??= new Map();
  }

  /**
   * The signal of the session, which is aborted when the client disconnects. Pass the signal to
   * `fetch`, requests and transfers.
   */
  get signal(): AbortSignal {
    return (this[CONTEXT].signalSource ??= new AbortController()).signal;
  }

  /**
   * Copies the request with other headers, path or mount, for the next app. The copy has the same
   * body, store, parameters, URI and query; its path and mount are arrays of its own.
   *
   * @param changes The headers, path and mount of the copy.
   * @throws {TypeError} if an option has a wrong type, or is unknown.
   * @throws {RangeError} if a component can't be in a path, or the name of a header is invalid.
   *
   * @example
   * ```ts
   * import { mkreq } from "@degu/degu/misc";
   * import { assertEquals, assertStrictEquals } from "@std/assert";
   *
   * const request = mkreq("GET", "/photos/1.jpg", { authorization: "secret" });
   * const headers = { authorization: undefined, "x-user": "anna" };
   * const copy = request.with({ headers, path: ["pictures", "1.jpg"] });
   * assertEquals({ ...copy.headers }, { "x-user": "anna" });
   * assertEquals(copy.buildProxyUri(), "/pictures/1.jpg");
   * assertStrictEquals(copy.store, request.store);
   * ```
   */
  with(changes: {
    /**
     * The headers to add or to replace, by lower-case name; a header that is `undefined` is
     * removed, and all others stay. To remove a header, don't leave it out of a copy of the
     * headers: that has no effect. A `connection` that the client has sent keeps only the options
     * `close` and `keep-alive`.
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
  }): Request {
    const { headers, path = this.path, mount = this.mount } = copyOptions(
      changes,
      ["headers", "path", "mount"],
      "changes",
    );
    const context = this[CONTEXT];
    const receivedOptions = context.receivedOptions ?? parseConnectionOptions(this.headers);
    const copy = new Request(
      new RequestContext(context.signalSource, receivedOptions),
      this.method,
      this.uri,
      headers === undefined
        ? this.headers
        : makeHeadersOfCopy(this.headers, headers, receivedOptions),
      this.body,
      checkPath(mount, "changes.mount"),
      checkPath(path, "changes.path"),
      this.query,
    );
    return Object.assign(copy, { parameters: this.parameters, [STORE]: this.store });
  }

  /**
   * The parameters of the query, decoded, as new `URLSearchParams` for each call: empty if there is
   * no query.
   */
  get searchParams(): URLSearchParams {
    // `URLSearchParams` ignores a question mark at the beginning.
    return new URLSearchParams(`?${this.query ?? ""}`);
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
   * Reads the data of the body, if any: {@linkcode ReadableBody.prototype.bytes}. If the body is
   * too long and the app doesn't catch the error, the response is `413 Content Too Large`.
   */
  bytes(options?: { maxBytes?: number | undefined }): Promise<Uint8Array<ArrayBuffer>> {
    return readContent(this, options, copyIfShared);
  }

  /**
   * Reads the body, if any, as UTF-8 text: {@linkcode ReadableBody.prototype.text}. In other
   * respects, this method works like {@linkcode Request.prototype.bytes}.
   */
  text(options?: { maxBytes?: number | undefined }): Promise<string> {
    return readContent(this, options, decodeText);
  }

  /**
   * Reads the data of the body, and parses it as JSON. In other respects, this method works like
   * {@linkcode Request.prototype.bytes}. If the app doesn't catch the `SyntaxError`, the response
   * is `400 Bad Request`. The result is `unknown`, because a client can send any value: check it.
   * `json<Lamp>()` has the type without a check.
   *
   * @param options The maximum number of bytes: `maxBytes`, by default 16777216.
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
  json<T = unknown>(options?: { maxBytes?: number | undefined }): Promise<NoInfer<T>> {
    return readContent(this, options, parseContent<T>);
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

  /**
   * The request target for the server behind this app: path and query, without `mount`. The path
   * has the spelling of {@linkcode buildUri}, and the query is unchanged.
   */
  buildProxyUri(): string {
    return buildUri(this.path, this.query);
  }

  /** @internal */
  toJSON(): unknown {
    return { ...this, headers: hideSecrets(this.headers) };
  }

  /** @internal */
  [INSPECT](inspect: (value: unknown, options?: unknown) => string, options: unknown): string {
    const { method, uri, headers, body, mount, path, query, parameters } = this;
    const fields = { method, uri, headers, body, mount, path, query };
    if (parameters !== NO_PARAMETERS) Object.assign(fields, { parameters });
    return inspectFields("Request", fields, inspect, options);
  }
}
