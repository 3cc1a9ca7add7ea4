/**
 * Applications as fetch-style handlers.
 *
 * @module
 */

import type { Api, App, Socket } from "../base/app.ts";
import { bodies, type BodyIn, outgoingFraming } from "../base/bodies.ts";
import { Body } from "../base/body.ts";
import { ChunkedBodyIter } from "../base/body_iter.ts";
import type { ByteSource } from "../base/byte_io.ts";
import { ChunkedBody } from "../base/chunked_body.ts";
import { ProtocolError } from "../base/errors.ts";
import { MAX_PREAMBLE_BYTES } from "../base/limits.ts";
import { Request as AppRequest, type Response as AppResponse } from "../base/message.ts";
import type { ResponseTuple } from "../base/message.ts";
import { parseRequestPreamble, type RequestPreamble } from "../base/preamble.ts";
import { ContentRange, Range } from "../base/range.ts";
import { endSession, Session } from "../base/session.ts";
import { readApp } from "../base/app_parts.ts";
import { checkResponse } from "../rgi/response_rules.ts";
import { chunkedBody, encodedStreamOf, endingWith, streamOf } from "./bodies.ts";
import { headersOf } from "./headers.ts";
import { StreamPieces } from "./stream_pieces.ts";

/** What a server of fetch-style handlers tells beside the request; `Deno.serve` does. */
export interface PeerInfo {
  /** The address of the peer. */
  readonly remoteAddr?: Deno.Addr | undefined;
}

const API: Api = Object.freeze({ ...bodies, Range, ContentRange });

/**
 * Makes a fetch-style handler from an application, so that it runs under `Deno.serve`.
 *
 * Each request is a session of its own: fetch knows no connections. An application's `onConnect` is
 * asked before each request, with a socket that can't be read or written; where it does not return
 * `true` the response is 403. A request that our own server would not have let in is answered with
 * 400, or with 501 where it's the method; what the application may not return, and its exceptions,
 * reject.
 *
 * @throws {TypeError} where `app` is no application.
 *
 * @example
 * ```ts
 * import type { App } from "@degu/degu";
 * import { toFetchHandler } from "@degu/degu/web";
 * import { assertEquals } from "@std/assert";
 *
 * const app: App = (request) => [200, "OK", { path: request.path.join(" ") }, null];
 * const handler = toFetchHandler(app);
 * // Deno.serve(handler) would serve it.
 * const response = await handler(new Request("http://localhost/hello/world"));
 * assertEquals(response.headers.get("path"), "hello world");
 * ```
 */
export function toFetchHandler(app: App): (request: Request, info?: PeerInfo) => Promise<Response> {
  const { handle, onConnect } = readApp(app, "app");
  return async (request, info = {}) => {
    let preamble, body;
    try {
      preamble = parsePreamble(request);
      body = await makeRequestBody(preamble, request.body);
    } catch (error) {
      if (error instanceof ProtocolError) return refusal(error);
      throw error;
    }
    const { method, uri, headers, path, query } = preamble;
    const session = makeSession(info.remoteAddr);
    try {
      if (onConnect !== null && await onConnect(session, makeSocket(info)) !== true) {
        end(session);
        return new Response(null, { status: 403, statusText: "Forbidden" });
      }
      const appRequest = new AppRequest(method, uri, headers, body, [], path, query);
      const answer = await handle(appRequest, session, API);
      await checkResponse(answer, appRequest);
      return makeResponse(appRequest, answer, session);
    } catch (error) {
      end(session);
      throw error;
    }
  };
}

// ───────────────────────── the request

