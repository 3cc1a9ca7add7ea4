/** The first line of a message, rule by rule. uri.rows.ts has the rules of the URI. */

import { makeRefusedRows, type RefusedRow } from "@degu/testing/rows.ts";

/** Values of `host` (RFC 9110 §7.2), and the authorities of targets in absolute form. */
export const acceptedHosts: readonly string[] = [
  ...["a", "a:80", "a:", "A.Example", "a_b", "a!$&'()*+,;=b", "%61", "a%20b"],
  ...["127.0.0.1:80", "1.2", "0", "[::1]", "[::1]:80", "[::]:", "[::ffff:1.2.3.4]"],
  // A link-local address with its zone, as many clients send it.
  ...["[fe80::1%eth0]:80", "[fe80::1%25eth0]:80", "[FE80::A%3]", "[febf::1%wlan0.1]"],
  ...["fe80::1%eth0", "fe80::1%eth0:80", "fe80::1%25eth0"],
];

/** Values of `host` that are refused in a request. */
export const refusedHosts: readonly string[] = [
  ...["a b", "a, b", "a/b", "a/b#c", "a?b", "{}", "a\\b", '"a"', "<a>", "caf\xe9", "\xa0a"],
  ...["a\x85"],
  ...["u@a", "u:p@a", "@", "http://a", "a:b", "a:80:80", ":", ":80", "a:-1", "a:+80", "a :80"],
  ...["::1", "[::1", "[::1]x", "[::1]:x", "[]", "[a]", "[::1]80", "[1.2.3.4]", "[:::]", "[v1.a]"],
  ...["a%", "a%2", "a%zz", "fe80::1", "fe80::1:80", "[fe80::1%]", "[fe80::1%e/0]"],
];

export const refusedRequestLines: readonly RefusedRow[] = [
  ...refuseRequests(
    "fewer than two spaces",
    "BAD_REQUEST_LINE",
    ...["GET", "GET/HTTP/1.1", "GET /", "GET HTTP/1.1"],
  ),
  ...refuseRequests(
    "a tab in place of a space",
    "BAD_REQUEST_LINE",
    ...["GET\t/ HTTP/1.1", "GET /\tHTTP/1.1", "GET\t/\tHTTP/1.1"],
  ),
  ...refuseRequests("no URI", ["BAD_URI", "BAD_PATH", "BAD_REQUEST_LINE"], "GET  HTTP/1.1"),
  ...refuseRequests(
    "two spaces together",
    ["BAD_URI", "BAD_PATH"],
    "GET  / HTTP/1.1",
    "GET /  HTTP/1.1",
  ),
  ...refuseRequests(
    "a space at the end",
    ["BAD_URI", "BAD_PATH", "BAD_PROTOCOL"],
    "GET / HTTP/1.1 ",
  ),
  ...refuseRequests("the protocol twice", ["BAD_URI", "BAD_PATH"], "GET / HTTP/1.1 HTTP/1.1"),
  ...refuseRequests(
    "a space at the beginning",
    ["BAD_METHOD", "BAD_URI", "BAD_PATH"],
    " GET / HTTP/1.1",
  ),
  ...refuseRequests("a method in another case", "BAD_METHOD", "get / HTTP/1.1", "Get / HTTP/1.1"),
  ...refuseRequests("an unknown method", "BAD_METHOD", "GE / HTTP/1.1", "GETS / HTTP/1.1"),
  ...refuseRequests(
    "an unsupported method",
    "BAD_METHOD",
    ...["TRACE / HTTP/1.1", "PROPFIND / HTTP/1.1", "patch / HTTP/1.1"],
  ),
  ...refuseRequests(
    "an unsupported method with its URI",
    ["BAD_METHOD", "BAD_URI", "BAD_PATH"],
    ...["OPTIONS * HTTP/1.1", "TRACE http://a/ HTTP/1.1", "CONNECT a:1 HTTP/1.1"],
    ...["CONNECT a: HTTP/1.1"],
  ),
  ...refuseRequests(
    "a method like a name of Object.prototype",
    "BAD_METHOD",
    "constructor / HTTP/1.1",
  ),
  ...refuseRequests(
    "a bare CR in a method",
    ["BAD_METHOD", "BAD_REQUEST_LINE"],
    "GET\r / HTTP/1.1",
  ),
  ...refuseRequests(
    "a bare CR in a URI",
    ["BAD_URI", "BAD_PATH", "BAD_REQUEST_LINE"],
    "GET /a\rb HTTP/1.1",
  ),
  ...refuseRequests(
    "another version",
    "BAD_PROTOCOL",
    ...["GET / HTTP/0.9", "GET / HTTP/1.2", "GET / HTTP/1.10", "GET / HTTP/01.1"],
    ...["GET / HTTP/2", "GET / HTTP/2.0", "PRI * HTTP/2.0"],
  ),
  ...refuseRequests(
    "a protocol in another case, another protocol, or none",
    "BAD_PROTOCOL",
    ...["GET / http/1.1", "GET / RTSP/1.0", "GET / "],
  ),
  ...refuseRequests(
    "a bare CR or a bare LF at the end",
    "BAD_PROTOCOL",
    ...["GET / HTTP/1.1\r", "GET / HTTP/1.1\n", "GET / HTTP/1.1\nhost:a"],
  ),
  ...refuseRequests(
    "a status line",
    ["BAD_METHOD", "BAD_URI", "BAD_PATH", "BAD_PROTOCOL"],
    "HTTP/1.1 200 OK",
  ),
];

