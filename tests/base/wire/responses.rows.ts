/**
 * Responses: the bytes of a server after one request, and what a client must read. Text is Latin-1,
 * one character per byte.
 */

import type { Method } from "@degu/degu/base";
import { formatErrorResponse } from "../../net/server/error_answers.ts";
import { formatLabel } from "@degu/testing/expectations.ts";
import type { RefusedRow } from "@degu/testing/rows.ts";
import { acceptedTrailers, paddedCodings, refusedResponseCodings } from "./chunk.rows.ts";
import { formatFraming, type Outcome, responseFraming } from "./framing.rows.ts";
import { acceptedBlocks, chunkedLines } from "./headers.rows.ts";
import { acceptedStatusLines, refusedStatusLines } from "./preamble.rows.ts";
import { blocksOfPreamble, CLOSE_OPTIONS, OTHER_OPTIONS } from "./requests.rows.ts";
import { acceptedContentLengths } from "./range.rows.ts";

export interface ResponseRow {
  readonly rule: string;
  readonly name: string;
  readonly method: Method;
  readonly bytes: string;
  /** The possible codes of the client's error; none if the client accepts the response. */
  readonly codes: readonly string[];
}

type Codes = string | readonly string[] | null;

function makeRows(
  rule: string,
  codes: Codes,
  list: readonly string[],
  method: Method = "GET",
): ResponseRow[] {
  return list.map((bytes) => ({
    name: `${rule}: ${method} ${formatLabel(bytes)}`,
    ...{ rule, method, bytes, codes: codes === null ? [] : [codes].flat() },
  }));
}

const OK = "HTTP/1.1 200 OK\r\n";
const TE = "transfer-encoding: chunked\r\n";
const FINAL = `${OK}content-length: 0\r\n\r\n`;
const FORGED = "HTTP/1.1 200 Forged\r\ncontent-length: 0\r\n\r\n";

/** Returns a row for each text of the rows. */
function makeRefused(
  list: readonly RefusedRow[],
  bytesOf: (text: string) => string,
  ...codes: readonly string[]
): ResponseRow[] {
  return list.flatMap((row) =>
    makeRows(`${row.rule} (${row.rfc})`, [...row.codes, ...codes], [bytesOf(row.text)])
  );
}

const findFramingCode = (body: Outcome): string | null =>
  body !== null && typeof body === "object" ? body.code : null;

const HTTP10_CODES = ["BAD_TRANSFER_ENCODING", "CONFLICTING_HEADERS", "FORBIDDEN_HEADER"];

const INVALID_CODES = [
  ...["BAD_HEADER_NAME", "FORBIDDEN_HEADER", "CONFLICTING_HEADERS", "DUPLICATE_HEADER"],
  "BAD_CONTENT_LENGTH",
];

const makeClosing = (value: string, lines = "", body = "") =>
  `${OK}connection: ${value}\r\n${lines}\r\n${body}`;

const makeLong = (size: number, lines: string) =>
  `${OK}${lines}a: `.padEnd(size - 4, "b") + "\r\n\r\n";

const makeStatus = (status: number | string, lines = "") => `HTTP/1.1 ${status} xx\r\n${lines}\r\n`;

/** Incomplete responses, which the client refuses without waiting for the rest. */
const bareLineEnds: readonly (readonly [bytes: string, code: string])[] = [
  ["HTTP/1.1 200 OK\n", "BAD_REASON"],
  ["HTTP/1.1 200 OK\rx", "BAD_REASON"],
  ["HTTP/1.1 20\n", "BAD_STATUS_LINE"],
  ["HTTP/1.0 200 OK\n", "BAD_REASON"],
  ["HTTP/1.1 200 \n", "BAD_REASON"],
  ["HTTP/1.2 200 OK\n", "BAD_STATUS_LINE"],
  [`${OK}a: b\n`, "BAD_HEADER_VALUE"],
  [`${OK}a: b\r\r`, "BAD_HEADER_VALUE"],
  [`${OK}a\n`, "BAD_HEADER_NAME"],
  [`${OK}\n`, "BAD_HEADER_NAME"],
  [`${OK}${TE}\r\n5\n`, "BAD_CHUNK_LINE"],
  [`${OK}${TE}\r\n5\rx`, "BAD_CHUNK_LINE"],
  [`${OK}${TE}\r\n5;a=b\n`, "BAD_CHUNK_EXTENSION"],
];

