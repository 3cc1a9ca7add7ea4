/**
 * The parsers, compared with an oracle and with their own formatters, and the formatters, with input from a careless app:
 * they either refuse it, or write exactly what was meant.
 */

import { findPreambleEnd, type Method } from "@degu/internal/base/wire/preamble.ts";
import { ProtocolError } from "@degu/internal/base/errors.ts";
import type { HeaderDict } from "@degu/internal/base/wire/headers.ts";
import {
  formatChunk,
  formatRequest,
  formatResponse,
  parseChunkHeader,
  parseContentRange,
  parseRange,
  parseRequest,
  parseResponse,
  parseUri,
} from "@degu/internal/misc/wire.ts";
import { ContentRange, Range } from "@degu/internal/base/wire/range.ts";
import { buildUri } from "@degu/internal/base/wire/uri.ts";
import {
  type FlatHeaders,
  fromLatin1,
  latin1,
  referenceChunkLine,
  referenceContentRange,
  referenceNumber,
  referenceRange,
  referenceUri,
} from "../support/wire_grammar.ts";
import { view } from "./bytes.ts";
import { demand, type Fuzzer, type Outcome } from "./fuzzer.ts";
import * as grammar from "./grammar.ts";
import { readChunks, readRequest, readResponse } from "./oracle.ts";

/** A target that parses, and goes on with what the oracle accepts, too. */
function parserTarget<Parsed, Expected>(
  name: string,
  grammar: Fuzzer["grammar"],
  parse: (input: string) => Parsed,
  read: (input: string) => Expected | null,
  compare: (parsed: Parsed, expected: Expected, input: string) => void,
): Fuzzer {
  return {
    name,
    grammar,
    check(input): Outcome {
      let parsed: Parsed;
      const expected = read(input);
      try {
        parsed = parse(input);
      } catch (error) {
        demand(error instanceof ProtocolError, `threw ${error} in place of a ProtocolError`);
        demand(expected === null, "refused what the oracle accepts");
        return "rejected";
      }
      demand(expected !== null, "accepted what the oracle refuses");
      compare(parsed, expected, input);
      return "accepted";
    },
  };
}

/** Says whether a parsed dictionary is what the oracle has read. */
function sameHeaders(headers: HeaderDict, expected: FlatHeaders): boolean {
  if (Object.getPrototypeOf(headers) !== null) return false;
  let count = 0;
  for (const name in headers) {
    const value = headers[name]!;
    const plain = typeof value === "object" ? String(value) : value;
    if (plain !== expected[name]) return false;
    count++;
  }
  return Object.keys(expected).length === count;
}

/** Demands that the end of a preamble is found at the same place however it arrives. */
function checkEnd(preamble: string): void {
  const bytes = view(`${preamble}\r\n\r\n`);
  const expected = preamble.concat("\r\n\r\n").indexOf("\r\n\r\n") + 4;
  demand(findPreambleEnd(bytes, 0, bytes.length) === expected, "found the end elsewhere");
  const split = (preamble.length * 31 + (bytes[0] ?? 0)) % bytes.length;
  const early = findPreambleEnd(bytes, 0, split);
  if (early < 0) {
    const late = findPreambleEnd(bytes, Math.max(0, split - 3), bytes.length);
    demand(late === expected, `found the end elsewhere where the bytes were split at ${split}`);
  } else {
    demand(early === expected, `found the end elsewhere in the first ${split} bytes`);
  }
}

export const requestPreambles: Fuzzer = parserTarget(
  "request-preamble",
  grammar.requestPreamble,
  (input) => parseRequest(view(input)),
  (input) => {
    checkEnd(input);
    return readRequest(input);
  },
  (parsed, { method, uri, headers }) => {
    demand(parsed.method === method && parsed.uri === uri, "another request line");
    demand(sameHeaders(parsed.headers, headers), "other headers");
    const sent = formatRequest(parsed.method, parsed.uri, parsed.headers);
    const again = parseRequest(sent.subarray(0, -4));
    demand(again.method === method && again.uri === uri, "came back as another line");
    demand(again.query === parsed.query, "came back with another query");
    demand(again.path.join("/") === parsed.path.join("/"), "came back with another path");
    demand(sameHeaders(again.headers, headers), "came back with other headers");
  },
);

