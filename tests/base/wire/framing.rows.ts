/**
 * What body a message has: the whole table (wire.md §7, RFC 9112 §6.3, RFC 9110 §6.4.1). The rows are run by the parser, by a
 * server and a client over sockets, and through a proxy.
 *
 * @module
 */

import type { Method } from "@degu/degu/base";

/** The length in bytes, `"chunked"`, or `null` for no body; else the code of the error that ends the connection. */
export type Outcome = number | "chunked" | null | { readonly code: string };

/** One message that has these headers. */
export interface FramingRow {
  readonly rule: string;
  readonly rfc: string;
  /** The method of the request, or of the request that the response answers. */
  readonly method: Method;
  /** The status of a response; a request has none. */
  readonly status?: number;
  readonly lines: readonly string[];
  /** What the parser makes of it. */
  readonly framing: Outcome;
  /** What comes out in the end, where that also depends on what the parser doesn't know. */
  readonly body?: Outcome;
}

const LENGTH = "content-length: 5";
const EMPTY = "content-length: 0";
const CHUNKED = "transfer-encoding: chunked";
const RANGE = "range: bytes=0-1";
const CONTENT_RANGE = "content-range: bytes 0-4/9";

const conflicting = { code: "CONFLICTING_HEADERS" };
const forbidden = { code: "FORBIDDEN_HEADER" };
const unexpected = { code: "UNEXPECTED_STATUS" };

type RequestRule = readonly [rule: string, rfc: string, lines: readonly string[], framing: Outcome];

const withBody: readonly RequestRule[] = [
  ["neither header: no body", "RFC 9112 §6.3 (7)", [], null],
  ["content-length", "RFC 9112 §6.3 (6)", [LENGTH], 5],
  ["content-length 0 is a body, too", "RFC 9112 §6.3 (6)", [EMPTY], 0],
  ["transfer-encoding", "RFC 9112 §6.3 (4)", [CHUNKED], "chunked"],
  ["both headers", "RFC 9112 §6.3 (3)", [LENGTH, CHUNKED], conflicting],
  ["both headers, and the length is 0", "RFC 9112 §6.3 (3)", [EMPTY, CHUNKED], conflicting],
  ["range alone", "RFC 9110 §14.2", [RANGE], null],
  ["range with content-length", "RFC 9110 §14.2", [RANGE, LENGTH], conflicting],
  ["range with content-length 0", "RFC 9110 §14.2", [RANGE, EMPTY], conflicting],
  ["range with transfer-encoding", "RFC 9110 §14.2", [RANGE, CHUNKED], conflicting],
  ["content-range in a request", "RFC 9110 §14.4", [CONTENT_RANGE], forbidden],
];

const withoutBody: readonly RequestRule[] = [
  ["neither header: no body", "RFC 9112 §6.3 (7)", [], null],
  ["content-length where no body may be", "RFC 9110 §9.3.1", [LENGTH], forbidden],
  ["content-length 0 where no body may be", "RFC 9110 §9.3.1", [EMPTY], forbidden],
  ["transfer-encoding where no body may be", "RFC 9110 §9.3.1", [CHUNKED], forbidden],
  ["range", "RFC 9110 §14.2", [RANGE], null],
  ["content-range in a request", "RFC 9110 §14.4", [CONTENT_RANGE], forbidden],
];

export const requestFraming: readonly FramingRow[] = [
  ...rowsOf(["PUT", "POST"], withBody),
  ...rowsOf(["GET", "HEAD", "DELETE"], withoutBody),
];

function rowsOf(methods: readonly Method[], rules: readonly RequestRule[]): FramingRow[] {
  return methods.flatMap((method) =>
    rules.map(([rule, rfc, lines, framing]) => ({ rule, rfc, method, lines, framing }))
  );
}

type ResponseRule = readonly [
  rule: string,
  rfc: string,
  request: Method,
  status: number,
  lines: readonly string[],
  framing: Outcome,
  body?: Outcome,
];