/** Responses after which the connection is usable. */
const complete: readonly string[] = [
  ...["0", "00"].map((length) => makeStatus(204, `content-length: ${length}\r\n`)),
  ...acceptedContentLengths.filter(([, length]) => length < 1000)
    .map(([text, length]) => makeStatus(200, `content-length:${text}\r\n`) + "x".repeat(length)),
  ...chunkedLines.map((line) => `${OK}${line}\r\n\r\n05 ; a\r\nhello\r\n000\r\n\r\n`),
  ...acceptedTrailers.map((lines) => `${OK}${TE}\r\n5\r\nhello\r\n0\r\n${lines}\r\n`),
  ...[200, 201, 203, 205, 206, 299, 300, 305, 400, 599].map((status) =>
    makeStatus(status, "content-length: 0\r\n")
  ),
  ...acceptedStatusLines.filter(([, status]) => status >= 200)
    .map(([line, status]) => `${line}\r\n${status === 204 ? "" : "content-length: 0\r\n"}\r\n`),
  ...acceptedBlocks.map(({ text }) =>
    `${OK}${text === "" ? "" : `${text}\r\n`}content-length: 0\r\n\r\n`
  ),
  ...acceptedContentLengths.map(([length]) => makeStatus(304, `content-length: ${length}\r\n`)),
  `${OK}${TE}\r\n5;a=b\r\nhello\r\n0;c=d\r\n\r\n`,
  `${OK}${TE}\r\nA;a="b;c"\r\nhellohello\r\n0\r\n\r\n`,
  makeLong(32768, "content-length: 5\r\n") + "hello",
  `${OK}${"a: b\r\n".repeat(127)}content-length: 5\r\n\r\nhello`,
];

/** Complete responses: a byte after them is not a part of them, or of another response. */
const ended: readonly (readonly [method: Method, response: string])[] = [
  ["HEAD", `${OK}content-length: 23\r\n\r\n`],
  ["GET", makeStatus(304, "content-length: 9\r\n")],
  ["GET", makeStatus(204)],
  ["GET", `${OK}content-length: 2\r\n\r\nhi`],
  ["GET", `${OK}content-length: 0\r\n\r\n`],
  ["GET", `${OK}${TE}\r\n2\r\nhi\r\n0\r\n\r\n`],
];

