/**
 * The format of bundles, which have many small files in one message: formatting, parsing, and
 * invalid input.
 */
import {
  BUNDLE_END,
  BundleError,
  type BundleFormat,
  BundleParser,
  DIGEST_RESPONSE,
  formatRecord,
  GET_RESPONSE,
  type GetRecord,
  PROGRESS_RECORD,
  PUT_REQUEST,
  PUT_RESPONSE,
} from "@degu/internal/files/wire/bundle.ts";
import { MAX_LINE_BYTES } from "@degu/internal/files/wire/lines.ts";
import { parseBundle } from "./bundles.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { concat } from "@degu/testing/streams.ts";
import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";

const SHA256 = "0123456789abcdef".repeat(4);
const FILE = { path: ["a"], size: 3, modified: new Date(0), sha256: SHA256 };
const encode = (text: string) => new TextEncoder().encode(text);

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
  modified: fc.date({
    min: new Date("0000-01-01T00:00:00Z"),
    max: new Date("9999-12-31T23:59:59.999Z"),
    noInvalidDate: true,
  }),
  sha256: fc.constantFrom(SHA256, "f".repeat(64)),
});
const CUTS = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.constant(2 ** 20));

Deno.test("a record is parsed if its first byte arrives alone", () => {
  const record = { path: ["a"], status: 403 } as const;
  const bytes = encode(formatRecord(record) + BUNDLE_END);
  const parser = new BundleParser(GET_RESPONSE);
  const records = [bytes.slice(0, 1), bytes.slice(1)].flatMap((piece) => [...parser.push(piece)]);
  assertEquals(records.map(({ record }) => record), [record]);
  parser.checkEnd();
});

Deno.test("records and their contents are parsed, however the bytes are split", () => {
  const emptyContent = new Uint8Array(0);
  const foundRecord = fc.oneof(
    fc.tuple(file, content).map(([record, bytes]) =>
      [{ ...record, status: 200, size: bytes.length }, bytes] as const
    ),
    fc.tuple(path, fc.constantFrom(403, 404, 409, 413, 503)).map(([path, status]) =>
      [{ path, status }, emptyContent] as const
    ),
  );
  const putRecord = fc.oneof(
    fc.tuple(file, content, fc.constantFrom({}, { "if-none-match": "*" }, { seen: [70_000, -1] }))
      .map(([record, bytes, isNew]) => {
        return [{ ...record, size: bytes.length, ...isNew }, bytes] as const;
      }),
    path.map((path) => [{ path, kind: "directory" }, emptyContent] as const),
  );
  const check = (
    format: BundleFormat<unknown>,
    records: fc.Arbitrary<readonly [object, Uint8Array]>,
  ) => {
    const property = fc.property(
      fc.array(records, { maxLength: 5 }),
      CUTS,
      (writtenRecords, splits) => {
        const expected = writtenRecords.map(([record, bytes]) => ({
          record,
          content: format.hasContent ? bytes : emptyContent,
        }));
        const parts = expected.flatMap(({ record, content }) => [
          encode(formatRecord(record as GetRecord)),
          content,
        ]);
        assertEquals(parseBundle(format, concat([...parts, encode(BUNDLE_END)]), splits), expected);
      },
    );
    fc.assert(property, { numRuns: 25 });
  };
  check(GET_RESPONSE, foundRecord);
  check(DIGEST_RESPONSE, foundRecord);
  check(PUT_REQUEST, putRecord);
  for (const status of [201, 204, 400, 403, 404, 409, 412, 413, 414, 503, 507] as const) {
    const text = formatRecord({ status }) + BUNDLE_END;
    assertEquals(parseBundle(PUT_RESPONSE, encode(text)).map(({ record }) => record), [{ status }]);
  }
});

const LINE = JSON.stringify(FILE);
const TIME = '"1970-01-01T00:00:00.000Z"';
const withSize = (text: string) => LINE.replace('"size":3', `"size":${text}`);
const withKey = (text: string) => LINE.replace("}", `,${text}}`);
const withPath = (text: string) => LINE.replace('["a"]', text);

/**
 * Lines that aren't the shortest form of their JSON, or belong to another record, by the violated
 * rule.
 */
