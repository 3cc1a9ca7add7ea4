import type { Response as AppResponse } from "../base/app/message.ts";
import { Body } from "../base/body/body.ts";
import { type BodyOut, cancelSentBody } from "../base/body/sent_body.ts";
import { checkMethods, notAllowedError, wrongArgumentError } from "../internal/checks.ts";
import { copyRepeatedLines, type HeadersToSend } from "../base/wire/headers.ts";
import { mayHaveBody, type Method } from "../base/wire/method.ts";
import { buildUri } from "../base/wire/uri.ts";
import { checkRequest, checkResponse } from "../net/client/client_connection.ts";
import type { Requester } from "../net/client/requester.ts";
import { isRedirectStatus } from "../internal/statuses.ts";
import { originOf, timeoutOf } from "../net/client/connection_pool.ts";
import { plainMessageOf } from "../internal/caught_errors.ts";
import { awaitUntilAborted } from "../internal/pause.ts";
import { quote, quoteHost } from "../internal/quote.ts";
import {
  fromFetchHeaders,
  makeBody,
  NULL_BODY_STATUSES,
  readAhead,
  toFetchHeaders,
} from "./messages.ts";

/**
 * Makes a `fetch` whose requests all go to the server of a client.
 *
 * A URL is a path, or has the origin of the client: its `scheme` and its `host`, or
 * `http://localhost` if the client has no `host`. Only the headers of the client, and the headers
 * that the Fetch standard derives from the body, are added. Redirects are returned, not followed.
 * As with any `fetch`, every failure is a `TypeError` with the error itself as its `cause`, and an
 * abort rejects with the signal's reason. docs/web.md has the details.
 *
 * @param client A client, a pool, a connection, or an object with the same `request`. With a
 * client, each request has its own connection, which is closed once the body of the response has
 * been read or canceled. With a connection, all requests use it, one at a time, and its owner
 * closes it.
 * @throws {TypeError} if the client has no `request`, or a `host` that no URL can have.
 *
 * @example
 * ```ts
 * import { Client, createFetch, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * await using server = await Server.start(["127.0.0.1", 0], async (request) => {
 *   return [200, "OK", {}, `${request.path}: ${await request.body?.text()}`];
 * });
 * const fetch = createFetch(new Client(server.address));
 * const response = await fetch("/hello", { method: "POST", body: "world" });
 * assertEquals(await response.text(), "hello: world");
 * ```
 */
export function createFetch(client: Requester): typeof fetch {
  checkMethods("client", client, ["request"]);
  const originText = originOf(client) ?? "http://localhost";
  const origin = URL.parse(originText);
  if (origin === null) {
    throw wrongArgumentError(
      "client",
      `must have a host that a URL can have; got ${quoteHost(originText)}`,
    );
  }
  return async (input: RequestInfo | URL, initArgument?: RequestInit | null) => {
    const init = initArgument ?? {};
    if ("client" in init) {
      throw new TypeError(
        'init: must not have the option "client", which is for the fetch of Deno',
      );
    }
    const isRequest = input instanceof Request;
    const url = parseUrl(isRequest ? input.url : String(input), origin);
    const request = new Request(isRequest ? input : url, init);
    try {
      return await sendRequest(client, url, request, init.body);
    } catch (error) {
      if (request.body !== null && !request.body.locked) request.body.cancel(error).catch(() => {});
      if (request.signal.aborted) throw request.signal.reason;
      const message = `${request.method} ${request.url}: ${plainMessageOf(error)}`;
      throw new TypeError(message, { cause: error });
    }
  };
}

function parseUrl(text: string, origin: URL): URL {
  const url = URL.parse(text, origin);
  if (url === null) throw wrongArgumentError("input", `must be a URL; got ${quoteHost(text)}`);
  // Errors of a fetch quote the URL, which would show a password.
  if (url.username !== "" || url.password !== "") {
    throw wrongArgumentError(
      "input",
      "must be a URL without a user name and a password; remove them, and set the authorization " +
        "header or the client's option authorization",
    );
  }
  // The request would carry what is meant for another server. A `blob:` URL has the origin of its
  // page, so don't compare the origins.
  if (url.protocol !== origin.protocol || url.host !== origin.host) {
    throw wrongArgumentError(
      "input",
      `must be a path, or a URL of ${origin.origin}, where all requests go; got ${
        quoteHost(url.href)
      }`,
    );
  }
  url.hash = "";
  return url;
}

/** The client would replace the header by its own. */
function checkHostHeader(header: unknown, { host }: URL): void {
  if (header === undefined || `${header}`.toLowerCase() === host) return;
  throw wrongArgumentError(
    'headers["host"]',
    `must be ${host}, the host of the client, or left out; got ${
      quoteHost(`${header}`)
    } (to send ` +
      "another host, set the option host of the client)",
  );
}