const METHODS: readonly Method[] = ["GET", "HEAD", "DELETE", "PUT", "POST"];

const responses: readonly ResponseRule[] = [
  ...METHODS.filter((method) => method !== "HEAD").flatMap((method): ResponseRule[] => [
    ["content-length", "RFC 9112 §6.3 (6)", method, 200, [LENGTH], 5],
    ["content-length 0 is a body, too", "RFC 9112 §6.3 (6)", method, 200, [EMPTY], 0],
    ["transfer-encoding", "RFC 9112 §6.3 (4)", method, 200, [CHUNKED], "chunked"],
    ["an error has a body like any other", "RFC 9112 §6.3 (6)", method, 404, [LENGTH], 5],
    ["neither header: no body", "RFC 9112 §6.3 (8)", method, 200, [], null],
    [
      "neither header, and it ends with the connection: no body",
      "RFC 9112 §6.3 (8)",
      method,
      200,
      ["connection: close"],
      null,
    ],
  ]),
  ["both headers", "RFC 9112 §6.3 (3)", "GET", 200, [LENGTH, CHUNKED], conflicting],
  [
    "both headers, and the length is 0",
    "RFC 9112 §6.3 (3)",
    "GET",
    200,
    [EMPTY, CHUNKED],
    conflicting,
  ],
  ["both headers, to HEAD", "RFC 9112 §6.3 (3)", "HEAD", 200, [LENGTH, CHUNKED], conflicting],
  ["content-range", "RFC 9110 §14.4", "GET", 206, [LENGTH, CONTENT_RANGE], 5],
  ["content-range", "RFC 9110 §14.4", "GET", 206, [CHUNKED, CONTENT_RANGE], "chunked"],
  ["content-range says nothing of a body", "RFC 9110 §14.4", "GET", 200, [CONTENT_RANGE], null],
  ["range in a response", "RFC 9110 §14.2", "GET", 200, [RANGE], forbidden],
  ["range in a response", "RFC 9110 §14.2", "HEAD", 200, [RANGE], forbidden],
  ["to HEAD: never, its headers stay", "RFC 9112 §6.3 (1)", "HEAD", 200, [LENGTH], 5, null],
  ["to HEAD: never, its headers stay", "RFC 9112 §6.3 (1)", "HEAD", 200, [EMPTY], 0, null],
  [
    "to HEAD: never, its headers stay",
    "RFC 9112 §6.3 (1)",
    "HEAD",
    200,
    [CHUNKED],
    "chunked",
    null,
  ],
  ["to HEAD: never", "RFC 9112 §6.3 (1)", "HEAD", 404, [], null],
  ...METHODS.flatMap((method): ResponseRule[] => [
    ["304: never, its headers stay", "RFC 9110 §15.4.5", method, 304, [LENGTH], 5, null],
    ["304: never, its headers stay", "RFC 9110 §15.4.5", method, 304, [CHUNKED], "chunked", null],
    ["304: never", "RFC 9110 §15.4.5", method, 304, [], null],
    ["204: never", "RFC 9110 §15.3.5", method, 204, [], null],
    ["204 with content-length", "RFC 9110 §8.6", method, 204, [LENGTH], 5, unexpected],
    ["204 with content-length 0", "RFC 9110 §8.6", method, 204, [EMPTY], 0, unexpected],
    ["204 with transfer-encoding", "RFC 9112 §6.1", method, 204, [CHUNKED], "chunked", unexpected],
    ["1xx: one request has one response", "RFC 9110 §15.2", method, 100, [], null, unexpected],
    ["1xx: one request has one response", "RFC 9110 §15.2", method, 103, [], null, unexpected],
    ["1xx with content-length", "RFC 9110 §15.2", method, 199, [LENGTH], 5, unexpected],
  ]),
];

export const responseFraming: readonly FramingRow[] = responses.map(
  ([rule, rfc, method, status, lines, framing, body]) => ({
    ...{ rule, rfc, method, status, lines, framing },
    ...body === undefined ? {} : { body },
  }),
);
