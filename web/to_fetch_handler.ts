/** Apps as fetch-style handlers. */

import { type App, callHandle, readApp, type Socket } from "../base/app/app.ts";
import { bodyToHeadError, cancelAnswer, Request as AppRequest } from "../base/app/message.ts";
import {
  abortSession,
  disposeStore,
  endSession,
  ownSession,
  Session,
  type SessionOwner,
} from "../base/app/session.ts";
import { type CheckedAnswer, checkResponse } from "../apps/validator.ts";
import { type BodyIn, type BodyOut, cancelUnused, progressOf } from "../base/body/bodies.ts";
import { Body } from "../base/body/body.ts";
import { ChunkedBody } from "../base/body/chunked_body.ts";
import { copyOptions } from "../base/checks.ts";
import { BodyError, ConnectionClosedError, ProtocolError } from "../base/errors.ts";
import { quote, typeName } from "../base/quote.ts";
import { type Logger, makeSafeLogger, standardLogger } from "../net/logger.ts";
import type { Framing } from "../base/wire/headers.ts";
import { MAX_PREAMBLE_BYTES } from "../base/wire/limits.ts";
import {
  isMethod,
  mayHaveBody,
  type Method,
  parseRequestPreamble,
  type RequestPreamble,
} from "../base/wire/preamble.ts";
import { allows, NAME, VALUE } from "../base/wire/tables.ts";
import { messageOf, stackOf } from "../net/thrown.ts";
import { headersOf, NULL_BODY } from "./headers.ts";
import { chunkedBody, encodedStreamOf, streamOf, StreamPieces } from "./streams.ts";

/** The second argument of a fetch-style handler, as `Deno.serve` passes it. */
interface PeerInfo {
  readonly remoteAddr?: Deno.Addr | undefined;
}

/** The logger that learns of errors that no response can report. */
export interface ToFetchHandlerOptions {
  /**
   * Gets errors that occur after the response was made, such as a value in `session.store` that
   * can't be disposed of. A server's logger works, and so does `console`.
   *
   * @default {errors, to stderr}
   */
  logger?: Pick<Logger, "error"> | undefined;
}

/**
 * Makes a fetch-style handler from an app, for servers such as `Deno.serve`.
 *
 * Each request has its own session, because fetch has no connections. An app's `onConnect` is
 * called before each request, with a socket that can't be read or written; unless it returns
 * `true`, the response is 403. A request that our own server would have refused is answered with
 * 400, or with 501 because of its method, as far as a handler can tell: docs/web.md lists what a
 * server may have normalized before. The handler rejects if the answer is not allowed or the app
 * throws.
 *
 * @param app The app that answers the requests.
 * @param options The logger for errors.
 * @throws {TypeError} if `app` is not an app, or an option is unknown or has a wrong type.
 *
 * @example
 * ```ts
 * import { type App, toFetchHandler } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * const app: App = (request) => [200, "OK", { path: request.path.join(" ") }, null];
 * const handler = toFetchHandler(app);
 * // Deno.serve(handler) would serve it.
 * const response = await handler(new Request("http://localhost/hello/world"));
 * assertEquals(response.headers.get("path"), "hello world");
 * ```
 */
