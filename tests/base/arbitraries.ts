/**
 * fast-check arbitraries for everything that the protocol allows, and for bytes that come close to
 * it.
 */

import fc from "fast-check";
import {
  type Chunk,
  ContentRange,
  type HeadersToSend,
  Range,
  SuffixRange,
  UnsatisfiedRange,
} from "@degu/degu/base";
import { allowedBytes, isReferenceValue, limits, methods } from "@degu/testing/wire_grammar.ts";

function makeTextOf(
  set: string,
  minLength: number,
  maxLength: number,
): fc.Arbitrary<string> {
  return fc.string({ unit: fc.constantFrom(...set), minLength, maxLength });
}

/**
 * Makes text of any code points, including halves of surrogate pairs; `fc.string` takes a second to
 * prepare for these.
 */
export function makeTextArbitrary(maxLength = 10): fc.Arbitrary<string> {
  return fc.array(fc.integer({ min: 0, max: 0x10ffff }), { maxLength })
    .map((points) => String.fromCodePoint(...points));
}

const method = fc.constantFrom(...methods);
export const reason = makeTextOf(allowedBytes.reason, 0, 20);

const ESCAPES = ["%20", "%25", "%3B", "%5C", "%0A", "%C3%bc", "%f0%9F%98%80", "%7e"];

const component = fc.oneof(
  fc.array(fc.constantFrom(...allowedBytes.path, ...ESCAPES), { minLength: 1, maxLength: 8 })
    .map((units) => units.join("")),
  fc.constantFrom("...", "..a", "a..", "constructor"),
).filter((text) => !/^\.\.?(?:$|;|%3B)/.test(text));

/** The components of paths that are valid as they are. */
const path: fc.Arbitrary<string[]> = fc.tuple(
  fc.array(component, { maxLength: 5 }),
  fc.boolean(),
).map(([parts, slash]) => slash && parts.length > 0 ? [...parts, ""] : parts);

const query: fc.Arbitrary<string | null> = fc.option(makeTextOf(allowedBytes.query, 0, 12));

export const uri: fc.Arbitrary<string> = fc.tuple(path, query).map(([parts, text]) =>
  `/${parts.join("/")}${text === null ? "" : `?${text}`}`
);

const length = fc.oneof(
  fc.nat(),
  fc.integer({ min: limits.number - 1000, max: limits.number }),
);

const range: fc.Arbitrary<Range> = fc.tuple(length, fc.oneof(length, fc.constant(Infinity)))
  .filter(([a, b]) => a !== b)
  .map(([a, b]) => new Range(Math.min(a, b), Math.max(a, b)));

const suffixRange: fc.Arbitrary<SuffixRange> = length.map((n) => new SuffixRange(n));

const contentRange: fc.Arbitrary<ContentRange> = fc.tuple(length, length, length, fc.boolean())
  .map(([a, b, c, isKnown]) => [[a, b, c].toSorted((x, y) => x - y), isKnown] as const)
  .filter(([[start = 0, stop = 0]]) => start < stop)
  .map(([[start = 0, stop = 0, total = 0], isKnown]) =>
    new ContentRange(start, stop, isKnown ? total : null)
  );

const unsatisfiedRange: fc.Arbitrary<UnsatisfiedRange> = length.map((n) => new UnsatisfiedRange(n));

const typedHeaders = [
  ...["content-length", "transfer-encoding", "range", "content-range", "host", "set-cookie"],
];

const TOKEN = [...new Set(allowedBytes.headerName.toLowerCase())].join("");

/** Headers that are not typed: names in lower case, text values, any order. */
export const plainHeaders = fc.dictionary(
  fc.oneof(
    makeTextOf(TOKEN, 1, 80),
    makeTextOf(TOKEN, limits.headerName - 1, limits.headerName),
    fc.constantFrom("constructor", "tostring", "valueof", "hasownproperty", "1", "10", "a", "a_b"),
  ).filter((name) => !typedHeaders.includes(name)),
  makeTextOf(allowedBytes.headerValue, 0, 20).filter(isReferenceValue),
  { maxKeys: 8 },
);

/** Adds allowed combinations of the typed headers. */
function addTypedHeaders(
  ...choices: fc.Arbitrary<HeadersToSend>[]
) {
  return fc.tuple(plainHeaders, fc.oneof(fc.constant({}), ...choices))
    .map(([plain, typed]) => ({ ...plain, ...typed }));
}

const contentLength = length.map((n) => ({ "content-length": n }));
const transferEncoding = fc.constant({ "transfer-encoding": "chunked" });

const setCookies = fc.array(
  makeTextOf(allowedBytes.headerValue, 0, 10).filter(isReferenceValue),
  { minLength: 1, maxLength: 3 },
).map((list) => ({ "set-cookie": list }));

export const responseHeaders = addTypedHeaders(
  contentRange.map((value) => ({ "content-range": value, "transfer-encoding": "chunked" })),
  contentLength,
  transferEncoding,
  unsatisfiedRange.map((value) => ({ "content-range": value, "content-length": 0 })),
  setCookies,
  contentRange.map((value) => ({
    "content-range": value,
    "content-length": value.stop - value.start,
  })),
);

/** A request's method with headers that it allows. */
export const methodAndHeaders = method.chain((name) => {
  // A range in another request is left out.
  const mayHaveRange = name === "GET" || name === "HEAD";
  const ranges = mayHaveRange
    ? fc.oneof(range, suffixRange).map((value): HeadersToSend => ({ range: value }))
    : fc.constant({});
  const framings = name === "PUT" || name === "POST" ? [contentLength, transferEncoding] : [];
  return fc.tuple(fc.constant(name), addTypedHeaders(ranges, ...framings));
});

const extension: fc.Arbitrary<[key: string, value: string] | null> = fc.option(fc.tuple(
  makeTextOf(allowedBytes.extensionKey, 1, 10),
  makeTextOf(allowedBytes.extensionValue, 1, 10),
));

/** The data of a chunk, except the last. */
const chunkData = fc.uint8Array({ minLength: 1, maxLength: 40 });

/** A whole chunked body: any number of chunks with data, then the empty one. */
export const chunks: fc.Arbitrary<Chunk[]> = fc.tuple(
  fc.array(fc.tuple(extension, chunkData), { maxLength: 5 }),
  extension,
).map(([list, lastExtension]): Chunk[] => [...list, [lastExtension, new Uint8Array(0)]]);

export const pieceLengths: fc.Arbitrary<number[]> = fc.array(fc.integer({ min: 1, max: 9 }), {
  minLength: 1,
  maxLength: 8,
});
