/**
 * Each parser with its formatter, and with the independent grammar of wire_grammar.ts.
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
} from "../messages.ts";
import { readRequest, readResponse } from "../../fuzz/oracle.ts";
import { flatten } from "../../fuzz/received.ts";
import {
  decodeLatin1,
  encodeLatin1,
  parseReferenceChunkHeader,
  parseReferenceContentRange,
  parseReferenceHeaders,
  parseReferenceRanges,
  parseReferenceUri,
  readReferenceUri,
  SEVERAL,
} from "@degu/testing/wire_grammar.ts";

/** Makes a parser of Latin-1 text whose results can be compared. */
function makeParser<Parsed>(
  parse: (text: string) => Parsed,
  shape: (parsed: Parsed) => unknown,
  format: (parsed: Parsed) => string | null,
  reference: (text: string) => unknown,
) {
  return {
    /** Returns the parsed text; throws if the parser refuses the text. */
    read: (text: string) => shape(parse(text)),
    /** Returns the value by the grammar; `null` if the grammar refuses the text. */
    reference,
    /** Parses and formats a text; `null` if that would take a large array. */
    reformat: (text: string) => format(parse(text)),
  };
}

/** Decodes a formatted preamble without its empty line. */
const decodePreamble = (bytes: Uint8Array) => decodeLatin1(bytes.subarray(0, -4));

const makeHeadersParser = (isResponse: boolean) =>
  makeParser(
    (text) => parseHeaders(encodeLatin1(text), isResponse),
    flatten,
    (parsed) => decodeLatin1(formatHeaders(parsed)),
    (text) => parseReferenceHeaders(text, isResponse ? "partial response" : "PUT"),
  );

export const parsers = {
  "uri": makeParser(
    parseUri,
    ({ path, query }) => ({ path, query }),
    ({ path, query }) => buildUri(path, query),
    (text) => {
      const uri = readReferenceUri(text);
      return uri === null ? null : parseReferenceUri(uri);
    },
  ),
  "range": makeParser(
    parseRange,
    (parsed) => parsed === null ? SEVERAL : typeof parsed === "string" ? parsed : { ...parsed },
    (parsed) => parsed === null ? null : String(parsed),
    parseReferenceRanges,
  ),
  "content-range": makeParser(
    parseContentRange,
    (parsed) => typeof parsed === "string" ? parsed : { ...parsed },
    String,
    parseReferenceContentRange,
  ),
  "chunk-line": makeParser(
    (text) => parseChunkHeader(encodeLatin1(text)),
    (parsed) => parsed,
    ({ size, extension }) => {
      if (size > 64) return null;
      return decodeLatin1(formatChunk([extension, new Uint8Array(size)])).split("\r\n")[0]!;
    },
    parseReferenceChunkHeader,
  ),
  "headers-of-request": makeHeadersParser(false),
  "headers-of-response": makeHeadersParser(true),
  "request-preamble": makeParser(
    (text) => parseRequest(encodeLatin1(text)),
    ({ method, uri, headers, path, query }) => ({
      method,
      uri,
      headers: flatten(headers),
      path,
      query,
    }),
    ({ method, uri, headers }) => decodePreamble(formatRequest(method, uri, headers)),
    (text) => {
      const request = readRequest(text);
      return request && { ...request, ...parseReferenceUri(request.uri) };
    },
  ),
  "response-preamble": makeParser(
    (text) => parseResponse("GET", encodeLatin1(text)),
    ({ status, reason, headers }) => ({ status, reason, headers: flatten(headers) }),
    ({ status, reason, headers }) => decodePreamble(formatResponse(status, reason, headers)),
    readResponse,
  ),
};
