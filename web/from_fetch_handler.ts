import type { AppFunction } from "../base/app/app.ts";
import {
  checkInteger,
  checkOptions,
  checkString,
  notAllowedError,
  wrongArgumentError,
  wrongTypeError,
} from "../internal/checks.ts";
import { BodyError } from "../base/errors.ts";
import { quote, quoteHost, typeNameOf } from "../internal/quote.ts";
import type { ResponseTuple } from "../base/app/app_result.ts";
import { markContentError, type Request as AppRequest } from "../base/app/message.ts";
import { type Session, waitForResponse } from "../base/app/session.ts";
import { parseHostHeader } from "../base/wire/host_header.ts";
import { buildUri, parseUri } from "../base/wire/uri.ts";
import { Body, type ChunkedBody, readerOf } from "../base/body/body.ts";
import { Collector } from "../base/body/byte_io.ts";
import { MAX_LENGTH, MAX_READ_BYTES } from "../base/wire/limits.ts";
import { findReasonPhrase } from "../internal/statuses.ts";
import { fromFetchHeaders, makeBody, readAhead, toFetchHeaders } from "./messages.ts";

/** The second argument of a fetch-style handler. In Hono it is the `env` of the context. */
export interface FetchHandlerInfo {
  /**
   * The request as an app gets it. Read its body only through the first argument of the handler,
   * the `Request` of the Fetch standard.
   */
  readonly request: AppRequest;
  /**
   * The session of the connection, with the peer's certificate and a store for the connection's
   * values.
   */
  readonly session: Session;
  /** The address of the peer, as `Deno.serve` gives it; the path of a Unix peer is empty. */
  readonly remoteAddr: Deno.NetAddr | Deno.UnixAddr;
  /**
   * Resolves when the whole response was sent, that is, handed to the operating system, and rejects
   * with the error that prevented it, for example because the client has disconnected. A rejection
   * that the handler ignores has no effect; a promise that `then()` returns needs a `catch()`.
   */
  readonly completed: Promise<void>;
}

/** A function from a request to a response, both of the Fetch standard. */
export type FetchHandler = (
  request: globalThis.Request,
  info: FetchHandlerInfo,
) => globalThis.Response | Promise<globalThis.Response>;

/**
 * Makes an app from a fetch-style handler: a function, or an object with a method `fetch`, such as
 * a Hono app.
 *
 * Bodies stream in both directions. docs/web.md lists the responses that can't be sent: these are
 * errors, which the server logs, like exceptions of the handler.
 *
 * @param handler The handler, or an object whose method `fetch` is the handler.
 * @param options The origin of the URLs of requests, and the limit of whole bodies.
 * @throws {TypeError} if an argument or an option has a wrong type, or an option is unknown.
 * @throws {RangeError} if a value is not allowed.
 *
 * @example
 * ```ts
 * import { Client, fromFetchHandler, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * const app = fromFetchHandler(async (request) => {
 *   const { pathname } = new URL(request.url);
 *   return Response.json({ pathname, text: await request.text() });
 * });
 * await using server = await Server.start(["127.0.0.1", 0], app);
 * const client = new Client(server.address);
 * const response = await client.request("POST", "/hello", {}, new TextEncoder().encode("world"));
 * assertEquals(await response.body?.json(), { pathname: "/hello", text: "world" });
 * ```
 */
