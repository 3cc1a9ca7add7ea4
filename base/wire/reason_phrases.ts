/** The standard reason phrases of final statuses (200 to 599). */

import { notAllowedError } from "../../internal/checks.ts";
import { checkStatus } from "./preamble.ts";

/** RFC 9110 §15, RFC 6585 §3 to §6, and RFC 4918 §11.5 for 507. */
const REASONS: Readonly<Record<number, string>> = {
  200: "OK",
  201: "Created",
  202: "Accepted",
  203: "Non-Authoritative Information",
  204: "No Content",
  205: "Reset Content",
  206: "Partial Content",
  300: "Multiple Choices",
  301: "Moved Permanently",
  302: "Found",
  303: "See Other",
  304: "Not Modified",
  305: "Use Proxy",
  307: "Temporary Redirect",
  308: "Permanent Redirect",
  400: "Bad Request",
  401: "Unauthorized",
  402: "Payment Required",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  406: "Not Acceptable",
  407: "Proxy Authentication Required",
  408: "Request Timeout",
  409: "Conflict",
  410: "Gone",
  411: "Length Required",
  412: "Precondition Failed",
  413: "Content Too Large",
  414: "URI Too Long",
  415: "Unsupported Media Type",
  416: "Range Not Satisfiable",
  417: "Expectation Failed",
  421: "Misdirected Request",
  422: "Unprocessable Content",
  426: "Upgrade Required",
  428: "Precondition Required",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  505: "HTTP Version Not Supported",
  507: "Insufficient Storage",
  511: "Network Authentication Required",
};

/** Returns the standard reason phrase of a status; `undefined` without one. */
export function findReasonPhrase(status: number): string | undefined {
  return REASONS[status];
}

/**
 * Returns the standard reason phrase of a status.
 *
 * @throws {TypeError} if the status is not a number.
 * @throws {RangeError} if the status is not a final status with a standard reason.
 */
export function reasonOf(status: number): string {
  checkStatus(status, 200, "");
  const reason = findReasonPhrase(status);
  if (reason !== undefined) return reason;
  throw notAllowedError(
    "status",
    `${status} has no standard reason phrase; return [${status}, reason, headers, body]`,
  );
}
