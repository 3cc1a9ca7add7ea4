/**
 * The framing of messages: a truth table (RFC 9112 §6.3, RFC 9110 §6.4.1), and other headers.
 * requests.rows.ts and responses.rows.ts make messages of the rows.
 */

import type { Method } from "@degu/degu/base";

/**
 * The length in bytes, `"chunked"`, or `null` for no body; `"no chunk"` for a chunked body that must
 * be empty; `"connection"` where the body ends with the connection; else the code of the error that
 * ends the connection.
 */
export type Outcome = number | "chunked" | "no chunk" | "connection" | null | {
  readonly code: string;
};

/** A message with its headers and the expected framing. */
interface FramingRow {
  readonly rule: string;
  readonly rfc: string;
  /** The method of the request, or of the request that the response answers. */
  readonly method: Method;
  /** The status of a response; `undefined` in a request. */
  readonly status?: number;
  readonly lines: readonly string[];
  readonly body: Outcome;
}

const conflict = { code: "CONFLICTING_HEADERS" };
const forbidden = { code: "FORBIDDEN_HEADER" };
const unexpected = { code: "UNEXPECTED_STATUS" };

const LENGTH_5 = "content-length: 5",
  LENGTH_0 = "content-length: 0",
  CHUNKED = "transfer-encoding: chunked";
const COLUMNS = [[], [LENGTH_5], [LENGTH_0], [CHUNKED], [LENGTH_5, CHUNKED], [LENGTH_0, CHUNKED]];

const ANY: readonly Method[] = ["GET", "HEAD", "DELETE", "PUT", "POST", "PATCH", "OPTIONS"];
const NOT_HEAD = ANY.filter((method) => method !== "HEAD");

// deno-fmt-ignore
const TABLE: readonly (readonly [
  rule: string, rfc: string, methods: readonly Method[], statuses: readonly number[] | null, bodies: readonly (Outcome | undefined)[],
])[] = [
  // `undefined`: the message is followed by another. The headers: neither length 5 length 0 chunked both, and with length 0
  ["PUT, POST and PATCH: framing by header, and 0 bytes are a null body", "RFC 9112 §6.3 (3)–(7)",
    ["PUT", "POST", "PATCH"], null,                                         [null,       5,          null,       "chunked",  conflict, conflict]],
  ["GET, HEAD, DELETE and OPTIONS have no body; an empty one is allowed", "RFC 9110 §9.3.1",
    ["GET", "HEAD", "DELETE", "OPTIONS"], null,                             [null,       forbidden,  null,       "no chunk", conflict, conflict]],
  ["a response: framing by header, also of an error status", "RFC 9112 §6.3 (3)–(8)",
    NOT_HEAD, [200, 404],                                                   ["connection", 5,          null,       "chunked",  conflict, conflict]],
  ["a response to HEAD: no body, but framing headers", "RFC 9112 §6.3 (1)",
    ["HEAD"], [200, 404],                                                   [null,       null,       null,       null,       conflict, conflict]],
  ["304: no body, but framing headers", "RFC 9110 §15.4.5",
    ANY, [304],                                                             [null,       null,       null,       null,       conflict, conflict]],
  ["204: no body, whatever its headers announce", "RFC 9112 §6.3 (1)",
    ANY, [204],                                                             [null,       null,       null,       null,       conflict, conflict]],
  ["205: no body without framing headers", "RFC 9110 §15.3.6",
    NOT_HEAD, [205],                                                        [null,       5,          null,       "chunked",  conflict, conflict]],
  ["an interim response has no content", "RFC 9110 §15.2",
    ANY, [100, 103, 199],                                                   [undefined,  unexpected, undefined,  unexpected, conflict, conflict]],
];

const RANGE = "range: bytes=0-1", CONTENT_RANGE = "content-range: bytes 0-4/9";

/** Other headers that affect the body of a message, or seem to. */
const OTHERS: readonly (readonly [
  rule: string,
  rfc: string,
  methods: readonly Method[],
  status: number | null,
  lines: readonly string[],
  body: Outcome,
])[] = [
  ["range alone", "RFC 9110 §14.2", ANY, null, [RANGE], null],
  ["range with a body", "RFC 9110 §14.2", ["PUT", "POST"], null, [RANGE, LENGTH_5], 5],
  ["range with a body", "RFC 9110 §14.2", ["PUT", "POST"], null, [RANGE, CHUNKED], "chunked"],
  ["range with 0 bytes", "RFC 9110 §14.2", ANY, null, [RANGE, LENGTH_0], null],
  [
    "range with an empty chunked body",
    "RFC 9110 §14.2",
    ["GET", "HEAD", "DELETE"],
    null,
    [RANGE, CHUNKED],
    "no chunk",
  ],
  ["content-range in a request", "RFC 9110 §14.4", ANY, null, [CONTENT_RANGE], forbidden],
  ["range in a response", "RFC 9110 §14.2", ["GET", "HEAD"], 200, [RANGE], forbidden],
  ["content-range", "RFC 9110 §14.4", ["GET"], 206, [LENGTH_5, CONTENT_RANGE], 5],
  ["content-range", "RFC 9110 §14.4", ["GET"], 206, [CHUNKED, CONTENT_RANGE], "chunked"],
  [
    "content-range doesn't frame a body",
    "RFC 9110 §14.4",
    ["GET"],
    200,
    [CONTENT_RANGE],
    "connection",
  ],
  ["the end of the connection frames a response", "RFC 9112 §6.3 (8)", NOT_HEAD, 200, [
    "connection: close",
  ], "connection"],
];

const rows: readonly FramingRow[] = [
  ...TABLE.flatMap(([rule, rfc, methods, statuses, bodies]) =>
    methods.flatMap((method) =>
      (statuses ?? [null]).flatMap((status) =>
        bodies.flatMap((body, i) =>
          body === undefined ? [] : [{
            ...{ rule, rfc, method, lines: COLUMNS[i]!, body },
            ...status === null ? {} : { status },
          }]
        )
      )
    )
  ),
  ...OTHERS.flatMap(([rule, rfc, methods, status, lines, body]) =>
    methods.map((method) => ({
      ...{ rule, rfc, method, lines, body },
      ...status === null ? {} : { status },
    }))
  ),
];

export const requestFraming: readonly FramingRow[] = rows.filter((row) => row.status === undefined);
export const responseFraming: readonly FramingRow[] = rows.filter((row) =>
  row.status !== undefined
);

/** Returns messages with each order of the lines, another line after them, and the body. */
export function formatFraming({ method, status, lines, body }: FramingRow): readonly string[] {
  const first = status === undefined ? `${method} /framed HTTP/1.1` : `HTTP/1.1 ${status} xx`;
  const chunks = body === "chunked" ? "5\r\nhello\r\n0\r\n\r\n" : "0\r\n\r\n";
  const isChunked = body === "chunked" || body === "no chunk";
  const encoded = isChunked ? chunks : body === 5 ? "hello" : "";
  const orders = lines.length < 2 ? [lines] : [lines, lines.toReversed()];
  return orders.map((order) => `${[first, ...order, "x: y"].join("\r\n")}\r\n\r\n${encoded}`);
}