const METHODS: readonly Method[] = ["GET", "HEAD", "PUT", "POST", "DELETE"];

export const responsePreambles: Fuzzer = parserTarget(
  "response-preamble",
  grammar.responsePreamble,
  (input) => parseResponse(METHODS[input.length % METHODS.length]!, view(input)),
  (input) => {
    checkEnd(input);
    return readResponse(input);
  },
  (parsed, { status, reason, headers }, input) => {
    demand(parsed.status === status && parsed.reason === reason, "another status line");
    demand(sameHeaders(parsed.headers, headers), "other headers");
    const sent = formatResponse(parsed.status, parsed.reason, parsed.headers);
    const again = parseResponse(METHODS[input.length % METHODS.length]!, sent.subarray(0, -4));
    demand(again.status === status && again.reason === reason, "came back as another line");
    demand(sameHeaders(again.headers, headers), "came back with other headers");
  },
);

export const uris: Fuzzer = parserTarget(
  "uri",
  grammar.uri,
  (input) => parseUri(input),
  referenceUri,
  ({ path, query }, expected, input) => {
    demand(query === expected.query, "another query");
    demand(
      path.length === expected.path.length && path.every((part, i) => part === expected.path[i]),
      "another path",
    );
    demand(buildUri(path, query) === input, "came back as another URI");
  },
);

/** `parseRange`, and what a `Range` says of totals. */
export const ranges: Fuzzer = parserTarget(
  "range",
  grammar.range,
  (input) => parseRange(input),
  referenceRange,
  (parsed, expected, input) => {
    const { start, stop } = parsed;
    demand(
      parsed instanceof Range && start === expected.start && stop === expected.stop,
      "another range",
    );
    demand(String(parsed) === input, "came back as another range");
    for (const total of [start, start + 1, stop - 1, stop, Number.MAX_SAFE_INTEGER]) {
      checkTotal(parsed, total);
    }
  },
);

function checkTotal(parsed: Range, total: number): void {
  const { start, stop } = parsed;
  if (start >= total) {
    for (const refuse of [() => parsed.contentLength(total), () => parsed.contentRange(total)]) {
      let refused = false;
      try {
        refuse();
      } catch (error) {
        refused = error instanceof RangeError;
      }
      demand(refused, `a total of ${total} was not refused with a RangeError`);
    }
    return;
  }
  const end = stop < total ? stop : total;
  demand(parsed.contentLength(total) === end - start, `another length of a total of ${total}`);
  const answer = String(parsed.contentRange(total));
  demand(answer === `bytes ${start}-${end - 1}/${total}`, `${answer} for a total of ${total}`);
}

export const contentRanges: Fuzzer = parserTarget(
  "content-range",
  grammar.contentRange,
  (input) => parseContentRange(input),
  referenceContentRange,
  (parsed, { start, stop, total }, input) => {
    demand(
      parsed instanceof ContentRange && parsed.start === start && parsed.stop === stop &&
        parsed.total === total,
      "another range",
    );
    demand(String(parsed) === input, "came back as another range");
  },
);

export const chunkLines: Fuzzer = parserTarget(
  "chunk-line",
  (random) => grammar.chunkLine(random.below(1 << random.below(26)), random),
  (input) => parseChunkHeader(view(input)),
  referenceChunkLine,
  ({ size, extension }, expected, input) => {
    demand(size === expected.size, "another size");
    demand(extension?.join("=") === expected.extension?.join("="), "another extension");
    demand(extension?.[0] === expected.extension?.[0], "another key");
    if (size > 64) return;
    const sent = fromLatin1(formatChunk([extension, new Uint8Array(size)]));
    const line = sent.slice(0, sent.indexOf("\r\n"));
    demand(line.toLowerCase() === input.toLowerCase(), "came back as another line");
    const again = parseChunkHeader(view(line));
    demand(again.extension?.[1] === extension?.[1], "came back with another value");
  },
);

/** What a formatter writes, or `null` where it refuses as it has to. */
function writtenBy(format: () => Uint8Array): string | null {
  try {
    return fromLatin1(format());
  } catch (error) {
    demand(
      error instanceof TypeError || error instanceof RangeError,
      `threw ${error} in place of a TypeError or RangeError`,
    );
    return null;
  }
}

