/**
 * The small parsers: URIs, ranges and chunk lines.
 *
 * @module
 */

import { ContentRange, Range } from "@degu/internal/base/wire/range.ts";
import { buildUri } from "@degu/internal/base/wire/uri.ts";
import {
  formatChunk,
  parseChunkHeader,
  parseContentRange,
  parseRange,
  parseUri,
} from "@degu/internal/misc/wire.ts";
import { referenceUri } from "../support/wire_grammar.ts";
import { textOf, view } from "./bytes.ts";
import { demand, type Fuzzer, type Outcome } from "./fuzzer.ts";
import { chunkLine, contentRange, range, uri } from "./grammar.ts";
import { isUri, readChunkLine, readContentRange, readRange } from "./oracle.ts";
import { valueOf } from "./preambles.ts";

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
