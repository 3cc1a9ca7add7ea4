/** The first line of a message, rule by rule. uri.rows.ts has the rules of the URI. */

import { makeRefusedRows, type RefusedRow } from "@degu/testing/rows.ts";

export const refusedRequestLines: readonly RefusedRow[] = [
  ...requests("fewer than two spaces", "BAD_REQUEST_LINE", "GET", "GET/HTTP/1.1", "GET /"),
  ...requests("fewer than two spaces", "BAD_REQUEST_LINE", "GET HTTP/1.1"),
  ...requests(
    "a tab in place of a space",
    "BAD_REQUEST_LINE",
    "GET\t/ HTTP/1.1",
    "GET /\tHTTP/1.1",
  ),
  ...requests("no URI", ["BAD_URI", "BAD_PATH", "BAD_REQUEST_LINE"], "GET  HTTP/1.1"),
  ...requests("two spaces together", ["BAD_URI", "BAD_PATH"], "GET  / HTTP/1.1", "GET /  HTTP/1.1"),
  ...requests("a space at the end", ["BAD_URI", "BAD_PATH", "BAD_PROTOCOL"], "GET / HTTP/1.1 "),
  ...requests("the protocol twice", ["BAD_URI", "BAD_PATH"], "GET / HTTP/1.1 HTTP/1.1"),
  ...requests(
    "a space at the beginning",
    ["BAD_METHOD", "BAD_URI", "BAD_PATH"],
    " GET / HTTP/1.1",
  ),
  ...requests("a URI that breaks its rules", ["BAD_URI", "BAD_PATH"], "GET * HTTP/1.1"),
  ...requests("a URI that breaks its rules", ["BAD_URI", "BAD_PATH"], "GET a HTTP/1.1"),
  ...requests("a URI that breaks its rules", ["BAD_URI", "BAD_PATH"], "GET /# HTTP/1.1"),
  ...requests("the absolute form", ["BAD_URI", "BAD_PATH"], "GET http://localhost/ HTTP/1.1"),
  ...requests("a method in another case", "BAD_METHOD", "get / HTTP/1.1", "Get / HTTP/1.1"),
  ...requests("an unknown method", "BAD_METHOD", "GE / HTTP/1.1", "GETS / HTTP/1.1"),
  ...requests("an unsupported method", "BAD_METHOD", "PATCH / HTTP/1.1", "OPTIONS / HTTP/1.1"),
  ...requests("an unsupported method", "BAD_METHOD", "TRACE / HTTP/1.1"),
  ...requests(
    "an unsupported method with its URI",
    ["BAD_METHOD", "BAD_URI", "BAD_PATH"],
    ...["OPTIONS * HTTP/1.1", "CONNECT a:1 HTTP/1.1"],
  ),
  ...requests(
    "a method like a name of Object.prototype",
    "BAD_METHOD",
    ...["constructor / HTTP/1.1", "toString / HTTP/1.1", "__proto__ / HTTP/1.1"],
  ),
  ...requests("a bare CR in a method", "BAD_METHOD", "GET\r / HTTP/1.1"),
  ...requests("a bare CR in a URI", ["BAD_URI", "BAD_PATH"], "GET /a\rb HTTP/1.1"),
  ...requests("another version", "BAD_PROTOCOL", "GET / HTTP/1.0", "GET / HTTP/1.2"),
  ...requests(
    "another version",
    "BAD_PROTOCOL",
    "GET / HTTP/2",
    "GET / HTTP/1.10",
    "GET / HTTP/1.",
  ),
  ...requests("a protocol in another case, or none", "BAD_PROTOCOL", "GET / http/1.1", "GET / "),
  ...requests(
    "a bare CR or a bare LF at the end",
    "BAD_PROTOCOL",
    "GET / HTTP/1.1\r",
    "GET / HTTP/1.1\n",
  ),
  ...requests("a bare CR or a bare LF at the end", "BAD_PROTOCOL", "GET / HTTP/1.1\nhost:a"),
  ...requests(
    "a status line",
    ["BAD_METHOD", "BAD_URI", "BAD_PATH", "BAD_PROTOCOL"],
    "HTTP/1.1 200 OK",
  ),
];

