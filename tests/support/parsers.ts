/**
 * Each parser beside the second statement of its grammar (wire_grammar.ts), and beside the
 * formatter that undoes it.
 */

import { buildUri } from "@degu/degu/base";
import {
  formatChunk,
  formatHeaders,
  formatRequest,
  formatResponse,
  parseChunkHeader,
  parseContentRange,
  parseHeaders,
  parseRange,
  parseRequest,
  parseResponse,
  parseUri,
} from "@degu/degu/misc";
import { readRequest, readResponse } from "../fuzz/oracle.ts";
import { flatten } from "../fuzz/received.ts";
import {
  decodeLatin1,
  encodeLatin1,
  parseReferenceChunkLine,
  parseReferenceContentRange,
  parseReferenceHeaders,
  parseReferenceRange,
  parseReferenceUri,
} from "./wire_grammar.ts";

/** A parser of Latin-1 text; its result has a shape that compares. */
function parser<Parsed>(
  parse: (text: string) => Parsed,
  shape: (parsed: Parsed) => unknown,
  format: (parsed: Parsed) => string | null,
  reference: (text: string) => unknown,
  hasOneForm = true,
) {
  return {
    /** The parsed text; throws if the parser refuses it. */
    read: (text: string) => shape(parse(text)),
    /** The value by the grammar; `null` if the grammar refuses the text. */
    reference,
    /** The text, parsed and formatted; `null` if that would take a large array. */
    again: (text: string) => format(parse(text)),
    /** Whether each value has a single text, apart from its case. */
    hasOneForm,
  };
}

/** A preamble without the end that a formatter gives it. */
const preamble = (bytes: Uint8Array) => decodeLatin1(bytes.subarray(0, -4));

const headers = (isResponse: boolean) =>
  parser(
    (text) => parseHeaders(encodeLatin1(text), isResponse),
    flatten,
    (parsed) => decodeLatin1(formatHeaders(parsed)),
    (text) => parseReferenceHeaders(text, isResponse ? "response" : "request with body"),
    false,
  );

/** The parsers, by their subject. */
export const parsers = {
  "uri": parser(
    parseUri,
    (parsed) => parsed,
    ({ path, query }) => buildUri(path, query),
    parseReferenceUri,
  ),
  "range": parser(parseRange, ({ start, stop }) => ({ start, stop }), String, parseReferenceRange),
  "content-range": parser(
    parseContentRange,
    ({ start, stop, total }) => ({ start, stop, total }),
    String,
    parseReferenceContentRange,
  ),
  "chunk-line": parser(
    (text) => parseChunkHeader(encodeLatin1(text)),
    (parsed) => parsed,
    ({ size, extension }) => {
      if (size > 64) return null;
      return decodeLatin1(formatChunk([extension, new Uint8Array(size)])).split("\r\n")[0]!;
    },
    parseReferenceChunkLine,
  ),
  "headers-of-request": headers(false),
  "headers-of-response": headers(true),
  "request-preamble": parser(
    (text) => parseRequest(encodeLatin1(text)),
    ({ method, uri, headers, path, query }) => ({
      method,
      uri,
      headers: flatten(headers),
      path,
      query,
    }),
    ({ method, uri, headers }) => preamble(formatRequest(method, uri, headers)),
    (text) => {
      const request = readRequest(text);
      return request && { ...request, ...parseReferenceUri(request.uri) };
    },
    false,
  ),
  "response-preamble": parser(
    (text) => parseResponse("GET", encodeLatin1(text)),
    ({ status, reason, headers }) => ({ status, reason, headers: flatten(headers) }),
    ({ status, reason, headers }) => preamble(formatResponse(status, reason, headers)),
    readResponse,
    false,
  ),
};
