/**
 * Checks requests that another server parsed by the rules of our own.
 *
 * @module
 */

import { ProtocolError, quote } from "../base/errors.ts";
import { MAX_PREAMBLE_BYTES } from "../base/wire/limits.ts";
import { isMethod, parseRequestPreamble, type RequestPreamble } from "../base/wire/preamble.ts";
import { allows, NAME, VALUE } from "../base/wire/tables.ts";

/**
 * The parts of a request's URL, which the server composed: a URL parser would read "/a/../b"
 * as "/b". Over Unix sockets Deno uses its own schemes.
 */
const URL_PARTS = /^(https?|http\+(?:unix|vsock)):\/\/([^/?#]*)([^#]*)(#?)/;
const encoder = new TextEncoder();

/**
 * Reads the preamble of a request. Whatever our own server would have refused is refused, as far as it can
 * still be detected.
 *
 * All text is checked before it is encoded, so no character turns into bytes with another meaning.
 *
 * @param connected Whether it came over a connection, on which a target has no fragment.
 * @throws {ProtocolError} if it is refused.
 */
export function readForeignRequest(request: Request, connected: boolean): RequestPreamble {
  const { method } = request;
  if (!isMethod(method)) {
    throw new ProtocolError("BAD_METHOD", `unknown method: ${quote(method)}`);
  }
  const { uri, host } = readTarget(request, connected);
  const bytes = encoder.encode(
    `${method} ${uri} HTTP/1.1\r\n${headerLines(request.headers, host)}\r\n`,
  );
  if (bytes.length > MAX_PREAMBLE_BYTES) {
    throw new ProtocolError("PREAMBLE_TOO_LARGE", `more than ${MAX_PREAMBLE_BYTES} bytes`);
  }
  return parseRequestPreamble(bytes, 0, bytes.length);
}

/** The target, and the host if only the URL has it. */
function readTarget(
  { url, headers }: Request,
  connected: boolean,
): { uri: string; host: string | null } {
  const [, scheme = "", authority = "", uri = "", mark = ""] = URL_PARTS.exec(url) ?? [];
  // Deno decodes raw UTF-8, and some characters beyond ASCII become ASCII in lower case.
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
  // HTTP/2 has it in a separate field; a translation to HTTP/1.1 must add it (RFC 9113 §8.3.1).
  // For a Unix socket Deno invents one.
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

/** A server joins duplicate headers with a comma, and readers could differ on which of the two counts. */
function checkAuthorization(value: string): void {
  if (!LISTED.test(value) && (!SINGLE_TOKEN.test(value) || ONE_TOKEN.test(value))) return;
  throw new ProtocolError("DUPLICATE_HEADER", "the header authorization has more than one value");
}