export function toFetchHandler(
  app: App,
  options: ToFetchHandlerOptions = {},
): (
  request: globalThis.Request,
  info?: { readonly remoteAddr?: Deno.Addr | undefined },
) => Promise<globalThis.Response> {
  const parts = readApp(app, "app");
  const { onConnect } = parts;
  const { logger: given = standardLogger } = copyOptions(options, ["logger"]);
  const logger = makeSafeLogger(given, ["error"]);
  return async (request, info = {}) => {
    let preamble, body;
    try {
      preamble = readForeignRequest(request, info.remoteAddr !== undefined);
      body = await makeRequestBody(preamble, request.body);
    } catch (error) {
      if (error instanceof ProtocolError) return refusal(error);
      throw error;
    }
    const { method, uri, headers, path, query } = preamble;
    const owner = new FetchSession(request, info, logger);
    const { session, closed } = owner;
    closed.catch((reason) => cancelBody(body, reason));
    const end = () => {
      if (body !== null && !progressOf(body).isConsumed) {
        cancelBody(body, new BodyError("the request was answered, and the rest is gone"));
      }
      owner.finish();
    };
    const respond = async () => {
      try {
        if (onConnect !== null && await onConnect(session, socketOf(info)) !== true) {
          end();
          return new Response(null, { status: 403, statusText: "Forbidden" });
        }
        owner.throwIfClosed();
        const appRequest = new AppRequest(method, uri, headers, body, [], path, query);
        const returned = await callHandle(parts, appRequest, session);
        if (session.message !== null) cancelAnswer(returned, body, session.signal.reason);
        owner.throwIfClosed();
        return makeResponse(method, checkResponse(returned, method, body), closed, end);
      } catch (error) {
        cancelBody(body, error);
        end();
        throw error;
      }
    };
    // The app may never return, but can close the session.
    return await Promise.race([respond(), closed]);
  };
}

// ───────────────────────── the session

/**
 * The session of a request. The signal of the session follows the signal of the request, but
 * listens only once an app has asked for it.
 */
class FetchSession implements SessionOwner {
  readonly session: Session;
  readonly #request: Request;
  readonly #logger: Pick<Logger, "error">;
  readonly #closing = Promise.withResolvers<never>();
  #unfollow: () => void = () => {};

  constructor(request: Request, { remoteAddr }: PeerInfo, logger: Pick<Logger, "error">) {
    this.session = makeSession(remoteAddr);
    this.#request = request;
    this.#logger = logger;
    ownSession(this.session, this);
    // The promise may reject while nothing waits for it.
    this.closed.catch(() => {});
  }

  /** Rejects with the reason when the app closes the session. */
  get closed(): Promise<never> {
    return this.#closing.promise;
  }

  /** Throws the reason if the app has closed the session. */
  throwIfClosed(): void {
    if (this.session.message !== null) this.session.signal.throwIfAborted();
  }

  /** Makes the signal of the session follow the signal of the request. */
  signalWanted(): void {
    const { signal } = this.#request;
    const abort = () => abortSession(this.session, () => signal.reason);
    if (signal.aborted) return abort();
    signal.addEventListener("abort", abort);
    this.#unfollow = () => signal.removeEventListener("abort", abort);
  }

  /** Called when the app has closed the session. */
  sessionClosed(reason: unknown): void {
    if (this.session.message !== null) return;
    this.#end(`closed by the app: ${messageOf(reason)}`, () => reason);
    this.#closing.reject(reason);
  }

  #end(message: string, makeReason: () => unknown): void {
    this.#unfollow();
    endSession(this.session, message);
    abortSession(this.session, makeReason);
  }

  /**
   * Ends the session, and disposes of the values that the app stored for it, like our own server.
   * Never throws: a finished response must not be lost.
   */
  finish(): void {
    const { session } = this;
    const message = "a session has one request where it comes from fetch";
    this.#end(message, () => new ConnectionClosedError(`the session has ended: ${message}`));
    disposeStore(session, (error) => {
      this.#logger.error(`${session}: an error of session.store: ${stackOf(error)}`);
    });
  }
}

function makeSession(remoteAddr: Deno.Addr | undefined): Session {
  if (remoteAddr === undefined || !("hostname" in remoteAddr)) {
    return new Session("fetch", null, 1);
  }
  const { hostname, port } = remoteAddr;
  const host = hostname.includes(":") ? `[${hostname}]` : hostname;
  return new Session(`${host}:${port}`, [hostname, port], 1);
}

