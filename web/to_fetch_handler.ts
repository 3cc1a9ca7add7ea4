/**
 * Apps as fetch-style handlers.
 *
 * @module
 */

import { api, type App, readApp } from "../base/app/app.ts";
import { cancelAnswer, Request as AppRequest } from "../base/app/message.ts";
import { type BodyIn, type BodyOut, cancelUnused, isConsumed } from "../base/body/bodies.ts";
import { Body } from "../base/body/body.ts";
import { ChunkedBodyIter } from "../base/body/body_iter.ts";
import type { ByteSource } from "../base/body/byte_io.ts";
import { ChunkedBody } from "../base/body/chunked_body.ts";
import { BodyError, ProtocolError, typeName } from "../base/errors.ts";
import type { Framing } from "../base/wire/headers.ts";
import { copyOptions } from "../base/checks.ts";
import { mayHaveBody, type RequestPreamble } from "../base/wire/preamble.ts";
import { makeSafeLogger } from "../base/safe_logger.ts";
import { type Logger, standardLogger } from "../net/standard_logger.ts";
import { type CheckedAnswer, checkResponse } from "../apps/validator.ts";
import { chunkedBody, encodedStreamOf, endingWith, streamOf } from "./bodies.ts";
import { FetchSession, makeSocket } from "./fetch_session.ts";
import { readForeignRequest } from "./foreign_request.ts";
import { headersOf } from "./headers.ts";
import { StreamPieces } from "./stream_pieces.ts";

/** Options of {@linkcode toFetchHandler}. */
export interface ToFetchHandlerOptions {
  /**
   * Gets errors that occur after the response was made: a value in `session.store` that can't be disposed of. A
   * server's logger works, and so does `console`.
   *
   * @default {errors, to stderr}
   */
  logger?: Pick<Logger, "error"> | undefined;
}

/**
 * Makes a fetch-style handler from an app, for servers such as `Deno.serve`.
 *
 * Each request has its own session, because fetch has no connections. An app's `onConnect` is
 * called before each request, with a socket that can't be read or written; unless it returns `true`,
 * the response is 403. A request that our own server would have refused is answered with 400, or with
 * 501 because of its method, as far as a handler can see it: docs/web.md lists what a server may have
 * normalized before. It rejects if the answer is not allowed or the app throws.
 *
 * @param app The app that answers the requests.
 * @param options Where errors are logged.
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
  const { handle, onConnect } = readApp(app, "app");
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
    const life = new FetchSession(request, info, logger);
    const { session, closed } = life;
    closed.catch((reason) => cancelBody(body, reason));
    const end = () => {
      if (isUnread(body)) {
        cancelBody(body, new BodyError("the request was answered, and the rest is gone"));
      }
      life.finish();
    };
    const respond = async () => {
      try {
        if (onConnect !== null && await onConnect(session, makeSocket(info)) !== true) {
          end();
          return new Response(null, { status: 403, statusText: "Forbidden" });
        }
        life.throwIfClosed();
        const appRequest = new AppRequest(method, uri, headers, body, [], path, query);
        const returned = await handle(appRequest, session, api);
        if (session.message !== null) cancelAnswer(returned, body, session.signal.reason);
        life.throwIfClosed();
        return makeResponse(checkResponse(returned, { method, body }), closed, end);
      } catch (error) {
        cancelBody(body, error);
        end();
        throw error;
      }
    };
    // The app may never return, but it can close the session.
    return await Promise.race([respond(), closed]);
  };
}

// ───────────────────────── the request

const noBytes: ByteSource = { read: () => Promise.resolve(null) };

async function makeRequestBody(
  { method, framing, headers }: RequestPreamble,
  stream: ReadableStream<Uint8Array> | null,
): Promise<BodyIn> {
  if (typeof framing === "number") return new Body(stream ?? noBytes, framing);
  if (stream === null) return framing === null ? null : new ChunkedBody(emptyChunked());
  const pieces = new StreamPieces(stream);
  // HTTP/2 frames bodies by itself, and a Request that was made here has no framing at all.
  if (framing === null) {
    if (!await pieces.hasBytes()) return null;
    if (!mayHaveBody(method)) {
      throw new ProtocolError("FORBIDDEN_HEADER", `a request with method ${method} has no body`);
    }
    headers["transfer-encoding"] = "chunked";
  }
  return new ChunkedBody(encodedStreamOf(chunkedBody(pieces)));
}

function isUnread(body: BodyIn): body is NonNullable<BodyIn> {
  return body !== null && !isConsumed(body);
}

/** Makes every read of the body fail, as our own server does when it closes. */
function cancelBody(body: BodyIn, reason: unknown): void {
  body?.cancel(reason).catch(() => {});
}

function emptyChunked(): ReadableStream<Uint8Array> {
  return encodedStreamOf(new ChunkedBodyIter([[null, new Uint8Array(0)]]));
}

/** Our own server would have closed the connection, so the rest of it is not trusted. */
function refusal({ code, message }: ProtocolError): Response {
  const [status, statusText] = code === "BAD_METHOD"
    ? [501, "Not Implemented"]
    : [400, "Bad Request"];
  return new Response(`${message}\n`, { status, statusText, headers: { connection: "close" } });
}

// ───────────────────────── the response

/** Makes a response from what the app returned. */
function makeResponse(
  { status, reason, headers, body: given, framing }: CheckedAnswer,
  closed: Promise<never>,
  end: () => void,
): Response {
  const body = status === 205 ? withoutBody(given, framing) : given;
  const fetchHeaders = headersOf(headers);
  // The server frames the body, perhaps in HTTP/2; it uses a length from here.
  fetchHeaders.delete("transfer-encoding");
  if (typeof framing === "number") fetchHeaders.set("content-length", String(framing));
  const init = { status, statusText: reason, headers: fetchHeaders };
  if (body === null || body instanceof Uint8Array) {
    end();
    return new Response(body as Uint8Array<ArrayBuffer> | null, init);
  }
  return new Response(endingWith(streamOf(body), end, closed), init);
}

/** A `Response` with status 205 has no body, not even an empty one, which is the one that HTTP allows. */
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