export function fromFetchHandler(
  handler: FetchHandler | { readonly fetch: FetchHandler },
  options: {
    /**
     * The origin of the URLs of requests, such as `"https://device.local"`.
     *
     * @default {http or, for a peer with a certificate, https, and the host header}
     */
    origin?: string | undefined;
    /**
     * The maximum number of bytes that `text`, `json`, `arrayBuffer`, `bytes`, `blob` and
     * `formData` of a request read. If the body is longer, they reject and, if the handler doesn't
     * catch the error, the response is `413 Content Too Large`. The stream `body` has no limit.
     *
     * @default {16777216}
     */
    maxBytes?: number | undefined;
  } = {},
): AppFunction {
  const { origin: originText, maxBytes = MAX_READ_BYTES } = checkOptions(options, {
    origin: checkString,
    maxBytes: (label, value) => checkInteger(label, value, 0, MAX_LENGTH),
  });
  const origin = originText === undefined ? undefined : parseOrigin(originText);
  const HandlerRequest = makeRequestClass(maxBytes);
  const isFunction = typeof handler === "function";
  if (!isFunction && typeof handler?.fetch !== "function") {
    throw wrongTypeError("handler", 'a function or an object with a method "fetch"', handler);
  }
  return async (request, session) => {
    const url = buildUrl(request, origin ?? findOrigin(request, session));
    if (url === null) {
      const problem = `the request for ${quote(request.uri)} has no URL: its host is ` +
        quoteHost(`${request.headers["host"]}`);
      // The log gets the reason.
      markContentError(new TypeError(problem), request);
      return [400, "Bad Request", {}, null];
    }
    const { method, body } = request;
    const fetchRequest = new HandlerRequest(request, url, {
      method,
      headers: toFetchHeaders(request.headers),
      body: body === null ? null : openBody(body),
      signal: session.signal,
    });
    const completed = waitForResponse(session);
    const info = { request, session, remoteAddr: remoteAddrOf(session), completed };
    const response: unknown =
      await (isFunction ? handler(fetchRequest, info) : handler.fetch(fetchRequest, info));
    checkResponse(response);
    try {
      return await makeResponseTuple(response, session);
    } catch (error) {
      // This cancellation fails if the stream is locked. Its reader then has to cancel the stream.
      response.body?.cancel(error).catch(() => {});
      throw error;
    }
  };
}

/**
 * Makes the class of a request whose readers have a limit, and mark the errors of its content, so
 * that the server answers with 413 or 400, as it does for the request of an app. The class has the
 * name that handlers know. Deno loads the class that it extends when this is first called.
 */
const makeRequestClass = (maxBytes: number) =>
  class Request extends globalThis.Request {
    readonly #appRequest: AppRequest;

    constructor(
      appRequest: AppRequest,
      input: string | globalThis.Request,
      init?: RequestInit,
    ) {
      super(input, init);
      this.#appRequest = appRequest;
    }

    override clone(): Request {
      return new Request(this.#appRequest, super.clone());
    }

    override arrayBuffer(): Promise<ArrayBuffer> {
      return this.#read(({ buffer }) => buffer);
    }

    override blob(): Promise<Blob> {
      return this.#read((bytes) => this.#makeResponse(bytes).blob());
    }

    override bytes(): Promise<Uint8Array<ArrayBuffer>> {
      return this.#read((bytes) => bytes);
    }

    override formData(): Promise<FormData> {
      return this.#read((bytes) => this.#makeResponse(bytes).formData());
    }

    override json(): Promise<unknown> {
      return this.#read((bytes) => JSON.parse(new TextDecoder().decode(bytes)));
    }

    override text(): Promise<string> {
      return this.#read((bytes) => new TextDecoder().decode(bytes));
    }

    /** Makes a message of the platform, which parses the bytes by their type. */
    #makeResponse(bytes: Uint8Array<ArrayBuffer>): Response {
      const type = this.headers.get("content-type");
      return new Response(bytes, { headers: type === null ? [] : [["content-type", type]] });
    }

    #read<T>(convert: (bytes: Uint8Array<ArrayBuffer>) => T | Promise<T>): Promise<T> {
      const promise = this.#readAndConvert(convert);
      // If the handler forgets the promise, a client could end the process: it cuts its body.
      promise.catch(() => {});
      return promise;
    }

    async #readAndConvert<T>(
      convert: (bytes: Uint8Array<ArrayBuffer>) => T | Promise<T>,
    ): Promise<T> {
      const { body } = this;
      if (this.bodyUsed || body?.locked) {
        throw new TypeError("the body of the request is in use, or has been read before");
      }
      const bytes = body === null
        ? new Uint8Array(0)
        : await readWholeBody(body, this.#appRequest, maxBytes);
      try {
        return await convert(bytes);
      } catch (error) {
        if (error instanceof Error) markContentError(error, this.#appRequest);
        throw error;
      }
    }
  };

/** Opens the body at the first read, so that the server can drop a body that no handler reads. */
function openBody(body: Body | ChunkedBody): ReadableStream<Uint8Array<ArrayBuffer>> {
  return body.used ? body.readable : readerOf(body).makeStream(true);
}

/** If the announced length exceeds the limit, the handler can still read the stream. */
async function readWholeBody(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  request: AppRequest,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const problem = `the body has more than ${maxBytes} bytes: raise the option maxBytes of ` +
    "fromFetchHandler(), or read the stream request.body";
  const tooLongError = () =>
    markContentError(new BodyError(problem, { code: "TOO_LONG" }), request, 413);
  const length = request.body?.chunked === false ? request.body.contentLength : null;
  if (length !== null && length > maxBytes) throw tooLongError();
  const reader = stream.getReader();
  const collector = length === null ? Collector.upTo(maxBytes) : new Collector(length);
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return collector.toBytes();
    if (value.length > maxBytes - collector.length) {
      const error = tooLongError();
      // The other branch of a clone may still need the body, so don't wait.
      reader.cancel(error).catch(() => {});
      throw error;
    }
    collector.append(value);
  }
}

