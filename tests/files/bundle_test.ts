/** Bundles: many small files in one message. */
import { assertEquals, assertThrows } from "@std/assert";
import {
  BUNDLE_END,
  BundleError,
  type BundleFormat,
  BundleParser,
  DIGEST_ANSWER,
  formatPaths,
  formatRecord,
  type FoundRecord,
  GET_ANSWER,
  MAX_LINE_BYTES,
  MAX_RECORDS,
  parsePaths,
  PUT_ANSWER,
  PUT_REQUEST,
  type PutRecord,
} from "@degu/internal/files/bundle.ts";
import fc from "fast-check";

const SHA256 = "0123456789abcdef".repeat(4);
const FILE = { path: ["a"], size: 3, modified: new Date(0), sha256: SHA256 };
const encode = (text: string) => new TextEncoder().encode(text);

/** Parses a bundle that comes in pieces of so many bytes, each valid only until the next one. */
function parse<R>(format: BundleFormat<R>, bytes: Uint8Array, length = 7) {
  const parser = new BundleParser(format);
  const received: { record: R; content: Uint8Array }[] = [];
  for (let at = 0; at < bytes.length; at += length) {
    const piece = bytes.slice(at, at + length);
    for (const { record, content } of parser.push(piece)) {
      received.push({ record, content: content.slice() });
    }
    piece.fill(0);
  }
  parser.end();
  return received;
}

const name = fc.oneof(
  fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 }).filter((text) =>
    text.isWellFormed()
  ),
  fc.constantFrom('"', "\\", "\n", "\u2028", "\ufeff", "é", "😀", "\x7f", "__proto__", "{}"),
);
const path = fc.array(name, { minLength: 1, maxLength: 4 });
const content = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  fc.constantFrom(65534, 65535).map((length) => new Uint8Array(length).fill(10)),
);
const file = fc.record({
  path,
  modified: fc.date({ noInvalidDate: true }),
  sha256: fc.constantFrom(SHA256, "f".repeat(64)),
});
const CUTS = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.constant(2 ** 20));

Deno.test("records and their contents are read back, however the bytes are split", () => {
  const found: fc.Arbitrary<[FoundRecord, Uint8Array]> = fc.oneof(
    fc.tuple(file, content).map(([record, bytes]): [FoundRecord, Uint8Array] => [
      { ...record, status: 200, size: bytes.length },
      bytes,
    ]),
    fc.tuple(path, fc.constantFrom(403, 404, 409, 413, 503)).map(
      ([path, status]): [FoundRecord, Uint8Array] => [
        { path, status: status as 403 },
        new Uint8Array(0),
      ],
    ),
  );
  const put: fc.Arbitrary<[PutRecord, Uint8Array]> = fc.oneof(
    fc.tuple(file, content, fc.boolean()).map(
      ([record, bytes, isNew]): [PutRecord, Uint8Array] => [
        { ...record, size: bytes.length, ...(isNew ? { "if-none-match": "*" } : {}) },
        bytes,
      ],
    ),
    path.map((path): [PutRecord, Uint8Array] => [
      { path, kind: "directory" },
      new Uint8Array(0),
    ]),
  );
  const check = <R extends FoundRecord | PutRecord>(
    format: BundleFormat<R>,
    records: fc.Arbitrary<[R, Uint8Array]>,
  ) => {
    fc.assert(
      fc.property(fc.array(records, { maxLength: 5 }), CUTS, (written, cut) => {
        const parts = written.flatMap(([record, bytes]) => [
          encode(formatRecord(record)),
          ...(format.hasContent ? [bytes] : []),
        ]);
        const bundle = new Uint8Array([...parts, encode(BUNDLE_END)].flatMap((part) => [...part]));
        const expected = written.map(([record, content]) => ({
          record,
          content: format.hasContent ? content : new Uint8Array(0),
        }));
        assertEquals(parse(format, bundle, cut), expected);
      }),
      { numRuns: 100 },
    );
  };
  check(GET_ANSWER, found);
  check(DIGEST_ANSWER, found);
  check(PUT_REQUEST, put);
  for (const status of [201, 204, 400, 403, 404, 409, 412, 413, 414, 503, 507] as const) {
    const text = formatRecord({ status }) + BUNDLE_END;
    assertEquals(parse(PUT_ANSWER, encode(text)).map(({ record }) => record), [{ status }]);
  }
});