function requests(rule: string, codes: string | readonly string[], ...lines: string[]) {
  return makeRefusedRows(rule, "RFC 9112 §3", codes, ...lines);
}

/** Valid status lines with their status and reason. */
export const acceptedStatusLines: readonly (readonly [
  line: string,
  status: number,
  reason: string,
])[] = [
  ["HTTP/1.1 200 OK", 200, "OK"],
  ["HTTP/1.1 100 Continue", 100, "Continue"],
  ["HTTP/1.1 599 xx", 599, "xx"],
  ["HTTP/1.1 204 No Content", 204, "No Content"],
  ["HTTP/1.1 404 Not-Found 404", 404, "Not-Found 404"],
  ["HTTP/1.1 200   ", 200, "  "],
  ["HTTP/1.1 200  OK", 200, " OK"],
  ["HTTP/1.1 200 OK ", 200, "OK "],
  ["HTTP/1.1 200 --", 200, "--"],
  ["HTTP/1.1 200 00", 200, "00"],
];

export const refusedStatusLines: readonly RefusedRow[] = [
  ...statuses("no status or no reason", "BAD_STATUS_LINE", "HTTP/1.1", "HTTP/1.1 200"),
  ...statuses(
    "no space before the reason",
    ["BAD_STATUS_LINE", "BAD_STATUS", "BAD_REASON"],
    "HTTP/1.1 200OK",
  ),
  ...statuses(
    "a reason of fewer than two bytes",
    ["BAD_REASON", "BAD_STATUS_LINE"],
    ...["HTTP/1.1 200 ", "HTTP/1.1 200 O", "HTTP/1.1 200  "],
  ),
  ...statuses("two spaces together", ["BAD_STATUS_LINE", "BAD_STATUS"], "HTTP/1.1  200 OK"),
  ...statuses("a space at the beginning", "BAD_STATUS_LINE", " HTTP/1.1 200 OK"),
  ...statuses("another version", "BAD_STATUS_LINE", "HTTP/1.0 200 OK", "HTTP/2 200 OK"),
  ...statuses("a protocol in another case", "BAD_STATUS_LINE", "http/1.1 200 OK"),
  ...statuses(
    "a tab in place of a space",
    ["BAD_STATUS_LINE", "BAD_STATUS"],
    "HTTP/1.1 200\tOK",
  ),
  ...statuses("a tab in place of a space", "BAD_STATUS_LINE", "HTTP/1.1\t200 OK"),
  ...statuses("a status below 100", "BAD_STATUS", "HTTP/1.1 000 OK", "HTTP/1.1 099 OK"),
  ...statuses("a status above 599", "BAD_STATUS", "HTTP/1.1 600 OK", "HTTP/1.1 999 OK"),
  ...statuses(
    "a status that is not three digits",
    "BAD_STATUS",
    ...["HTTP/1.1 +20 OK", "HTTP/1.1 2e2 OK", "HTTP/1.1 2:0 OK", "HTTP/1.1 20: OK"],
  ),
  ...statuses(
    "a status that is not three digits",
    ["BAD_STATUS", "BAD_STATUS_LINE", "BAD_REASON"],
    "HTTP/1.1 20 OK",
  ),
  ...statuses("a status of four digits", ["BAD_STATUS", "BAD_STATUS_LINE"], "HTTP/1.1 2000 OK"),
  ...statuses("a byte that no reason has", "BAD_REASON", "HTTP/1.1 200 O.K", "HTTP/1.1 200 Don't"),
  ...statuses("a byte that no reason has", "BAD_REASON", "HTTP/1.1 200 O_K", "HTTP/1.1 200 \xd6K"),
  ...statuses("a control byte in a reason", "BAD_REASON", "HTTP/1.1 200 OK\t", "HTTP/1.1 200 OK\r"),
  ...statuses("a control byte in a reason", "BAD_REASON", "HTTP/1.1 200 OK\nx: y"),
  ...statuses("a request line", ["BAD_STATUS_LINE", "BAD_STATUS"], "GET / HTTP/1.1"),
];

function statuses(rule: string, codes: string | readonly string[], ...lines: string[]) {
  return makeRefusedRows(rule, "RFC 9112 §4", codes, ...lines);
}