/** Puts the preamble together as it would have arrived, so that the same rules hold for it. */
function parsePreamble(request: Request): RequestPreamble {
  // A server hands the URL over as it came, and a URL parser would take "/a/../b" for "/b".
  const [, host = "", uri = ""] = /^[^:]*:\/\/([^/?#]*)([^#]*)/.exec(request.url) ?? [];
  let text = `${request.method} ${uri} HTTP/1.1\r\n`;
  for (const [name, value] of request.headers) text += `${name}: ${value}\r\n`;
  // HTTP/2 says it elsewhere; who translates to HTTP/1.1 has to add it (RFC 9113 §8.3.1).
  if (!request.headers.has("host") && host !== "") text += `host: ${host}\r\n`;
  text += "\r\n";
  if (text.length > MAX_PREAMBLE_BYTES) {
    throw new ProtocolError("PREAMBLE_TOO_LARGE", `more than ${MAX_PREAMBLE_BYTES} bytes`);
  }
  // Only values of headers can be outside of ASCII, and their characters are bytes.
  const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
  return parseRequestPreamble(bytes, 0, bytes.length);
}

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
    if (method !== "PUT" && method !== "POST") {
      throw new ProtocolError("FORBIDDEN_HEADER", `a request with method ${method} has no body`);
    }
    headers["transfer-encoding"] = "chunked";
  }
  return new ChunkedBody(encodedStreamOf(chunkedBody(pieces)));
}

function emptyChunked(): ReadableStream<Uint8Array> {
  return encodedStreamOf(new ChunkedBodyIter([[null, new Uint8Array(0)]]));
}

function refusal({ code, message }: ProtocolError): Response {
  const init = code === "BAD_METHOD"
    ? { status: 501, statusText: "Not Implemented" }
    : { status: 400, statusText: "Bad Request" };
  return new Response(`${message}\n`, init);
}

function makeSession(remoteAddr: Deno.Addr | undefined): Session {
  if (remoteAddr === undefined || !("hostname" in remoteAddr)) {
    return new Session("fetch", null, 1);
  }
  const { hostname, port } = remoteAddr;
  const host = hostname.includes(":") ? `[${hostname}]` : hostname;
  return new Session(`${host}:${port}`, [hostname, port], 1);
}

/** What is known of the connection. There is none that could be read or written. */
function makeSocket({ remoteAddr }: PeerInfo): Socket {
  const refuse = () =>
    Promise.reject(new TypeError("a handler of fetch requests has no socket to read or write"));
  return { read: refuse, write: refuse, close() {}, remoteAddr };
}

// ───────────────────────── the response

/** Makes a response of what the application has returned, which has been checked. */
function makeResponse(
  { method }: AppRequest,
  answer: ResponseTuple | AppResponse,
  session: Session,
): Response {
  const [status, reason, headers, body] = partsOf(answer);
  const framing = method === "HEAD" || status === 304 ? null : outgoingFraming(body);
  const fetchHeaders = headersOf(headers);
  // How a body is framed is up to the server, which may speak HTTP/2; a length it takes from here.
  fetchHeaders.delete("transfer-encoding");
  if (typeof framing === "number") fetchHeaders.set("content-length", String(framing));
  const init = { status, statusText: reason, headers: fetchHeaders };
  if (body === null || body instanceof Uint8Array) {
    end(session);
    return new Response(body as Uint8Array<ArrayBuffer> | null, init);
  }
  const stream = streamOf(body);
  // What the session keeps may be where the body comes from.
  if (session.store.size > 0) return new Response(endingWith(stream, () => end(session)), init);
  end(session);
  return new Response(stream, init);
}

function partsOf(answer: ResponseTuple | AppResponse): ResponseTuple {
  if (!("status" in answer)) return answer;
  const { status, reason, headers, body } = answer;
  return [status, reason, headers, body];
}

/** Ends a session, and gives up what the application has kept for it, as our own server does. */
function end(session: Session): void {
  endSession(session, "a session has one request where it comes from fetch");
  for (const value of [...session.store.values()].reverse()) {
    (value as Partial<Disposable> | null | undefined)?.[Symbol.dispose]?.();
  }
  session.store.clear();
}
