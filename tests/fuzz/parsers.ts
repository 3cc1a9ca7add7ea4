/**
 * The parsers, compared with an oracle and with their formatters; and the formatters, which either
 * refuse the values of a careless app, or write exactly these values.
 */

import type { Method } from "@degu/internal/base/wire/method.ts";
import type { HeadersToSend } from "@degu/internal/base/wire/headers.ts";
import { formatChunk, formatRequest, formatResponse, parseUri } from "../base/messages.ts";
import { buildUri } from "@degu/internal/base/wire/uri.ts";
import {
  ContentRange,
  Range,
  SuffixRange,
  UnsatisfiedRange,
} from "@degu/internal/base/wire/range.ts";
import { parsers } from "../base/wire/parsers.ts";
import {
  decodeLatin1,
  encodeLatin1,
  type FlatHeaders,
  parseReferenceChunkHeader,
  parseReferenceContentRange,
  parseReferenceNumber,
  parseReferenceRanges,
  parseReferenceUri,
  readReferenceUri,
  respellReferencePath,
} from "../support/wire_grammar.ts";
import { demand, type Fuzzer, isPeerError, type Outcome } from "./fuzzer.ts";
import * as grammar from "./grammar.ts";
import { describe, readChunks, readSentRequest, readSentResponse } from "./oracle.ts";
import { flatten } from "./received.ts";

/**
 * Makes a target that compares a parser with the oracle, and its value with the same value after
 * formatting and parsing.
 */
function makeParserTarget(name: keyof typeof parsers, grammar: Fuzzer["grammar"]): Fuzzer {
  const { read, reference, reformat } = parsers[name];
  return {
    name,
    grammar,
    check(input): Outcome {
      const expected = reference(input);
      let parsed;
      try {
        parsed = read(input);
      } catch (error) {
        demand(isPeerError(error), `threw ${error}, which is no error of a peer`);
        demand(expected === null, "refused what the oracle accepts");
        return "rejected";
      }
      demand(expected !== null, "accepted what the oracle refuses");
      demand(describe(parsed) === describe(expected), "another value");
      const written = reformat(input);
      if (written === null) return "accepted";
      demand(describe(read(written)) === describe(expected), "came back as another value");
      return "accepted";
    },
  };
}

/** Returns the text of a formatter; `null` if the formatter refuses with an allowed error. */
function formatOrNull(format: () => Uint8Array): string | null {
  try {
    return decodeLatin1(format());
  } catch (error) {
    demand(
      error instanceof TypeError || error instanceof RangeError,
      `threw ${error} in place of a TypeError or RangeError`,
    );
    return null;
  }
}

/** Returns the name and the value of a line; a missing part is empty. */
function splitLine(line: string): readonly [name: string, value: string] {
  const colon = line.indexOf(": ");
  return colon < 0 ? [line, ""] : [line.slice(0, colon), line.slice(colon + 2)];
}

/** Splits lines at their colons without any check, so the values may be invalid. */
function parseCarelessly(lines: readonly string[]): HeadersToSend {
  return Object.fromEntries(
    lines.map(splitLine).map(([name, value]) => [name, convertValue(name, value)]),
  );
}

function convertValue(name: string, value: string): HeadersToSend[string] {
  if (name === "content-length") return parseReferenceNumber(value) ?? Number(value);
  if (name === "range") {
    const range = parseReferenceRanges(value);
    if (range === null || typeof range === "string") return value;
    return "length" in range ? new SuffixRange(range.length) : new Range(range.start, range.stop);
  }
  if (name === "content-range") {
    const range = parseReferenceContentRange(value);
    if (range === null || typeof range === "string") return value;
    return "start" in range
      ? new ContentRange(range.start, range.stop, range.total)
      : new UnsatisfiedRange(range.total);
  }
  return value;
}

/** Returns the text that the formatter must write: the headers as lines, sorted by name. */
function formatExpected(firstLine: string, headers: HeadersToSend): string {
  const names = Object.keys(headers).sort();
  return [firstLine, ...names.map((name) => `${name}: ${headers[name]}`)].join("\r\n") + "\r\n\r\n";
}

/** Whether a reader leaves out the `range` of a message. */
function isRangeIgnored(parts: object): boolean {
  return "method" in parts && parts.method !== "GET" && parts.method !== "HEAD";
}

/** Describes a message as its reader gets it. */
function describeMessage(parts: object, headers: FlatHeaders): string {
  const { "content-length": length, "set-cookie": cookies, range, ...others } = headers;
  return describe({
    ...parts,
    ...others,
    ...range === undefined || isRangeIgnored(parts) ? {} : { range },
    // Zero bytes are a null body.
    ...length === undefined || length === 0 ? {} : { "content-length": length },
    ...cookies === undefined ? {} : { "set-cookie": [cookies].flat() },
  });
}

/**
 * Makes a target that formats the values of a careless app, and compares the text with the values,
 * and with what the oracle reads.
 */