export const responseRows: readonly ResponseRow[] = [
  ...makeRefused(refusedStatusLines, (line) => `${line}\r\n\r\n`, "BAD_STATUS_LINE"),
  ...makeRefused(blocksOfPreamble, (block) => `${OK}${block}\r\n\r\n`),
  ...makeRefused(refusedResponseCodings, (text) => `${OK}${TE}\r\n${text}`),
  ...makeRows(
    "white space at the end of a chunk header",
    null,
    paddedCodings.map((text) => `${OK}${TE}\r\n${text}`),
  ),
  ...responseFraming.flatMap((row) =>
    makeRows(
      `${row.rule} (${row.rfc})`,
      findFramingCode(row.body),
      formatFraming(row),
      row.method,
    )
  ),
  ...bareLineEnds.flatMap(([bytes, code]) => makeRows("a bare line end", code, [bytes])),
  ...makeRows("no preamble", "EMPTY_PREAMBLE", ["\r\n\r\n"]),
  ...makeRows("a line before the first", "BAD_STATUS_LINE", [`\r\n${OK}\r\n`, "nonsense\r\n\r\n"]),
  ...makeRows("another version, with a body", "BAD_STATUS_LINE", [
    `HTTP/1.2 200 OK\r\n${TE}\r\n0\r\n\r\n`,
    "HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
  ]),
  ...makeRows("HTTP/1.0 with chunks (RFC 9112 §6.1)", HTTP10_CODES, [
    `HTTP/1.0 200 OK\r\n${TE}\r\n0\r\n\r\n`,
    ...[204, 304, 404].map((status) => `HTTP/1.0 ${status} xx\r\n${TE}\r\n`),
    `HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n${TE}\r\n0\r\n\r\n`,
    `HTTP/1.0 100 xx\r\n${TE}\r\n${FINAL}`,
  ]),
  ...makeRows("HTTP/1.0 with chunks (RFC 9112 §6.1)", HTTP10_CODES, [
    `HTTP/1.0 200 OK\r\n${TE}\r\n`,
  ], "HEAD"),
  // The client doesn't use the connection again.
  ...makeRows("HTTP/1.0", null, [
    "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.0 204 \r\n\r\n",
    "HTTP/1.0 304 xx\r\ncontent-length: 5\r\n\r\n",
    "HTTP/1.0 205 xx\r\n\r\n",
    `HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello${FORGED}`,
    "HTTP/1.0 200 OK\r\n\r\nhello",
    "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n\r\n",
  ]),
  ...makeRows("HTTP/1.0", null, ["HTTP/1.0 200 OK\r\n\r\n"], "HEAD"),
  ...makeRows("too large", "PREAMBLE_TOO_LARGE", [
    `${OK}a: ${"b".repeat(32768)}`,
    makeLong(32769, ""),
    makeLong(32769, "content-length: 5\r\n"),
    `${OK}${"a: b\r\n".repeat(128)}content-length: 5\r\n\r\nhello`,
    `${OK}${"set-cookie: a=b\r\n".repeat(129)}\r\n`,
  ]),
  // Interim responses are skipped (RFC 9110 §15.2).
  ...[100, 102, 103, 150, 199].flatMap((status) => {
    const list = ["", "link: a\r\n", "content-length: 0\r\n", "content-length:00\r\n"].map(
      (lines) => makeStatus(status, lines) + FINAL,
    );
    return [
      ...makeRows("interim", null, list),
      ...makeRows("interim", null, [makeStatus(status) + makeStatus(204)], "PUT"),
      ...makeRows("interim with content", "UNEXPECTED_STATUS", [
        ...[TE, "content-length: 2\r\n"].map((line) => makeStatus(status, line)),
        `${makeStatus(status, "content-length: 2\r\n")}hi${FINAL}`,
        `${makeStatus(status, TE)}0\r\n\r\n${FINAL}`,
      ]),
    ];
  }),
  ...makeRows("interim", null, [
    `HTTP/1.1 100 \r\n\r\n${FINAL}`,
    `HTTP/1.0 100 Continue\r\n\r\n${FINAL}`,
    makeStatus(100) + makeStatus(102) + makeStatus(103, "link: a\r\nlink: b\r\n") + FINAL,
    makeStatus(103).repeat(32) + FINAL,
    `${makeStatus(100)}${OK}\r\nhello`,
    `${makeStatus(100)}HTTP/1.0 200 OK\r\n\r\nhello`,
    "HTTP/1.1 103 xx\r\na: ".padEnd(32764, "b") + "\r\n\r\n" + FINAL,
  ]),
  ...makeRows("interim", "PREAMBLE_TOO_LARGE", [
    "HTTP/1.1 103 xx\r\na: ".padEnd(32765, "b") + "\r\n\r\n" + FINAL,
  ]),
  ...makeRows("33 interim responses", "UNEXPECTED_STATUS", [makeStatus(103).repeat(33) + FINAL]),
  ...makeRows("an invalid interim response", INVALID_CODES, [
    makeStatus(100, "a : b\r\n") + FINAL,
    makeStatus(103, "range: bytes=0-1\r\n") + FINAL,
    makeStatus(100, `content-length: 0\r\n${TE}`) + FINAL,
    makeStatus(100, "content-length: 0\r\ncontent-length: 0\r\n") + FINAL,
    makeStatus(100, "content-length: x\r\n") + FINAL,
  ]),
  ...["", "connection: upgrade\r\nupgrade: websocket\r\n"].flatMap((lines) =>
    makeRows("101", "UNEXPECTED_STATUS", [makeStatus(101, lines), makeStatus(101, lines) + FINAL])
  ),
  // The connection isn't used again, and these bytes aren't read.
  ...["content-length: 5\r\n", TE].flatMap((line) =>
    makeRows("204 that announces content", null, [
      makeStatus(204, line),
      `${makeStatus(204, line)}hello`,
      makeStatus(204, line) + FORGED,
    ])
  ),
  // A 205 has no content (RFC 9110 §15.3.6), but RFC 9112 §6.3 doesn't list it as empty.
  ...makeRows("205 without a length", null, [
    makeStatus(205),
    makeStatus(205, "x: y\r\n"),
    `${makeStatus(205)}hello`,
    makeStatus(205) + FORGED,
  ]),
  // The body ends with the connection (RFC 9112 §6.3, case 8).
  ...[`${OK}\r\n`, makeStatus(404)]
    .concat([...CLOSE_OPTIONS, ...OTHER_OPTIONS].map((value) => makeClosing(value)))
    .flatMap((bytes) => makeRows("without a length", null, [bytes, `${bytes}h`, bytes + FORGED])),
  ...makeRows("without a length", null, [`${OK}\r\n0\r\n\r\n`, `${OK}\r\n${"h".repeat(100_000)}`]),
  ...makeRows("complete", null, complete),
  ...makeRows("connection: close", null, [
    ...CLOSE_OPTIONS.map((value) => makeClosing(value, "content-length: 2\r\n", "hi")),
    ...CLOSE_OPTIONS.map((value) => makeClosing(value, "content-length: 0\r\n")),
    makeClosing("close", TE, "5\r\nhello\r\n0\r\n\r\n"),
    ...[204, 304].map((status) => makeStatus(status, "connection: close\r\n")),
    formatErrorResponse(400),
    formatErrorResponse(500),
  ]),
  ...makeRows("connection: close", null, [makeClosing("close")], "HEAD"),
  ...makeRows(
    "another connection option",
    null,
    OTHER_OPTIONS.map((value) => makeClosing(value, "content-length: 0\r\n")),
  ),
  ...ended.flatMap(([method, response]) =>
    makeRows("bytes after the response", null, [`${response}H`, response + FORGED], method)
  ),
];

/** A row of each rule, and all rows about bare line ends, and bytes after the response. */
export const someResponseRows: readonly ResponseRow[] = responseRows.filter(({ rule }, i) =>
  rule !== responseRows[i - 1]?.rule || /^(a bare line end|bytes after)/.test(rule)
);
