/** repr-digest and want-repr-digest. */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  formatReprDigest,
  parseReprDigest,
  parseWantReprDigest,
  WANT_SHA256,
} from "@degu/internal/files/digest.ts";
import { assertRangeError } from "@degu/testing/expectations.ts";
import { checkLinear } from "../fuzz/linear.ts";

// SHA-256 of nothing.
const HEX = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const BASE64 = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

Deno.test("a digest is formatted as in RFC 9530, and read back", () => {
  assertEquals(formatReprDigest(HEX), `sha-256=:${BASE64}:`);
  fc.assert(fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
    assertEquals(parseReprDigest(formatReprDigest(bytes.toHex())), bytes.toHex());
  }));
  for (const wrong of ["", HEX.toUpperCase(), HEX.slice(1), `${HEX}0`, `${HEX}\n`, BASE64]) {
    assertRangeError(() => formatReprDigest(wrong), wrong);
  }
});

Deno.test("a digest is found among digests of other algorithms", () => {
  const mine = `sha-256=:${BASE64}:`;
  const cases: [value: string, expected: string | null][] = [
    [mine, HEX],
    [`sha-512=:AAAA:, ${mine}`, HEX],
    [`${mine},sha-512=:AA==:`, HEX],
    [`${mine} , x.y_z*-1=::`, HEX],
    ["sha-512=:AAAA:", null],
    ["md5=:AAA=:", null],
  ];
  for (const [value, expected] of cases) assertEquals(parseReprDigest(value), expected, value);
});

Deno.test("an invalid digest is refused", () => {
  const values = [
    ...["", " ", ",", "sha-256", "sha-256=", `sha-256=${BASE64}`, `sha-256="${BASE64}"`, HEX],
    ...[`sha-256=:${HEX}:`, `sha-256=:${BASE64}`, `sha-256=${BASE64}:`, `SHA-256=:${BASE64}:`],
    ...[`sha-256=:${BASE64}:;a=1`, `sha-256=:${BASE64}:,`, `,sha-256=:${BASE64}:`, "sha-256=::"],
    ...[`sha-256=:${BASE64}:, sha-256=:${BASE64}:`, ` sha-256=:${BASE64}:`, `sha-256=:${BASE64}: `],
    // Padding that is missing, bits that no byte has, another alphabet.
    ...[`sha-256=:${BASE64.slice(0, -1)}:`, `sha-256=:${BASE64.slice(0, -2)}V=:`],
    ...[
      `sha-256=:${BASE64.replace("/", "_")}:`,
      `sha-256=: ${BASE64}:`,
      "sha-512=:A:",
      "sha-512=:AB==:",
    ],
    ...[`sha-256=(:${BASE64}:)`, `sha-256=:${BASE64}:\n`, "sha-512=1, sha-256=2", "é=:AAAA:"],
  ];
  for (const value of values) assertRangeError(() => parseReprDigest(value), value);
});

Deno.test("a want-repr-digest header is read with its preferences", () => {
  const cases: [value: string, expected: number][] = [
    [WANT_SHA256, 10],
    ["sha-256=1", 1],
    ["sha-256=0", 0],
    ["sha-512=10", 0],
    ["sha-512=10, sha-256=3", 3],
    ["sha-256=3,md5=0", 3],
  ];
  for (const [value, expected] of cases) assertEquals(parseWantReprDigest(value), expected, value);
  const wrong = ["", "sha-256", "sha-256=", "sha-256=11", "sha-256=-1", "sha-256=+1", "sha-256=01"];
  const worse = [
    "sha-256=1.0",
    "sha-256=1;q=1",
    "sha-256=1,sha-256=1",
    "sha-256=:AAAA:",
    "1",
    ",",
    "sha-256=1,",
  ];
  for (const value of [...wrong, ...worse]) {
    assertRangeError(() => parseWantReprDigest(value), value);
  }
});

Deno.test("the time to parse digests grows linearly with their length", async () => {
  for (const parse of [parseReprDigest, parseWantReprDigest]) {
    const target = { long: 32_000, make: (text: string) => () => parse(text) };
    const digests = "sha-512=:" + "A".repeat(4);
    const cases = [
      ["a", " ", "b"],
      ["a=1", " ", ",b=1"],
      ["a=1,", " ", "b=1"],
      ["", ",", ""],
      ["", " ,", ""],
      ["a", "a", ""],
      [digests, "AAAA", ""],
      [digests, "AAAA", "="],
      [digests, "=", ":"],
    ] as const;
    for (const [before, part, after] of cases) await checkLinear(target, before, part, after);
  }
});