/** The facts about the connection, as a socket that can't be read or written. */
function socketOf({ remoteAddr }: PeerInfo): Socket {
  const refuse = () =>
    Promise.reject(new TypeError("a handler of fetch requests has no socket to read or write"));
  return { read: refuse, write: refuse, close() {}, remoteAddr };
}

// ───────────────────────── the request

/**
 * The parts of a request's URL, which the server composed: a URL parser would read "/a/../b" as
 * "/b". Over Unix sockets Deno uses its own schemes.
 */
const URL_PARTS = /^(https?|http\+(?:unix|vsock)):\/\/([^/?#]*)([^#]*)(#?)/;
const encoder = new TextEncoder();

/**
 * Reads the preamble of a request, and refuses what our own server would refuse, as far as that can
 * still be detected.
 *
 * All text is checked before it is encoded, so no character turns into bytes with another meaning.
 * The target of a request from a connection has no fragment.
 */
function readForeignRequest(request: Request, connected: boolean): RequestPreamble {
  const { method } = request;
  if (!isMethod(method)) {
    throw new ProtocolError("BAD_METHOD", `unknown method: ${quote(method)}`);
  }
  const { uri, host } = readTarget(request, connected);
  const bytes = encoder.encode(
    `${method} ${uri} HTTP/1.1\r\n${headerLines(request.headers, host)}\r\n`,
  );
  if (bytes.length > MAX_PREAMBLE_BYTES) {
    throw new ProtocolError("PREAMBLE_TOO_LARGE", `more than ${MAX_PREAMBLE_BYTES} bytes`);
  }
  return parseRequestPreamble(bytes, 0, bytes.length);
}

/** The target, and the host if only the URL has it. */
function readTarget(
  { url, headers }: Request,
  connected: boolean,
): { uri: string; host: string | null } {
  const [, scheme = "", authority = "", uri = "", mark = ""] = URL_PARTS.exec(url) ?? [];
  // Deno decodes raw UTF-8, and some characters beyond ASCII become ASCII in lower case.
  if (scheme === "" || /[^!-~]/.test(url)) {
    throw new ProtocolError("BAD_URI", `bad URL: ${quote(url)}`);
  }
  if (connected && mark !== "") {
    throw new ProtocolError("BAD_URI", `a target with a fragment: ${quote(url)}`);
  }
  const host = headers.get("host");
  if (host !== null) {
    if (sameHost(scheme, authority, host)) return { uri, host: null };
    throw new ProtocolError(
      "BAD_URI",
      `the target is for ${quote(authority)}, the header host says ${quote(host)}`,
    );
  }
  // HTTP/2 has the host in a separate field; a translation to HTTP/1.1 must add the header (RFC
  // 9113 §8.3.1). Deno invents a host for a Unix socket.
  const isNamed = authority !== "" && /^https?$/.test(scheme);
  return { uri, host: isNamed ? authority : null };
}

/** Tells whether two names mean the same host and port (RFC 9110 §4.2.3). */
function sameHost(scheme: string, one: string, other: string): boolean {
  const defaultPort = scheme === "https" ? /:443$/ : /:80$/;
  const [a, b] = [one, other].map((host) => host.toLowerCase().replace(defaultPort, ""));
  return a === b;
}

function headerLines(headers: Headers, host: string | null): string {
  let lines = host === null ? "" : headerLine("host", host);
  for (const [name, value] of headers) lines += headerLine(name, value);
  return lines;
}

function headerLine(name: string, value: string): string {
  if (!allows(NAME, name)) {
    throw new ProtocolError("BAD_HEADER_NAME", `bad header name: ${quote(name)}`);
  }
  if (!allows(VALUE, value)) {
    throw new ProtocolError("BAD_HEADER_VALUE", `bad value of a header: ${quote(value)}`);
  }
  if (name.toLowerCase() === "authorization") checkAuthorization(value);
  return `${name}: ${value}\r\n`;
}

/** Schemes whose credentials are one token without a comma (RFC 7617 §2, RFC 6750 §2.1). */
const SINGLE_TOKEN = /^(?:basic|bearer)(?![^ ,])/i;
/** A scheme, and at most one token. */
const ONE_TOKEN = /^[a-z]+(?: +[^ ,]+)? *$/i;
/** An item of a list with one of these schemes; a valid header of theirs is no list. */
const LISTED = /, *(?:basic|bearer) /i;

/**
 * Refuses joined headers: a server joins duplicates with a comma, and readers could differ on which
 * of them counts.
 */
function checkAuthorization(value: string): void {
  if (!LISTED.test(value) && (!SINGLE_TOKEN.test(value) || ONE_TOKEN.test(value))) return;
  throw new ProtocolError("DUPLICATE_HEADER", "the header authorization has more than one value");
}

async function makeRequestBody(
  { method, framing, headers }: RequestPreamble,
  given: ReadableStream<Uint8Array> | null,
): Promise<BodyIn> {
  if (given === null && framing === null) return null;
  const stream = given ?? ReadableStream.from<Uint8Array>([]);
  if (typeof framing === "number") return new Body(stream, framing);
  const pieces = new StreamPieces(stream);
  // HTTP/2 frames bodies by itself, and a `Request` that was made here has no framing at all.
  if (framing === null) {
    if (!await pieces.hasBytes()) return null;
    if (!mayHaveBody(method)) {
      throw new ProtocolError("FORBIDDEN_HEADER", `a request with method ${method} has no body`);
    }
    headers["transfer-encoding"] = "chunked";
  }
  return new ChunkedBody(encodedStreamOf(chunkedBody(pieces)));
}

/** Makes every read of the body fail, as our own server does when it closes. */
function cancelBody(body: BodyIn, reason: unknown): void {
  body?.cancel(reason).catch(() => {});
}

/**
 * Makes a refusal. Our own server would close the connection, so the rest of the body is not
 * trusted.
 */
function refusal({ code, message }: ProtocolError): Response {
  const [status, statusText] = code === "BAD_METHOD"
    ? [501, "Not Implemented"]
    : [400, "Bad Request"];
  return new Response(`${message}\n`, { status, statusText, headers: { connection: "close" } });
}

// ───────────────────────── the response

/** Makes a response from the app's answer. */
function makeResponse(
  method: Method,
  { status, reason, headers, body: given, framing }: CheckedAnswer,
  closed: Promise<never>,
  end: () => void,
): Response {
  const body = status === 205 ? withoutBody(given, framing) : given;
  const fetchHeaders = headersOf(headers);
  // The server frames the body, perhaps in HTTP/2, and uses a given length.
  fetchHeaders.delete("transfer-encoding");
  if (typeof framing === "number") fetchHeaders.set("content-length", String(framing));
  const init = { status, statusText: reason, headers: fetchHeaders };
  if (method === "HEAD") {
    cancelUnused(body, bodyToHeadError());
    end();
    const isChunked = framing === "chunked" || headers["transfer-encoding"] !== undefined;
    // With `null`, Deno's server would announce the length 0, but a chunked body has no length.
    const unknown = isChunked && !NULL_BODY.has(status) ? new Blob([]).stream() : null;
    return new Response(unknown, init);
  }
  if (body === null || body instanceof Uint8Array) {
    end();
    return new Response(body as Uint8Array<ArrayBuffer> | null, init);
  }
  return new Response(streamOf(body, end, closed), init);
}

/**
 * Removes the body of a response with status 205. A `Response` can't have any there, and HTTP
 * allows only an empty body.
 */
function withoutBody(body: BodyOut, framing: Framing | undefined): null {
  const reason = new RangeError(
    `response.body: must be null or 0 bytes with status 205 (RFC 9110 §15.3.6); got ${
      typeName(body)
    }`,
  );
  cancelUnused(body, reason);
  if (body === null || framing === 0) return null;
  throw reason;
}
