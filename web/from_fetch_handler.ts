/**
 * Fetch-style handlers as apps.
 *
 * @module
 */

import type { AppFunction } from "../base/app/app.ts";
import {
  checkFunction,
  checkInteger,
  checkString,
  copyOptions,
  wrongType,
} from "../base/checks.ts";
import { BodyError, typeName } from "../base/errors.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import type { Request as AppRequest, ResponseTuple } from "../base/app/message.ts";
import type { Session } from "../base/app/session.ts";
import { bodyOfBytes, streamedBody, takeWhole } from "./bodies.ts";
import { type ChooseCookie, dictOf, headersOf } from "./headers.ts";
import { IncomingStream } from "./incoming_stream.ts";
import { reasonPhrase } from "./reason.ts";
import { RequestLife } from "./request_life.ts";
import { quoteUrl } from "./request_url.ts";

/** The second argument of a fetch-style handler. In Hono it is the `env` of the context. */
export interface FetchHandlerInfo {
  /** The request as an app receives it. Don't use its body: read that of the `Request`. */
  readonly request: AppRequest;
  /** The connection: its peer's certificate, and a store for what belongs to it. */
  readonly session: Session;
  /** The address of the peer, as `Deno.serve` gives it; the path of a Unix peer is empty. */
  readonly remoteAddr: Deno.NetAddr | Deno.UnixAddr;
}

/** A function from a request to a response, both of the Fetch standard. */
export type FetchHandler = (
  request: globalThis.Request,
  info: FetchHandlerInfo,
) => globalThis.Response | Promise<globalThis.Response>;

/** Options of {@linkcode fromFetchHandler}. */
export interface FromFetchHandlerOptions {
  /**
   * The origin of the URLs of requests, such as `"https://device.local"`.
   *
   * @default {http or, for a peer with a certificate, https, and the host header}
   */
  origin?: string | undefined;
  /**
   * Chooses the one `set-cookie` header to send, if a response has several.
   *
   * @default {several are an error}
   */
  chooseCookie?: ChooseCookie | undefined;
  /**
   * How many bytes of a request's body, which the handler left unread when it responded with a status below
   * 400, are read and discarded, or `Infinity`; more are an error.
   *
   * @default {1048576}
   */
  maxUnreadBytes?: number | undefined;
}

const OPTIONS = ["origin", "chooseCookie", "maxUnreadBytes"];
const MAX_UNREAD_BYTES = 1048576;

/**
 * Makes an app from a fetch-style handler: a function, or an object with a method `fetch`,
 * as a Hono app is.
 *
 * Bodies stream in both directions. The body of a request must be read before the response; the rest of an
 * unread body is discarded. Anything that the strict grammar has no form for (several `set-cookie` headers, a
 * character, a header's name) is an error that goes to the server's logger, as the handler's exceptions do.
 * docs/web.md lists all of it.
 *
 * @param handler The handler, or an object that has it as its method `fetch`.
 * @param options What requests look like to it.
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
 * await using server = new Server(["127.0.0.1", 0], app);
 * server.serveForever();
 * const client = new Client(server.address);
 * const response = await client.request("POST", "/hello", {}, new TextEncoder().encode("world"));
 * assertEquals(await response.body?.json(), { pathname: "/hello", text: "world" });
 * ```
 */
export function fromFetchHandler(
  handler: FetchHandler | { readonly fetch: FetchHandler },
  options: FromFetchHandlerOptions = {},
): AppFunction {
  const { origin, chooseCookie, maxUnreadBytes = MAX_UNREAD_BYTES } = checkOptions(options);
  const handle = readHandler(handler);
  return async (request, session) => {
    const url = urlOf(request, origin ?? originOf(request, session));
    if (url === null) return [400, "Bad Request", {}, null];
    const life = new RequestLife(session);
    const incoming = hasContent(request) ? new IncomingStream(request.body, life.abort) : null;
    try {
      const response = await handle(
        new Request(url, {
          method: request.method,
          headers: headersOf(request.headers),
          body: incoming?.stream ?? null,
          signal: life.signal,
        }),
        { request, session, remoteAddr: remoteAddrOf(session) },
      );
      checkResponse(response);
      try {
        if (response.body !== null && response.body === incoming?.stream) {
          throw new BodyError("the body of a request can't be the body of its response");
        }
        const headers = dictOf(response.headers, chooseCookie);
        const unread = response.status < 400 ? incoming : null;
        const isHeld = unread?.isHeld === true;
        // An unread clone holds the body just as a reader does whose data the response needs. So the
        // response must be complete without the rest of the body.
        if (isHeld) unread?.abandon();
        else await unread?.drain(maxUnreadBytes);
        const answer = await answerOf(request, response, headers, isHeld, life);
        if (isHeld) await unread?.drain(maxUnreadBytes);
        return answer;
      } catch (error) {
        cancel(response.body, error);
        throw error;
      }
    } finally {
      incoming?.abandon();
      if (!life.isStreaming) life.end();
    }
  };
}