function refuseRequests(rule: string, codes: string | readonly string[], ...lines: string[]) {
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
  ["HTTP/1.1 200 OK ", 200, "OK "],
  // An empty reason, or a short one.
  ["HTTP/1.1 200 ", 200, ""],
  // Every visible character, tabs, and bytes above 127.
  ["HTTP/1.1 200 \x80\xa0\xff", 200, "\x80\xa0\xff"],
  ["HTTP/1.1 200 \tO\tK\t", 200, "\tO\tK\t"],
  ["HTTP/1.1 200 !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", 200, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"],
  // HTTP/1.0.
  ["HTTP/1.0 200 OK", 200, "OK"],
];

export const refusedStatusLines: readonly RefusedRow[] = [
  ...refuseStatuses("no status or no reason", "BAD_STATUS_LINE", "HTTP/1.1", "HTTP/1.1 200"),
  ...refuseStatuses(
    "no space before the reason",
    ["BAD_STATUS_LINE", "BAD_STATUS", "BAD_REASON"],
    "HTTP/1.1 200OK",
  ),
  ...refuseStatuses("two spaces together", ["BAD_STATUS_LINE", "BAD_STATUS"], "HTTP/1.1  200 OK"),
  ...refuseStatuses("a space at the beginning", "BAD_STATUS_LINE", " HTTP/1.1 200 OK"),
  ...refuseStatuses(
    "another version",
    "BAD_STATUS_LINE",
    ...["HTTP/0.9 200 OK", "HTTP/1.2 200 OK", "HTTP/2.0 200 OK", "HTTP/1.10 200 OK", "ICY 200 OK"],
  ),
  ...refuseStatuses("a protocol in another case", "BAD_STATUS_LINE", "http/1.1 200 OK"),
  ...refuseStatuses(
    "a tab in place of a space",
    ["BAD_STATUS_LINE", "BAD_STATUS"],
    "HTTP/1.1 200\tOK",
  ),
  ...refuseStatuses("a tab in place of a space", "BAD_STATUS_LINE", "HTTP/1.1\t200 OK"),
  ...refuseStatuses("a status below 100", "BAD_STATUS", "HTTP/1.1 000 OK", "HTTP/1.1 099 OK"),
  ...refuseStatuses("a status above 599", "BAD_STATUS", "HTTP/1.1 600 OK", "HTTP/1.1 999 OK"),
  ...refuseStatuses(
    "a status that is not three digits",
    "BAD_STATUS",
    ...["HTTP/1.1 \xb2\xb3\xb9 OK", "HTTP/1.1 +20 OK", "HTTP/1.1 2e2 OK"],
  ),
  ...refuseStatuses(
    "a status that is not three digits",
    ["BAD_STATUS", "BAD_STATUS_LINE", "BAD_REASON"],
    "HTTP/1.1 20 OK",
  ),
  ...refuseStatuses(
    "a status of four digits",
    ["BAD_STATUS", "BAD_STATUS_LINE"],
    "HTTP/1.1 2000 OK",
  ),
  ...refuseStatuses(
    "a control byte in a reason",
    "BAD_REASON",
    ...["HTTP/1.1 200 O\0", "HTTP/1.1 200 \x1b[31m", "HTTP/1.1 200 O\x7fK", "HTTP/1.1 200 \x0b"],
    ...["HTTP/1.1 200 OK\r", "HTTP/1.1 200 OK\nx: y"],
  ),
  ...refuseStatuses("a request line", ["BAD_STATUS_LINE", "BAD_STATUS"], "GET / HTTP/1.1"),
];

function refuseStatuses(rule: string, codes: string | readonly string[], ...lines: string[]) {
  return makeRefusedRows(rule, "RFC 9112 §4", codes, ...lines);
}
