/** Helpers for the rows of the smuggling corpus. */

import type { ModelRequest } from "../fuzz/oracle.ts";

/** What a server makes of the bytes of a row; it closes without a byte after the requests that it accepts. */
export interface Verdict {
  /** The requests that are accepted, each exactly so. */
  readonly accepted: readonly ModelRequest[];
  /** The request target of one more, whose preamble is right and whose body is not. */
  readonly broken?: string;
}

/** A row: what is tried, the bytes, and what has to come of it. */
export interface SmugglingRow extends Verdict {
  readonly name: string;
  readonly bytes: string;
}

/** The bytes that an attacker wants a back end to read as a separate request. */
export const SMUGGLED = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

/** A message with a host. */
export function message(line: string, headers: string, body: string): string {
  return `${line}\r\nhost: a${headers === "" ? "" : `\r\n${headers}`}\r\n\r\n${body}`;
}

/** Refused before any app is called. */
export function refused(name: string, bytes: string): SmugglingRow {
  return { name, bytes, accepted: [] };
}

/** A POST whose headers are refused. */
export function refusedPost(name: string, headers: string, body: string): SmugglingRow {
  return refused(name, message("POST /p HTTP/1.1", headers, body));
}

/** A GET whose request line is refused. */
export function refusedLine(name: string, line: string): SmugglingRow {
  return refused(name, message(line, "", ""));
}

/** A GET with a header line that is refused. */
export function refusedHeader(name: string, line: string): SmugglingRow {
  return refused(name, message("GET /h HTTP/1.1", line, ""));
}

/** A chunked POST whose body is refused when its turn comes. */
export function brokenChunks(name: string, body: string): SmugglingRow {
  return {
    name: `chunks: ${name}`,
    bytes: message("POST /c HTTP/1.1", "transfer-encoding: chunked", body),
    accepted: [],
    broken: "/c",
  };
}

/** A GET that is accepted with headers that have no meaning here. */
export function acceptedHeaders(name: string, headers: Record<string, string>): SmugglingRow {
  const lines = Object.entries(headers).map((entry) => entry.join(": ")).join("\r\n");
  return {
    name,
    bytes: message("GET /h HTTP/1.1", lines, ""),
    accepted: [{ method: "GET", uri: "/h", headers: { host: "a", ...headers }, body: null }],
  };
}

/** A GET that is accepted with this target. */
export function acceptedTarget(name: string, uri: string): SmugglingRow {
  return {
    name,
    bytes: message(`GET ${uri} HTTP/1.1`, "", ""),
    accepted: [{ method: "GET", uri, headers: { host: "a" }, body: null }],
  };
}

/** A GET request without anything. */
export function get(uri: string): ModelRequest {
  return { method: "GET", uri, headers: { host: "a" }, body: null };
}

/** The line that says that a body is chunked. */
export const TE = "transfer-encoding: chunked";