function checkResponse(response: unknown): asserts response is Response {
  // Cross-runtime packages have their own class of responses, so check the shape.
  const { status, headers, body, bodyUsed } = (response ?? {}) as Partial<Response>;
  if (typeof status !== "number" || typeof headers?.getSetCookie !== "function") {
    throw wrongArgumentError("handler", `must return a Response; got ${typeNameOf(response)}`);
  }
  if (bodyUsed === true || body?.locked === true) {
    throw new BodyError("handler: must return a Response whose body is unused; got a used one");
  }
}

async function makeResponseTuple(
  response: Response,
  { signal }: Session,
): Promise<ResponseTuple> {
  const { status, body } = response;
  const headers = fromFetchHeaders(response.headers, status);
  const reason = response.statusText || findReasonPhrase(status) || "Unknown";
  if (body === null) return [status, reason, headers, null];
  const { "content-length": length, "transfer-encoding": coding } = headers;
  const content = length === undefined && coding === undefined ? await readAhead(body) : body;
  if (!(content instanceof ReadableStream)) return [status, reason, headers, makeBody(content)];
  // The signal cancels the stream if the client disconnects while the server doesn't write.
  const stream = content.pipeThrough(new TransformStream(), { signal });
  // The dictionary of headers has the content-length as a number.
  return [
    status,
    reason,
    headers,
    length === undefined ? stream : new Body(stream, length as number),
  ];
}

function findOrigin({ headers }: AppRequest, { peerCertificate }: Session): string | null {
  const { host: text = "" } = headers;
  const hostHeader = typeof text === "string" ? parseHostHeader(text) : null;
  if (hostHeader === null) return null;
  // A URL has no zone, and no colon without a port.
  const { host, parsed, port } = hostHeader;
  const urlHost = parsed?.type === "IPv6" ? `[${parsed.text}]` : host || "localhost";
  return `${peerCertificate === null ? "http" : "https"}://${urlHost}${port === ":" ? "" : port}`;
}

/** Returns the received spelling of the path, unless an app has changed the path of the request. */
function buildUrl(request: AppRequest, origin: string | null): string | null {
  if (origin === null) return null;
  const uri = request.buildProxyUri();
  const [path = ""] = uri.split("?", 1);
  for (const target of [findReceivedTarget(request), uri]) {
    const url = URL.parse(origin + target);
    if (url === null || !isSameOrigin(url.origin, origin)) return null;
    if (isSamePath(url.pathname, path)) return url.href;
  }
  return null;
}

function findReceivedTarget({ uri, mount }: AppRequest): string {
  const [path = ""] = uri.split("?", 1);
  const components = path.split("/").slice(1 + mount.length);
  return `/${components.join("/")}${uri.slice(path.length)}`;
}

/** @param builtPath A path in the spelling of {@linkcode buildUri}. */
function isSamePath(path: string, builtPath: string): boolean {
  return path === builtPath || buildUri(parseUri(path).path) === builtPath;
}

/**
 * Reports whether a URL has the given origin: URL parsing converts `0x7f.1` and `127.1.` to
 * 127.0.0.1.
 */
function isSameOrigin(urlOrigin: string, givenOrigin: string): boolean {
  return urlOrigin === givenOrigin || normalizeOrigin(urlOrigin) === normalizeOrigin(givenOrigin);
}

function normalizeOrigin(origin: string): string {
  return origin.toLowerCase().replace(origin.startsWith("https:") ? /:443$/ : /:80$/, "");
}

function remoteAddrOf({ address }: Session): Deno.NetAddr | Deno.UnixAddr {
  if (address === null) return { transport: "unix", path: "" };
  return { transport: "tcp", hostname: address[0], port: address[1] };
}

function parseOrigin(origin: string): string {
  const url = URL.parse(origin);
  if (url !== null && /^https?:$/.test(url.protocol) && url.href === `${url.origin}/`) {
    return url.origin;
  }
  throw notAllowedError(
    "origin",
    `must be "http://host" or "https://host:port"; got ${quoteHost(origin)}`,
  );
}
