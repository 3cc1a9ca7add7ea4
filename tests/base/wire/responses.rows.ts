/**
 * Responses: the bytes of a server after one request, and what a client must read. Text is Latin-1,
 * one character per byte.
 */

import type { Method } from "@degu/degu/base";
import { formatErrorResponse } from "@degu/testing/error_answers.ts";
import { formatLabel } from "@degu/testing/expectations.ts";
import type { RefusedRow } from "@degu/testing/rows.ts";
import { refusedCodings } from "./chunk.rows.ts";
import { formatFraming, type Outcome, responseFraming } from "./framing.rows.ts";
import { acceptedBlocks } from "./headers.rows.ts";
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
  body === "unframed"
    ? "UNFRAMED_BODY"
    : body !== null && typeof body === "object"
    ? body.code
    : null;

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
  ["HTTP/1.0 200 OK\n", "BAD_STATUS_LINE"],
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
  makeLong(32768, "content-length: 0\r\n"),
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
  ...makeRefused(refusedCodings, (text) => `${OK}${TE}\r\n${text}`),
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
    `HTTP/1.0 200 OK\r\n${TE}\r\n0\r\n\r\n`,
    "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
  ]),
  ...makeRows("too large", "PREAMBLE_TOO_LARGE", [
    `${OK}a: ${"b".repeat(32768)}`,
    makeLong(32769, ""),
    makeLong(32769, "content-length: 5\r\n"),
  ]),
  // Interim responses are refused (RFC 9110 §15.2).
  ...[100, 101, 103, 150, 199].flatMap((status) =>
    ["", "connection: close\r\n", "link: a\r\n"].flatMap((lines) => {
      const bytes = makeStatus(status, lines);
      return makeRows("interim", "UNEXPECTED_STATUS", [bytes + FINAL, bytes, `${bytes}hello`]);
    })
  ),
  ...makeRows("204 with a body", "UNEXPECTED_STATUS", [
    `${makeStatus(204, "content-length: 5\r\n")}hello`,
  ]),
  // The length of a body without framing is unknown (RFC 9112 §6.3, case 8).
  ...[`${OK}\r\n`, makeStatus(205, "x: y\r\n"), makeStatus(404)]
    .concat([...CLOSE_OPTIONS, ...OTHER_OPTIONS].map((value) => makeClosing(value)))
    .flatMap((bytes) =>
      makeRows("without a length", "UNFRAMED_BODY", [bytes, `${bytes}h`, bytes + FORGED])
    ),
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
