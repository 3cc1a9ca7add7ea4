/**
 * The preamble parsers: compared with an oracle and with their own formatters, and fed in pieces.
 *
 * @module
 */

import { findPreambleEnd } from "@degu/internal/base/wire/preamble.ts";
import { ProtocolError } from "@degu/internal/base/errors.ts";
import type { HeaderDict } from "@degu/internal/base/wire/headers.ts";
import type { Method } from "@degu/internal/base/wire/preamble.ts";
import {
  formatRequest,
  formatResponse,
  parseRequest,
  parseResponse,
} from "@degu/internal/misc/wire.ts";
import type { FlatHeaders } from "../support/wire_grammar.ts";
import { view } from "./bytes.ts";
import { demand, type Fuzzer, type Outcome } from "./fuzzer.ts";
import { requestPreamble, responsePreamble } from "./grammar.ts";
import { readRequest, readResponse } from "./oracle.ts";

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