Deno.test("a line is the shortest form of its JSON, has all keys of its record and no other", () => {
  const good = JSON.stringify(FILE);
  const time = '"1970-01-01T00:00:00.000Z"';
  const bad: string[] = [
    "",
    " ",
    "null",
    "[]",
    "1",
    '"end"',
    "{}",
    '{"end":false}',
    '{"end":true,"path":["a"]}',
    '{"end":true }',
    ` ${good}`,
    `${good} `,
    `${good}\r`,
    `\ufeff${good}`,
    good.replace(",", ", "),
    good.replace('"a"', '"\\u0061"'),
    good.replace('"size":3', '"size":3.0'),
    good.replace('"size":3', '"size":3e0'),
    good.replace('"size":3', '"size":-0'),
    good.replace('"size":3', '"size":-1'),
    good.replace('"size":3', '"size":1.5'),
    good.replace('"size":3', '"size":"3"'),
    good.replace('"size":3', '"size":null'),
    good.replace('"size":3', '"size":65536'),
    good.replace('"size":3', '"size":3,"size":3'),
    good.replace('"size":3', '"size":3,"mode":1'),
    good.replace('"size":3', '"size":3,"__proto__":1'),
    good.replace('"size":3,', ""),
    good.replace('["a"]', "[]"),
    good.replace('["a"]', '"a"'),
    good.replace('["a"]', "[1]"),
    good.replace('["a"]', "[null]"),
    good.replace('["a"]', '[["a"]]'),
    good.replace('"path":["a"],', ""),
    good.replace(time, '"1970-01-01"'),
    good.replace(time, '"1970-02-30T00:00:00.000Z"'),
    good.replace(time, "0"),
    good.replace(SHA256, SHA256.toUpperCase()),
    good.replace(SHA256, SHA256.slice(1)),
    good.replace("}", ',"if-none-match":"a"}'),
    good.replace("}", ',"status":200}'),
    good.replace("}", ',"kind":"file"}'),
    '{"path":["a"],"kind":"file"}',
    '{"path":["a"],"kind":"directory","size":0}',
    '{"path":[],"kind":"directory"}',
    '{"path":["a"],"status":404}',
    good.slice(0, -1),
    "[".repeat(60_000) + "]".repeat(5000),
    "[".repeat(30_000) + "]".repeat(30_000),
  ];
  for (const line of bad) {
    const bytes = encode(`${line}\nabc${BUNDLE_END}`);
    assertThrows(() => parse(PUT_REQUEST, bytes), BundleError, undefined, line.slice(0, 200));
  }
  assertEquals(parse(PUT_REQUEST, encode(`${good}\nabc${BUNDLE_END}`)), [
    { record: FILE, content: encode("abc") },
  ]);
  for (const answer of ['{"status":200}', '{"status":"204"}', '{"status":204,"path":["a"]}']) {
    assertThrows(() => parse(PUT_ANSWER, encode(`${answer}\n${BUNDLE_END}`)), BundleError);
  }
  for (
    const answer of [
      '{"path":["a"],"status":500}',
      '{"path":["a"],"status":200}',
      '{"path":["a"],"status":404,"size":0}',
      '{"path":[],"status":404}',
    ]
  ) {
    assertThrows(() => parse(GET_ANSWER, encode(`${answer}\n${BUNDLE_END}`)), BundleError);
  }
  const invalid = encode(`${good}\nabc${BUNDLE_END}`);
  invalid[good.indexOf('"a"') + 1] = 0xff;
  assertThrows(() => parse(PUT_REQUEST, invalid), BundleError, "not JSON");
});

Deno.test("a bundle that is cut anywhere, or goes on after its end, is an error", () => {
  const whole = `${formatRecord(FILE)}abc${formatRecord({ path: ["b"], kind: "directory" })}` +
    BUNDLE_END;
  for (let length = 0; length < whole.length; length++) {
    const cut = encode(whole.slice(0, length));
    assertThrows(() => parse(PUT_REQUEST, cut), BundleError, "it ends early", `${length}`);
  }
  assertEquals(parse(PUT_REQUEST, encode(whole)).length, 2);
  for (const more of ["\n", " ", BUNDLE_END]) {
    for (const length of [1, 1000]) {
      const bytes = encode(whole + more);
      assertThrows(() => parse(PUT_REQUEST, bytes, length), BundleError, "bytes follow the end");
    }
  }
});

Deno.test("a line has at most 65,536 bytes, also where its end has not arrived", () => {
  const line = (length: number) => {
    const empty = JSON.stringify({ path: [""], kind: "directory" });
    return encode(empty.replace('""', `"${"a".repeat(length - empty.length - 1)}"`) + "\n");
  };
  assertEquals(line(MAX_LINE_BYTES).length, MAX_LINE_BYTES);
  const end = encode(BUNDLE_END);
  for (const cut of [1000, 2 ** 20]) {
    const longest = new Uint8Array([...line(MAX_LINE_BYTES), ...end]);
    assertEquals(parse(PUT_REQUEST, longest, cut).length, 1);
    const longer = line(MAX_LINE_BYTES + 1);
    assertThrows(() => parse(PUT_REQUEST, longer, cut), BundleError, "more than 65536 bytes");
    const endless = longer.subarray(0, MAX_LINE_BYTES);
    assertThrows(() => parse(PUT_REQUEST, endless, cut), BundleError, "more than 65536 bytes");
  }
});

Deno.test("paths are read back, up to 10,000 of them, and nothing else is", () => {
  fc.assert(fc.property(fc.array(path, { maxLength: 5 }), (paths) => {
    assertEquals([...parsePaths(formatPaths(paths))], paths);
  }));
  const most = Array.from({ length: MAX_RECORDS }, (_, i) => [`${i}`]);
  assertEquals([...parsePaths(formatPaths(most))].length, MAX_RECORDS);
  assertEquals([...parsePaths(formatPaths([["a".repeat(32763)]]))].length, 1);
  const bad = [
    formatPaths([...most, ["a"]]),
    ...["\n", '["a"]', '["a"] \n', '["a"]\r\n', '"a"\n', "[]\n", "[1]\n", "{}\n", BUNDLE_END].map(
      encode,
    ),
    formatPaths([["a".repeat(32765)]]),
    new Uint8Array([0x5b, 0x22, 0xff, 0x22, 0x5d, 0x0a]),
  ];
  for (const bytes of bad) assertThrows(() => [...parsePaths(bytes)], BundleError);
});