async function sendRequest(
  client: Requester,
  url: URL,
  request: Request,
  givenBody: unknown,
): Promise<Response> {
  const { signal, redirect } = request;
  const method = request.method as Method;
  signal.throwIfAborted();
  const uri = toUri(url);
  const headers = fromFetchHeaders(request.headers, null);
  checkHostHeader(headers["host"], url);
  // The framing of a body that was not read yet is checked by the requester.
  const { "content-length": _length, "transfer-encoding": _coding, ...otherHeaders } = headers;
  checkRequest(method, uri, otherHeaders, null);
  const body = await takeBody(request, givenBody, headers, timeoutOf(client));
  // The requester also checks the framing, and cancels an unsent body.
  const options = { signal, duplex: "full" } as const;
  const response = await client.request(method, uri, headers, body, options);
  checkResponse(response);
  if (redirect === "error" && isRedirectStatus(response.status)) {
    const error = new TypeError(
      `a redirect (status ${response.status}), which was forbidden`,
    );
    await response.discard();
    // The response may have come before the whole body was sent.
    cancelSentBody(body, error);
    throw error;
  }
  return await makeResponse(method, url, response);
}

/** Returns the path of a URL, in the spelling of {@linkcode buildUri}, and the query. */
function toUri({ href, pathname }: URL): string {
  // `search` doesn't tell an empty query from none. A fragment isn't sent.
  const [query = ""] = /\?.*/.exec(href.split("#", 1)[0]!) ?? [];
  try {
    return buildUri(pathname.slice(1).split("/").map(decodeURIComponent)) + query;
  } catch (error) {
    if (!(error instanceof URIError)) throw error;
    throw notAllowedError("input", `the path ${quote(pathname)} has an escape that is not UTF-8`);
  }
}

// ───────────────────────── the body of a request

async function takeBody(
  request: Request,
  givenBody: unknown,
  headers: HeadersToSend,
  timeout: number | null,
): Promise<BodyOut> {
  if (givenBody instanceof Blob) return givenBody;
  if (request.body === null) return null;
  if (!mayHaveBody(request.method)) {
    // The requester refuses a body that isn't empty.
    const piece = await readFirstPiece(request.body, request.signal, timeout);
    if (piece !== null) return piece;
    // The framing of an empty body.
    delete headers["content-length"];
    delete headers["transfer-encoding"];
    return null;
  }
  // A `Request` doesn't show whether its body was made from a stream, or from text, bytes or a
  // form.
  const isFixed = givenBody !== undefined && givenBody !== null &&
    (typeof givenBody !== "object" || !(Symbol.asyncIterator in givenBody));
  if (isFixed) return makeBody([await request.bytes()]);
  const { "content-length": length, "transfer-encoding": coding } = headers;
  const content = coding === undefined ? await readAhead(request.body) : request.body;
  if (!(content instanceof ReadableStream)) return makeBody(content);
  return typeof length === "number" ? new Body(content, length) : content;
}

/**
 * Reads the first bytes of a stream, and cancels it; `null` if it is empty, as the body of a DELETE
 * without content in `Deno.serve` is.
 */
async function readFirstPiece(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  signal: AbortSignal,
  timeout: number | null,
): Promise<Uint8Array | null> {
  const reader = stream.getReader();
  const stalled = new AbortController();
  const timer = timeout === null
    ? undefined
    : setTimeout(() => stalled.abort(stalledBodyError(timeout)), timeout * 1000);
  const stopSignal = AbortSignal.any([signal, stalled.signal]);
  let failure: unknown;
  try {
    for (;;) {
      const { done, value } = await awaitUntilAborted(reader.read(), stopSignal);
      if (done) return null;
      if (value.length > 0) return value;
    }
  } catch (error) {
    failure = error;
    throw error;
  } finally {
    clearTimeout(timer);
    reader.cancel(failure).catch(() => {});
  }
}

function stalledBodyError(timeout: number): Error {
  const problem = `the body, which must be empty, had neither a byte nor an end for ${timeout} s`;
  return new Deno.errors.TimedOut(problem);
}

// ───────────────────────── the response

async function makeResponse(
  method: string,
  url: URL,
  appResponse: AppResponse,
): Promise<Response> {
  const { status, reason, body } = appResponse;
  const hasNullBody = body === null || NULL_BODY_STATUSES.has(status) || method === "HEAD";
  if (hasNullBody) await appResponse.discard();
  const headers = toFetchHeaders(appResponse.headers);
  const responseInit = { status, statusText: reason, headers };
  const response = new Response(hasNullBody ? null : body.readable, responseInit);
  // A handler may return this response.
  copyRepeatedLines(appResponse.headers, response.headers);
  // The getter of a response is also configurable.
  Object.defineProperty(response, "url", { value: url.href, configurable: true });
  return response;
}
