/**
 * The formatters, with input from a careless app: they either refuse it, or write exactly what was meant.
 *
 * @module
 */

import type { HeaderDict } from "@degu/internal/base/wire/headers.ts";
import type { Method } from "@degu/internal/base/wire/preamble.ts";
import { ContentRange, Range } from "@degu/internal/base/wire/range.ts";
import { formatChunk, formatRequest, formatResponse } from "@degu/internal/misc/wire.ts";
import { bytesOf, textOf } from "./bytes.ts";
import { demand, type Fuzzer, type Outcome } from "./fuzzer.ts";
import { chunkLine, requestPreamble, responsePreamble } from "./grammar.ts";
import {
  readChunkLine,
  readChunks,
  readContentRange,
  readNumber,
  readRange,
  readRequest,
  readResponse,
} from "./oracle.ts";

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