function makeFormatterTarget(
  name: string,
  grammar: Fuzzer["grammar"],
  prepare: (
    line: string,
    headers: HeadersToSend,
  ) => { firstLine: string; parts: object; format(): Uint8Array },
  read: (preamble: string) => { headers: FlatHeaders } | null,
): Fuzzer {
  return {
    name,
    grammar,
    check(input): Outcome {
      const [line = "", ...lines] = input.split("\r\n");
      const headers = parseCarelessly(lines);
      const { firstLine, parts, format } = prepare(line, headers);
      const written = formatOrNull(format);
      const expectedText = formatExpected(firstLine, headers);
      const { headers: readHeaders, ...readParts } = read(expectedText.slice(0, -4)) ?? {};
      const isReadBack = readHeaders !== undefined &&
        describeMessage(readParts, readHeaders) === describeMessage(parts, flatten(headers));
      if (written === null) {
        const lower = Object.keys(headers).every((name) => name === name.toLowerCase());
        const hasIgnoredRange = isRangeIgnored(parts) && headers.range !== undefined;
        demand(!isReadBack || !lower || hasIgnoredRange, "refused what the oracle reads");
        return "rejected";
      }
      demand(written === expectedText, "wrote something else than what was asked for");
      demand(written.indexOf("\r\n\r\n") === written.length - 4, "wrote more than one preamble");
      demand(isReadBack, "wrote what the oracle doesn't read back");
      return "accepted";
    },
  };
}

const requestFormats = makeFormatterTarget(
  "request-format",
  grammar.makeRequestPreamble,
  (line, headers) => {
    const space = line.indexOf(" "), end = line.lastIndexOf(" ");
    const method = line.slice(0, space) as Method, uri = line.slice(space + 1, end);
    return {
      firstLine: `${method} ${uri} HTTP/1.1`,
      parts: { method, uri },
      format: () => formatRequest(method, uri, headers),
    };
  },
  readSentRequest,
);

const responseFormats = makeFormatterTarget(
  "response-format",
  grammar.makeResponsePreamble,
  (line, headers) => {
    const status = Number(line.slice(9, 12)), reason = line.slice(13);
    return {
      firstLine: `HTTP/1.1 ${status} ${reason}`,
      parts: { status, reason },
      format: () => formatResponse(status, reason, headers),
    };
  },
  (preamble) => readSentResponse(preamble),
);

const chunkFormats: Fuzzer = {
  name: "chunk-format",
  grammar: (random) => grammar.makeChunkLine(random.below(20), random),
  check(input): Outcome {
    const semicolon = input.indexOf(";");
    const equals = input.indexOf("=", semicolon + 1);
    const data = input.slice(0, semicolon < 0 ? input.length : semicolon);
    const extension: [string, string] | null = semicolon < 0
      ? null
      : [input.slice(semicolon + 1, Math.max(equals, semicolon + 1)), input.slice(equals + 1)];
    const written = formatOrNull(() => formatChunk([extension, encodeLatin1(data)]));
    if (written === null) {
      const size = data.length.toString(16);
      const line = extension === null ? size : `${size};${extension.join("=")}`;
      const read = parseReferenceChunkHeader(line);
      demand(describe(read?.extension) !== describe(extension), "refused what can be read back");
      return "rejected";
    }
    // An empty chunk ends the body.
    const body = data === "" ? written : `${written}0\r\n\r\n`;
    const read = readChunks(body, 0);
    demand(read !== null && read.end === body.length, "wrote what the oracle refuses to read");
    const [first] = read.chunks;
    demand(first?.[1] === data, "wrote other data");
    demand(first[0]?.join("=") === extension?.join("="), "wrote another extension");
    return "accepted";
  },
};

/**
 * The paths of URIs: decoded and built, a path is in the spelling of `buildUri`, which means the
 * same to Degu, and to a program that splits the path of a `URL` at slashes and decodes once.
 */
const paths: Fuzzer = {
  name: "path",
  grammar: grammar.makeUri,
  check(input): Outcome {
    const uri = readReferenceUri(input);
    const expected = uri === null ? null : parseReferenceUri(uri);
    let parsed;
    try {
      parsed = parseUri(input);
    } catch (error) {
      demand(isPeerError(error), `threw ${error}, which is no error of a peer`);
      demand(expected === null, "refused what the oracle accepts");
      return "rejected";
    }
    const { path, query } = parsed;
    demand(describe({ path, query }) === describe(expected), "another value");
    const built = buildUri(path, query);
    const reread = parseUri(built);
    demand(
      describe([reread.path, reread.query]) === describe([path, query]),
      "came back as another value",
    );
    demand(buildUri(reread.path, query) === built, "was built in two spellings");
    const [text = ""] = uri!.split("?", 1);
    const [builtText = ""] = built.split("?", 1);
    demand(builtText === respellReferencePath(text), "was built in a spelling that means more");
    for (const spelling of [text, builtText]) {
      const components = new URL(`http://a${spelling}`).pathname.slice(1).split("/");
      const decoded = components.map(decodeURIComponent);
      demand(decoded.join("/") === path.join("/"), "means something else to a URL");
    }
    return "accepted";
  },
};

/**
 * The targets of parsers and formatters. The targets of preambles also cover the rules of URIs and
 * ranges.
 */
export const wireTargets: readonly Fuzzer[] = [
  paths,
  makeParserTarget("request-preamble", grammar.makeRequestPreamble),
  makeParserTarget("response-preamble", grammar.makeResponsePreamble),
  makeParserTarget(
    "chunk-line",
    (random) => grammar.makeChunkLine(random.below(1 << random.below(26)), random),
  ),
  requestFormats,
  responseFormats,
  chunkFormats,
];