type RequestWithBody = AppRequest & { readonly body: NonNullable<AppRequest["body"]> };

function hasContent(request: AppRequest): request is RequestWithBody {
  return request.body !== null && (request.body.chunked || request.body.contentLength > 0);
}

/**
 * Converts a response to an answer.
 *
 * @param wholeOnly Whether the whole body must be available already.
 */
async function answerOf(
  { method }: AppRequest,
  { status, statusText, body }: Response,
  headers: HeaderDict,
  wholeOnly: boolean,
  life: RequestLife,
): Promise<ResponseTuple> {
  const reason = statusText === "" ? reasonPhrase(status) : statusText;
  if (method === "HEAD") {
    cancel(body, new BodyError("a response to HEAD has no body"));
    return [status, reason, headers, null];
  }
  if (body === null) {
    // Without a length, other clients would wait for the end of the connection.
    const empty = status === 204 || status === 304 ? null : new Uint8Array(0);
    return [status, reason, headers, empty];
  }
  const pieces = life.takePieces(body);
  const whole = await takeWhole(pieces, headers);
  if (whole !== null) return [status, reason, headers, bodyOfBytes(whole)];
  if (!wholeOnly) {
    life.stream(pieces);
    return [status, reason, headers, streamedBody(pieces, headers)];
  }
  const error = new BodyError(
    "the handler has responded with a stream while the body of the request was still being read, " +
      "or held by a clone; read it to its end before the response: none can be made from a body " +
      "that is still arriving",
  );
  pieces.cancel(error);
  throw error;
}

function cancel(body: ReadableStream<Uint8Array> | null, reason: unknown): void {
  // A locked one has another owner.
  body?.cancel(reason).catch(() => {});
}

function checkResponse(response: unknown): asserts response is Response {
  // By its shape: cross-runtime packages bring their own class.
  const { status, headers, body, bodyUsed, type } = (response ?? {}) as Partial<Response>;
  if (typeof status !== "number" || typeof headers?.getSetCookie !== "function") {
    throw new TypeError(`handler: must return a Response; got ${typeName(response)}`);
  }
  if (type === "error" || status < 200) {
    throw new RangeError(`handler: must return a Response with status 200 to 599; got ${status}`);
  }
  if (bodyUsed === true || body?.locked === true) {
    throw new BodyError("handler: must return a Response whose body is unused; got a used one");
  }
}

/** A host and a port, and nothing that could become another part of a URL. */
const HOST = /^([-0-9A-Za-z._~]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$/;

function originOf({ headers }: AppRequest, { peerCertificate }: Session): string | null {
  const { host = "localhost" } = headers;
  if (typeof host !== "string" || !HOST.test(host)) return null;
  return `${peerCertificate === null ? "http" : "https"}://${host}`;
}

/** The URL of a request; `null` if there is no equivalent one. */
function urlOf(request: AppRequest, origin: string | null): string | null {
  if (origin === null) return null;
  const uri = request.buildProxyUri();
  const url = URL.parse(origin + uri);
  // Here `.` is an ordinary component of a path, but URLs can't express it.
  return url !== null && url.href.slice(url.origin.length) === uri ? url.href : null;
}

function remoteAddrOf({ address }: Session): Deno.NetAddr | Deno.UnixAddr {
  if (address === null) return { transport: "unix", path: "" };
  return { transport: "tcp", hostname: address[0], port: address[1] };
}

function readHandler(handler: FetchHandler | { readonly fetch: FetchHandler }): FetchHandler {
  if (typeof handler === "function") return handler;
  if (typeof handler?.fetch === "function") return (request, info) => handler.fetch(request, info);
  throw wrongType("handler", 'a function or an object with a method "fetch"', handler);
}

function checkOptions(options: FromFetchHandlerOptions): FromFetchHandlerOptions {
  const copy = copyOptions(options, OPTIONS);
  const { origin, chooseCookie, maxUnreadBytes } = copy;
  if (origin !== undefined) copy.origin = readOrigin(origin);
  if (chooseCookie !== undefined) checkFunction("chooseCookie", chooseCookie);
  if (maxUnreadBytes !== undefined) checkInteger("maxUnreadBytes", maxUnreadBytes, 0, Infinity);
  return copy;
}

function readOrigin(origin: string): string {
  checkString("origin", origin);
  const url = URL.parse(origin);
  if (url === null || !/^https?:$/.test(url.protocol) || url.href !== `${url.origin}/`) {
    throw new RangeError(
      `origin: must be "http://host" or "https://host:port"; got ${quoteUrl(origin)}`,
    );
  }
  return url.origin;
}