const BAD_LINES: readonly [rule: string, format: BundleFormat<unknown>, ...lines: string[]][] = [
  ["no record", PUT_REQUEST, "", " ", "null", "[]", "1", '"end"', "{}"],
  ["a bad end", PUT_REQUEST, '{"end":false}', '{"end":true,"path":["a"]}', '{"end":true }'],
  ["white space", PUT_REQUEST, ` ${LINE}`, `${LINE} `, `${LINE}\r`, LINE.replace(",", ", ")],
  ["a byte order mark", PUT_REQUEST, `\ufeff${LINE}`],
  ["an escape that is not needed", PUT_REQUEST, withPath('["\\u0061"]')],
  [
    "a bad size",
    PUT_REQUEST,
    ...["3.0", "-0", "-1", '"3"', "65536"].map(withSize),
  ],
  ["a key twice", PUT_REQUEST, withSize('3,"size":3')],
  ["an unknown key", PUT_REQUEST, ...['3,"mode":1', '3,"__proto__":1'].map(withSize)],
  [
    "a key of another record",
    PUT_REQUEST,
    ...['"if-none-match":"a"', '"if-none-match":"*","seen":[1,1]', '"seen":"1,1"'].map(withKey),
    ...['"status":200', '"kind":"file"'].map(withKey),
  ],
  ["a missing key", PUT_REQUEST, LINE.replace('"size":3,', ""), LINE.replace('"path":["a"],', "")],
  [
    "a bad size or time of the existing file",
    PUT_REQUEST,
    ...["[1]", "[-1,1]", "[1.5,1]", '[1,"1"]', "[1,8640000000000001]"]
      .map((seen) => withKey(`"seen":${seen}`)),
  ],
  ["a bad path", PUT_REQUEST, ...["[]", '"a"', "[1]", "[null]", '[["a"]]'].map(withPath)],
  [
    "a bad time",
    PUT_REQUEST,
    ...['"1970-01-01"', '"1970-02-30T00:00:00.000Z"', "0"].map((it) => LINE.replace(TIME, it)),
  ],
  [
    "a bad digest",
    PUT_REQUEST,
    ...[SHA256.toUpperCase(), SHA256.slice(1)].map((it) => LINE.replace(SHA256, it)),
  ],
  [
    "another record",
    PUT_REQUEST,
    ...['{"path":["a"],"kind":"file"}', '{"path":["a"],"kind":"directory","size":0}'],
    ...['{"path":[],"kind":"directory"}', '{"path":["a"],"status":404}'],
  ],
  ["no JSON", PUT_REQUEST, LINE.slice(0, -1)],
  [
    "JSON that is too deep",
    PUT_REQUEST,
    ...[5000, 30_000].map((count) => "[".repeat(60_000 - count) + "]".repeat(count)),
  ],
  [
    "a bad status of an uploaded file",
    PUT_RESPONSE,
    ...['{"status":200}', '{"status":"204"}', '{"status":204,"path":["a"]}'],
    ...['{"status":102,"path":["a"]}', '{"status":"102"}'],
  ],
  [
    "a bad status of a requested file",
    GET_RESPONSE,
    ...['{"path":["a"],"status":500}', '{"path":["a"],"status":200}', '{"status":102}'],
    ...['{"path":["a"],"status":404,"size":0}', '{"path":[],"status":404}'],
  ],
  // Without content, no other error shows that the size is invalid.
  [
    "a bad size without content",
    DIGEST_RESPONSE,
    ...["-1", '"3"', "65536"].map((size) => withSize(size).replace("{", '{"status":200,')),
  ],
];

Deno.test("rejects a line that isn't the shortest form of its JSON, or has a missing or unknown key", async (t) => {
  await testEachRow(t, BAD_LINES, (rule, format, ...lines) => {
    for (const line of lines) {
      // Bytes that belong to no record would cause another error.
      const content = format === PUT_REQUEST && line.includes('"size"') ? "abc" : "";
      const bytes = encode(`${line}\n${content}${BUNDLE_END}`);
      const expectedMessage = rule === "a bad size without content" ? "a bad size" : undefined;
      const parse = () => parseBundle(format, bytes);
      assertThrows(parse, BundleError, expectedMessage, line.slice(0, 200));
    }
  });
  assertEquals(parseBundle(PUT_REQUEST, encode(`${LINE}\nabc${BUNDLE_END}`)), [
    { record: FILE, content: encode("abc") },
  ]);
  const invalid = encode(`${LINE}\nabc${BUNDLE_END}`);
  invalid[LINE.indexOf('"a"') + 1] = 0xff;
  assertThrows(() => parseBundle(PUT_REQUEST, invalid), BundleError, "not JSON");
});

Deno.test("rejects a truncated bundle, and bytes after the end of a bundle", () => {
  const complete = `${formatRecord(FILE)}abc${formatRecord({ path: ["b"], kind: "directory" })}` +
    BUNDLE_END;
  for (let length = 0; length < complete.length; length++) {
    const parse = () => parseBundle(PUT_REQUEST, encode(complete.slice(0, length)));
    assertThrows(parse, BundleError, "it ends early", `${length}`);
  }
  assertEquals(parseBundle(PUT_REQUEST, encode(complete)).length, 2);
  for (const extraText of ["\n", " ", BUNDLE_END]) {
    for (const length of [1, 1000]) {
      const bytes = encode(complete + extraText);
      const parse = () => parseBundle(PUT_REQUEST, bytes, length);
      assertThrows(parse, BundleError, "bytes follow the end");
    }
  }
});

Deno.test("records of the status 102 belong to no file; rejects more than 120 of them before a record", () => {
  const progress = PROGRESS_RECORD.repeat(120);
  const status = formatRecord({ status: 201 });
  const parse = (text: string) =>
    parseBundle(PUT_RESPONSE, encode(text + BUNDLE_END)).map(({ record }) => record.status);
  assertEquals(parse(progress + status + progress + status + progress), [201, 201]);
  for (const prefix of ["", status]) {
    assertThrows(() => parse(prefix + progress + PROGRESS_RECORD), BundleError, "more than 120");
  }
});

Deno.test("rejects a line of more than 65,536 bytes, even before its end arrives", () => {
  const makeLine = (length: number) => {
    const emptyPathLine = JSON.stringify({ path: [""], kind: "directory" });
    const name = "a".repeat(length - emptyPathLine.length - 1);
    return encode(emptyPathLine.replace('""', `"${name}"`) + "\n");
  };
  assertEquals(makeLine(MAX_LINE_BYTES).length, MAX_LINE_BYTES);
  const endRecord = encode(BUNDLE_END);
  for (const pieceLength of [1000, 2 ** 20]) {
    const longest = new Uint8Array([...makeLine(MAX_LINE_BYTES), ...endRecord]);
    assertEquals(parseBundle(PUT_REQUEST, longest, pieceLength).length, 1);
    const longer = makeLine(MAX_LINE_BYTES + 1);
    for (const line of [longer, longer.subarray(0, MAX_LINE_BYTES)]) {
      const parse = () => parseBundle(PUT_REQUEST, line, pieceLength);
      assertThrows(parse, BundleError, "more than 65536 bytes");
    }
  }
});
