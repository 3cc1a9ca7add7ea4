/**
 * The parsers, compared with an oracle and with their own formatters, and the formatters, with input from a careless app:
 * they either refuse it, or write exactly what was meant.
 *
 * @module
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
import { type FlatHeaders, referenceUri } from "../support/wire_grammar.ts";
import { bytesOf, textOf, view } from "./bytes.ts";
import { demand, type Fuzzer, type Outcome } from "./fuzzer.ts";
import {
  chunkLine,
  contentRange,
  range,
  requestPreamble,
  responsePreamble,
  uri,
} from "./grammar.ts";
import {
  isUri,
  readChunkLine,
  readChunks,
  readContentRange,
  readNumber,
  readRange,
  readRequest,
  readResponse,
} from "./oracle.ts";

/** What a parser gives, or `null` where it throws a ProtocolError; everything else is passed on. */
export function valueOf<T>(parse: () => T): T | null {
  try {
    return parse();
  } catch (error) {
    demand(error instanceof ProtocolError, `threw ${error} in place of a ProtocolError`);
    return null;
  }
}

/** Says whether a parsed dictionary is what the oracle has read. */
export function sameHeaders(headers: HeaderDict, expected: FlatHeaders): boolean {
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

/** `parseRequest` and `formatRequest`. */
export const requestPreambles: Fuzzer = {
  name: "request-preamble",
  grammar: requestPreamble,
  check(input): Outcome {
    checkEnd(input);
    const expected = readRequest(input);
    const parsed = valueOf(() => parseRequest(view(input)));
    demand(
      (parsed === null) === (expected === null),
      expected === null ? "accepted what the oracle refuses" : "refused what the oracle accepts",
    );
    if (parsed === null || expected === null) return "rejected";
    demand(
      parsed.method === expected.method && parsed.uri === expected.uri,
      "another request line",
    );
    demand(sameHeaders(parsed.headers, expected.headers), "other headers");
    const sent = formatRequest(parsed.method, parsed.uri, parsed.headers);
    const again = parseRequest(sent.subarray(0, -4));
    demand(again.method === parsed.method && again.uri === parsed.uri, "came back as another line");
    demand(again.query === parsed.query, "came back with another query");
    demand(again.path.join("/") === parsed.path.join("/"), "came back with another path");
    demand(sameHeaders(again.headers, expected.headers), "came back with other headers");
    return "accepted";
  },
};

const METHODS: readonly Method[] = ["GET", "HEAD", "PUT", "POST", "DELETE"];

/** `parseResponse` and `formatResponse`. */
export const responsePreambles: Fuzzer = {
  name: "response-preamble",
  grammar: responsePreamble,
  check(input): Outcome {
    checkEnd(input);
    const expected = readResponse(input);
    const method = METHODS[input.length % METHODS.length]!;
    const parsed = valueOf(() => parseResponse(method, view(input)));
    demand(
      (parsed === null) === (expected === null),
      expected === null ? "accepted what the oracle refuses" : "refused what the oracle accepts",
    );
    if (parsed === null || expected === null) return "rejected";
    demand(
      parsed.status === expected.status && parsed.reason === expected.reason,
      "another status line",
    );
    demand(sameHeaders(parsed.headers, expected.headers), "other headers");
    const sent = formatResponse(parsed.status, parsed.reason, parsed.headers);
    const again = parseResponse(method, sent.subarray(0, -4));
    demand(
      again.status === parsed.status && again.reason === parsed.reason,
      "came back as another status line",
    );
    demand(sameHeaders(again.headers, expected.headers), "came back with other headers");
    return "accepted";
  },
};

function demandSame(parsed: unknown, expected: unknown): void {
  demand(
    (parsed === null) === (expected === null),
    expected === null ? "accepted what the oracle refuses" : "refused what the oracle accepts",
  );
}

/** `parseUri` and `buildUri`. */
export const uris: Fuzzer = {
  name: "uri",
  grammar: uri,
  check(input): Outcome {
    const parsed = valueOf(() => parseUri(input));
    const expected = referenceUri(input);
    demand((expected !== null) === isUri(input), "the two oracles disagree");
    demandSame(parsed, expected);
    if (parsed === null || expected === null) return "rejected";
    const { path, query } = parsed;
    demand(query === expected.query, "another query");
    demand(
      path.length === expected.path.length && path.every((part, i) => part === expected.path[i]),
      "another path",
    );
    demand(buildUri(path, query) === input, "came back as another URI");
    return "accepted";
  },
};

/** `parseRange`, and what a `Range` says of totals. */
export const ranges: Fuzzer = {
  name: "range",
  grammar: range,
  check(input): Outcome {
    const parsed = valueOf(() => parseRange(input));
    const expected = readRange(input);
    demandSame(parsed, expected);
    if (parsed === null || expected === null) return "rejected";
    const { start, stop } = parsed;
    demand(
      parsed instanceof Range && start === expected[0] && stop === expected[1],
      "another range",
    );
    demand(String(parsed) === input, "came back as another range");
    for (const total of [start, start + 1, stop - 1, stop, Number.MAX_SAFE_INTEGER]) {
      checkTotal(parsed, total);
    }
    return "accepted";
  },
};

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

/** `parseContentRange`. */
export const contentRanges: Fuzzer = {
  name: "content-range",
  grammar: contentRange,
  check(input): Outcome {
    const parsed = valueOf(() => parseContentRange(input));
    const expected = readContentRange(input);
    demandSame(parsed, expected);
    if (parsed === null || expected === null) return "rejected";
    const { start, stop, total } = parsed;
    demand(
      parsed instanceof ContentRange && start === expected[0] && stop === expected[1] &&
        total === expected[2],
      "another range",
    );
    demand(String(parsed) === input, "came back as another range");
    return "accepted";
  },
};

/** `parseChunkHeader` and `formatChunk`. */
export const chunkLines: Fuzzer = {
  name: "chunk-line",
  grammar: (random) => chunkLine(random.below(1 << random.below(26)), random),
  check(input): Outcome {
    const parsed = valueOf(() => parseChunkHeader(view(input)));
    const expected = readChunkLine(input);
    demandSame(parsed, expected);
    if (parsed === null || expected === null) return "rejected";
    demand(parsed.size === expected.size, "another size");
    demand(parsed.extension?.join("=") === expected.extension?.join("="), "another extension");
    demand(parsed.extension?.[0] === expected.extension?.[0], "another key");
    if (parsed.size > 64) return "accepted";
    const sent = textOf(formatChunk([parsed.extension, new Uint8Array(parsed.size)]));
    const line = sent.slice(0, sent.indexOf("\r\n"));
    demand(line.toLowerCase() === input.toLowerCase(), "came back as another line");
    const again = parseChunkHeader(view(line));
    demand(again.extension?.[1] === parsed.extension?.[1], "came back with another value");
    return "accepted";
  },
};

/** What a formatter writes, or `null` where it refuses as it has to. */
function writtenBy(format: () => Uint8Array): string | null {
  try {
    return textOf(format());
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
  if (name === "content-length") return readNumber(value) ?? Number(value);
  if (name === "range") {
    const range = readRange(value);
    if (range !== null) return new Range(...range);
  }
  if (name === "content-range") {
    const range = readContentRange(value);
    if (range !== null) return new ContentRange(...range);
  }
  return value;
}

/** What was asked for, as lines sorted by name. */
function wanted(firstLine: string, headers: HeaderDict): string {
  const names = Object.keys(headers).sort();
  return [firstLine, ...names.map((name) => `${name}: ${headers[name]}`)].join("\r\n") + "\r\n\r\n";
}

/** Demands that what was written is one preamble, the one that was asked for. */
function checkWritten(written: string, asked: string, readable: boolean): void {
  demand(written === asked, "wrote something else than what was asked for");
  demand(written.indexOf("\r\n\r\n") === written.length - 4, "wrote more than one preamble");
  demand(readable, "wrote what the oracle refuses to read");
}

/** `formatRequest`. */
export const requestFormats: Fuzzer = {
  name: "request-format",
  grammar: requestPreamble,
  check(input): Outcome {
    const [line = "", ...lines] = input.split("\r\n");
    const space = line.indexOf(" ");
    const end = line.lastIndexOf(" ");
    const method = line.slice(0, space) as Method;
    const uri = line.slice(space + 1, end);
    const headers = carelessHeaders(lines);
    const written = writtenBy(() => formatRequest(method, uri, headers));
    const asked = wanted(`${method} ${uri} HTTP/1.1`, headers);
    const readable = readRequest(asked.slice(0, -4)) !== null;
    if (written === null) {
      const lower = Object.keys(headers).every((name) => name === name.toLowerCase());
      demand(!readable || !lower, "refused what the oracle reads");
      return "rejected";
    }
    checkWritten(written, asked, readable);
    return "accepted";
  },
};

/** `formatResponse`. */
export const responseFormats: Fuzzer = {
  name: "response-format",
  grammar: responsePreamble,
  check(input): Outcome {
    const [line = "", ...lines] = input.split("\r\n");
    const status = Number(line.slice(9, 12));
    const reason = line.slice(13);
    const headers = carelessHeaders(lines);
    const written = writtenBy(() => formatResponse(status, reason, headers));
    const asked = wanted(`HTTP/1.1 ${status} ${reason}`, headers);
    const readable = readResponse(asked.slice(0, -4)) !== null;
    if (written === null) {
      const lower = Object.keys(headers).every((name) => name === name.toLowerCase());
      demand(!readable || !lower, "refused what the oracle reads");
      return "rejected";
    }
    checkWritten(written, asked, readable);
    return "accepted";
  },
};

/** `formatChunk`. */
export const chunkFormats: Fuzzer = {
  name: "chunk-format",
  grammar: (random) => chunkLine(random.below(20), random),
  check(input): Outcome {
    const semicolon = input.indexOf(";");
    const equals = input.indexOf("=", semicolon + 1);
    const data = input.slice(0, semicolon < 0 ? input.length : semicolon);
    const extension: [string, string] | null = semicolon < 0
      ? null
      : [input.slice(semicolon + 1, Math.max(equals, semicolon + 1)), input.slice(equals + 1)];
    const written = writtenBy(() => formatChunk([extension, bytesOf(data)]));
    if (written === null) {
      const size = data.length.toString(16);
      const line = extension === null ? size : `${size};${extension.join("=")}`;
      demand(readChunkLine(line) === null, "refused what can be read");
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