/** Splits the text at its colons and line ends, and nothing is checked: the values are as bad as the text is. */
function carelessHeaders(lines: readonly string[]): HeaderDict {
  const headers: HeaderDict = {};
  for (const line of lines) {
    const colon = line.indexOf(": ");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 2);
    // Assigning would call the setter of __proto__.
    Object.defineProperty(headers, name, {
      value: typed(name, value),
      enumerable: true,
      writable: true,
      configurable: true,
    });
  }
  return headers;
}

function typed(name: string, value: string): HeaderDict[string] {
  if (name === "content-length") return referenceNumber(value) ?? Number(value);
  if (name === "range") {
    const range = referenceRange(value);
    if (range !== null) return new Range(range.start, range.stop);
  }
  if (name === "content-range") {
    const range = referenceContentRange(value);
    if (range !== null) return new ContentRange(range.start, range.stop, range.total);
  }
  return value;
}

/** What was asked for, as lines sorted by name. */
function wanted(firstLine: string, headers: HeaderDict): string {
  const names = Object.keys(headers).sort();
  return [firstLine, ...names.map((name) => `${name}: ${headers[name]}`)].join("\r\n") + "\r\n\r\n";
}

/** A target that formats what a careless app gives, and compares it with what was asked for. */
function formatTarget(
  name: string,
  grammar: Fuzzer["grammar"],
  prepare: (line: string, headers: HeaderDict) => { asked: string; format(): Uint8Array },
  read: (preamble: string) => unknown,
): Fuzzer {
  return {
    name,
    grammar,
    check(input): Outcome {
      const [line = "", ...lines] = input.split("\r\n");
      const headers = carelessHeaders(lines);
      const { asked: firstLine, format } = prepare(line, headers);
      const written = writtenBy(format);
      const asked = wanted(firstLine, headers);
      const readable = read(asked.slice(0, -4)) !== null;
      if (written === null) {
        const lower = Object.keys(headers).every((name) => name === name.toLowerCase());
        demand(!readable || !lower, "refused what the oracle reads");
        return "rejected";
      }
      demand(written === asked, "wrote something else than what was asked for");
      demand(written.indexOf("\r\n\r\n") === written.length - 4, "wrote more than one preamble");
      demand(readable, "wrote what the oracle refuses to read");
      return "accepted";
    },
  };
}

export const requestFormats: Fuzzer = formatTarget(
  "request-format",
  grammar.requestPreamble,
  (line, headers) => {
    const space = line.indexOf(" "), end = line.lastIndexOf(" ");
    const method = line.slice(0, space) as Method, uri = line.slice(space + 1, end);
    return {
      asked: `${method} ${uri} HTTP/1.1`,
      format: () => formatRequest(method, uri, headers),
    };
  },
  readRequest,
);

export const responseFormats: Fuzzer = formatTarget(
  "response-format",
  grammar.responsePreamble,
  (line, headers) => {
    const status = Number(line.slice(9, 12)), reason = line.slice(13);
    return {
      asked: `HTTP/1.1 ${status} ${reason}`,
      format: () => formatResponse(status, reason, headers),
    };
  },
  readResponse,
);

export const chunkFormats: Fuzzer = {
  name: "chunk-format",
  grammar: (random) => grammar.chunkLine(random.below(20), random),
  check(input): Outcome {
    const semicolon = input.indexOf(";");
    const equals = input.indexOf("=", semicolon + 1);
    const data = input.slice(0, semicolon < 0 ? input.length : semicolon);
    const extension: [string, string] | null = semicolon < 0
      ? null
      : [input.slice(semicolon + 1, Math.max(equals, semicolon + 1)), input.slice(equals + 1)];
    const written = writtenBy(() => formatChunk([extension, latin1(data)]));
    if (written === null) {
      const size = data.length.toString(16);
      const line = extension === null ? size : `${size};${extension.join("=")}`;
      demand(referenceChunkLine(line) === null, "refused what can be read");
      return "rejected";
    }
    // A last chunk ends the body by itself.
    const body = data === "" ? written : `${written}0\r\n\r\n`;
    const read = readChunks(body, 0);
    demand(read !== null && read.end === body.length, "wrote what the oracle refuses to read");
    const [first] = read.chunks;
    demand(first?.[1] === data, "wrote other data");
    demand(first[0]?.join("=") === extension?.join("="), "wrote another extension");
    return "accepted";
  },
};
