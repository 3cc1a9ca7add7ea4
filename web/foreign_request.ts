/**
 * Requests that another server has taken apart, held to the rules of our own.
 *
 * @module
 */

import { ProtocolError, quote } from "../base/errors.ts";
import { parseHeaderLines } from "../base/wire/headers.ts";
import { MAX_PREAMBLE_BYTES } from "../base/wire/limits.ts";
import { isMethod, requestContext, type RequestPreamble } from "../base/wire/preamble.ts";
import { allows, NAME, VALUE } from "../base/wire/tables.ts";
import { parseUri } from "../base/wire/uri.ts";

/**
 * The parts of a request's URL as far as the server has put it together itself: a URL parser would
 * take "/a/../b" for "/b". Over Unix sockets Deno has schemes of its own.
 */
const URL_PARTS = /^(https?|http\+(?:unix|vsock)):\/\/([^/?#]*)([^#]*)(#?)/;
/** What the request line and the line ends take beside method, target and headers. */
const FIXED_BYTES = "  HTTP/1.1\r\n\r\n".length;

const encoder = new TextEncoder();

/**
 * Reads the preamble of a request. What our own server would not have let in is refused as far as it
 * can still be seen.
 *
 * No text becomes bytes before it has been checked as text: a character is never cut down to a byte
 * that would mean something else.
 *
 * @param connected True where it came over a connection, on which there are no fragments.
 * @throws {ProtocolError} if it is refused.
 */
export function readForeignRequest(request: Request, connected: boolean): RequestPreamble {
  const { method } = request;
  if (!isMethod(method)) {
    throw new ProtocolError("BAD_METHOD", `unknown method: ${quote(method)}`);
  }
  const { uri, host } = readTarget(request, connected);
  const { path, query } = parseUri(uri);
  const lines = headerLines(request.headers, host);
  if (method.length + uri.length + lines.length + FIXED_BYTES > MAX_PREAMBLE_BYTES) {
    throw new ProtocolError("PREAMBLE_TOO_LARGE", `more than ${MAX_PREAMBLE_BYTES} bytes`);
  }
  const text = `${lines}\r\n`;
  const bytes = encoder.encode(text);
  const context = requestContext(method);
  const { headers, framing } = parseHeaderLines(bytes, 0, bytes.length, text, 0, context);
  return { method, uri, path, query, headers, framing };
}

/** The target, and the host where only the URL has it, else `null`. */
function readTarget(
  { url, headers }: Request,
  connected: boolean,
): { uri: string; host: string | null } {
  const [, scheme = "", authority = "", uri = "", mark = ""] = URL_PARTS.exec(url) ?? [];
  // Deno hands raw UTF-8 on as characters. Lower case makes ASCII of some that look like it.
  if (scheme === "" || /[^!-~]/.test(url)) {
    throw new ProtocolError("BAD_URI", `bad URL: ${quote(url)}`);
  }
  if (connected && mark !== "") {
    throw new ProtocolError("BAD_URI", `a target with a fragment: ${quote(url)}`);
  }
  const host = headers.get("host");
  if (host !== null) {
    if (sameHost(scheme, authority, host)) return { uri, host: null };
    throw new ProtocolError(
      "BAD_URI",
      `the target is for ${quote(authority)}, the header host says ${quote(host)}`,
    );
  }
  // HTTP/2 says it elsewhere; who translates to HTTP/1.1 has to add it (RFC 9113 §8.3.1). For a
  // socket with a name Deno has made one up.
  const isNamed = authority !== "" && /^https?$/.test(scheme);
  return { uri, host: isNamed ? authority : null };
}

/** Whether two names are those of the same host and port (RFC 9110 §4.2.3). */
function sameHost(scheme: string, one: string, other: string): boolean {
  const defaultPort = scheme === "https" ? /:443$/ : /:80$/;
  const [a, b] = [one, other].map((host) => host.toLowerCase().replace(defaultPort, ""));
  return a === b;
}

function headerLines(headers: Headers, host: string | null): string {
  let lines = host === null ? "" : headerLine("host", host);
  for (const [name, value] of headers) lines += headerLine(name, value);
  return lines;
}

function headerLine(name: string, value: string): string {
  if (!allows(NAME, name)) {
    throw new ProtocolError("BAD_HEADER_NAME", `bad header name: ${quote(name)}`);
  }
  if (!allows(VALUE, value)) {
    throw new ProtocolError("BAD_HEADER_VALUE", `bad value of a header: ${quote(value)}`);
  }
  if (name.toLowerCase() === "authorization") checkAuthorization(value);
  return `${name}: ${value}\r\n`;
}

/** Schemes whose credentials are one token without a comma (RFC 7617 §2, RFC 6750 §2.1). */
const SINGLE_TOKEN = /^(?:basic|bearer)(?![^ ,])/i;
/** A scheme, and at most one token. */
const ONE_TOKEN = /^[a-z]+(?: +[^ ,]+)? *$/i;
/** One of these schemes in a list, which this header is not. */
const LISTED = /, *(?:basic|bearer) /i;

/** A server has joined a header that came twice with a comma, and who reads the first of the two decides. */
function checkAuthorization(value: string): void {
  if (!LISTED.test(value) && (!SINGLE_TOKEN.test(value) || ONE_TOKEN.test(value))) return;
  throw new ProtocolError("DUPLICATE_HEADER", "the header authorization has more than one value");
}
