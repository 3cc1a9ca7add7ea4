/** The functions that copy or convert headers, which must take linear time. */

import { createFetch, fromFetchHandler, json, ProxyApp, reply, type Requester } from "@degu/degu";
import { type HeadersToSend, Response as AppResponse } from "@degu/degu/base";
import { callApp, mkreq } from "@degu/degu/misc";
import { formatRequest, formatResponse } from "../base/messages.ts";
import { removeHopByHopHeaders } from "@degu/internal/apps/proxy.ts";
import { withDefaultHeaders } from "@degu/internal/net/client/client_connection.ts";
import { PREAMBLE, type Target } from "./check_linear.ts";

/** Prepares headers, and returns the function to measure. */
type Prepare = (headers: HeadersToSend) => () => unknown;

const addedHeaders = { "x-user": "anna" };
const respond = (headers: HeadersToSend): Requester => ({
  request: () => Promise.resolve(new AppResponse(200, "OK", headers, null)),
});
const toPairs = (headers: HeadersToSend) =>
  Object.entries(headers).flatMap(([name, value]) =>
    [value].flat().map((item): [string, string] => [name, String(item)])
  );
const iterate = ({ headers }: { readonly headers: Headers }) => [...headers];

const fetch = createFetch(respond({}));
const bridgedApp = fromFetchHandler(() => new Response());
const iteratingApp = fromFetchHandler((request) => Response.json(iterate(request).length));
const proxy = new ProxyApp(respond({}));

const PREPARATIONS: Readonly<Record<string, Prepare>> = {
  "hop-by-hop headers": (headers) => () => removeHopByHopHeaders(headers),
  "default headers": (headers) => () => withDefaultHeaders(headers, headers),
  "request.with()": (headers) => {
    const request = mkreq("GET", "/", headers);
    return () => request.with({ headers: addedHeaders });
  },
  "a second request.with()": (headers) => {
    const copy = mkreq("GET", "/", headers).with({});
    return () => copy.with({ headers });
  },
  "mkreq()": (headers) => () => mkreq("GET", "/", headers),
  "reply()": (headers) => () => reply(200, "x", headers),
  "json()": (headers) => () => json(1, 200, headers),
  "callApp()": (headers) => () => callApp(() => [200, "OK", headers, null], mkreq("GET", "/")),
  "formatRequest()": (headers) => () => formatRequest("GET", "/", headers),
  "formatResponse()": (headers) => () => formatResponse(200, "OK", headers),
  "the request of fromFetchHandler()": (headers) => {
    const request = mkreq("GET", "/", headers);
    return () => callApp(bridgedApp, request);
  },
  "the iterated request of fromFetchHandler()": (headers) => {
    const request = mkreq("GET", "/", headers);
    return () => callApp(iteratingApp, request);
  },
  "the response of fromFetchHandler()": (headers) => {
    const response = new Response(null, { headers: toPairs(headers) });
    return () => callApp(fromFetchHandler(() => response), mkreq("GET", "/"));
  },
  "the request of createFetch()": (headers) => () => fetch("/", { headers: toPairs(headers) }),
  "the Headers of createFetch()": (headers) => {
    const fetchHeaders = new Headers(toPairs(headers));
    return () => fetch("/", { headers: fetchHeaders });
  },
  "the Request of createFetch()": (headers) => {
    const request = new Request("http://localhost/", { headers: toPairs(headers) });
    return () => fetch(request);
  },
  "a Request as init of createFetch()": (headers) => {
    const request = new Request("http://localhost/", { headers: toPairs(headers) });
    return () => fetch("/", request);
  },
  "the response of createFetch()": (headers) => {
    const fetchFromServer = createFetch(respond(headers));
    return async () => iterate(await fetchFromServer("/"));
  },
  "the request of ProxyApp": (headers) => {
    const request = mkreq("GET", "/", headers);
    return () => callApp(proxy, request);
  },
  "the response of ProxyApp": (headers) => {
    const responding = new ProxyApp(respond(headers));
    return () => callApp(responding, mkreq("GET", "/"));
  },
};

/** Makes the value of a header of any text. */
function makeValue(text: string): string {
  return text.replace(/[^ -~]/g, "-").trim() || "-";
}

const LINES = 50;
/** The bytes of a line without its value. */
const LINE_BYTES = 16;

/** Makes headers of which one half is `connection`, and the other half other headers. */
function makeManyHeaders(text: string): HeadersToSend {
  const half = Math.floor(text.length / 2);
  const headers: HeadersToSend = { connection: makeValue(text.slice(0, half)) };
  for (let i = 0; i < LINES; i++) headers[`x-${i}`] = "1".repeat(half / LINES - LINE_BYTES);
  return headers;
}

/** Makes headers with a `connection` of different options, which have three characters. */
function makeManyOptions(text: string): HeadersToSend {
  const options = [makeValue(text.slice(0, text.length / 8))];
  for (let i = 0; i < text.length / 5; i++) options.push((36 ** 2 + i).toString(36));
  return { connection: options.join(",") };
}

/** Makes headers with many lines of `set-cookie`. */
function makeManyCookies(text: string): HeadersToSend {
  return {
    "set-cookie": new Array<string>(LINES).fill("a".repeat(text.length / LINES - LINE_BYTES)),
  };
}

/**
 * The functions by name, each with many headers, with many options of `connection`, and with many
 * lines of `set-cookie`.
 */
export const HEADER_TARGETS: ReadonlyMap<string, Target> = new Map(
  Object.entries(PREPARATIONS).flatMap(([name, prepare]): [string, Target][] => [
    [`${name}, headers`, {
      longLength: PREAMBLE,
      make: (text) => prepare(makeManyHeaders(text)),
    }],
    [`${name}, options`, {
      longLength: PREAMBLE,
      make: (text) => prepare(makeManyOptions(text)),
    }],
    [`${name}, cookies`, {
      longLength: PREAMBLE,
      make: (text) => prepare(makeManyCookies(text)),
    }],
  ]),
);
