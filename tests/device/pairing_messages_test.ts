/** What two devices send each other to be paired: the line, and the messages. */
import {
  decodeBase64Url,
  decodeLine,
  encodeBase64Url,
  encodeLine,
  type InvitationLine,
  isWholeLine,
} from "@degu/internal/device/invitation_line.ts";
import {
  ANSWER,
  decodeMessage,
  encodeMessage,
  INTRODUCTION,
  PROOF,
} from "@degu/internal/device/pairing_messages.ts";
import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import fc from "fast-check";
import { createHash } from "node:crypto";

const random = fc.uint8Array({ minLength: 16, maxLength: 16 });
const host = fc.oneof(fc.ipV4(), fc.constantFrom("::1", "fe80::1", "2001:db8::7", "camera.local"))
  .filter((text) => text !== "0.0.0.0" && !/^(22[4-9]|2[345]\d)\./.test(text));
const self = {
  name: fc.stringMatching(/^[0-9A-Za-z][0-9A-Za-z_-]{0,40}$/),
  addresses: fc.array(fc.tuple(host, fc.integer({ min: 1, max: 65535 })), { maxLength: 6 }),
};
const introduction = fc.record({
  secret: random,
  authority: fc.uint8Array({ maxLength: 2048 }),
  ...self,
});

Deno.test("messages are parsed back into their fields, or some of them", () => {
  const messages = [
    [INTRODUCTION, introduction],
    [ANSWER, fc.record({ value: random, ...self })],
    [PROOF, fc.record({ value: random })],
  ] as const;
  for (const [names, message] of messages) {
    fc.assert(fc.property(message as fc.Arbitrary<Record<string, unknown>>, (given) => {
      const bytes = encodeMessage(given);
      assertEquals(decodeMessage(bytes, names, names) as Record<string, unknown>, given);
      const [first] = names;
      assertEquals(decodeMessage(bytes, names, [first])[first], given[first]);
    }));
  }
});

Deno.test("an invalid message is a RangeError, which quotes nothing of it", () => {
  const bytes = fc.oneof(
    fc.uint8Array(),
    fc.json().map((text) => new TextEncoder().encode(text)),
    fc.tuple(introduction, fc.json(), fc.constantFrom("secret", "authority", "name", "addresses"))
      .map(([given, json, field]) => {
        const fields = JSON.parse(new TextDecoder().decode(encodeMessage(given)));
        fields[field] = { wrong: JSON.parse(json) };
        return new TextEncoder().encode(JSON.stringify(fields));
      }),
  );
  fc.assert(fc.property(bytes, (received) => {
    for (const names of [INTRODUCTION, ANSWER, PROOF]) {
      assertThrows(() => decodeMessage(received, names, names), RangeError);
    }
  }));
  for (const text of ["{}", "null", "[]", "7", '{"value":7}', '{"__proto__":{"value":"AA"}}']) {
    const received = new TextEncoder().encode(text);
    assertThrows(() => decodeMessage(received, PROOF, PROOF), RangeError, "", text);
  }
  const received = new TextEncoder().encode('{"hunter2');
  const error = assertThrows(() => decodeMessage(received, PROOF, PROOF), RangeError);
  assertEquals(error.message.includes("hunter2"), false);
});

Deno.test("a message with a field that is not as it has to be is refused", () => {
  const random = encodeBase64Url(new Uint8Array(16));
  const right = { secret: random, value: random, authority: "", name: "camera", addresses: [] };
  const all = Object.keys(right) as (keyof typeof right)[];
  const randoms = ["", "AA", `${random}A`, `${random}==`, null, 7, [random]];
  const names = ["", "-", "-a", "a b", "a/b", "..", "../a", "a\nb", "é", "a".repeat(64)];
  const wrong: Record<keyof typeof right, unknown[]> = {
    secret: randoms,
    value: randoms,
    authority: ["=", "AB", "-----BEGIN CERTIFICATE-----", null, 7],
    name: [...names, "a".repeat(52), null, 7, ["camera"], { toString: "camera" }],
    addresses: ["10.0.0.1:80", null, Array(7).fill(["10.0.0.1", 80]), [["/run/a.socket", 80]]],
  };
  for (const field of all) {
    for (const value of wrong[field]) {
      const received = new TextEncoder().encode(JSON.stringify({ ...right, [field]: value }));
      const read = () => decodeMessage(received, all, [field]);
      assertThrows(read, RangeError, "", `${field}: ${Deno.inspect(value)}`);
    }
  }
});

const DAY = 24 * 60 * 60 * 1000;

const bytes = (min: number, max: number) => fc.uint8Array({ minLength: min, maxLength: max });
const port = fc.integer({ min: 1, max: 65535 });
const lineHost = fc.oneof(
  fc.ipV4(),
  fc.ipV6().map((text) => new URL(`http://[${text}]/`).hostname.slice(1, -1)),
);
const content: fc.Arbitrary<InvitationLine> = fc.record({
  authority: bytes(1, 2048),
  addresses: fc.array(fc.tuple(lineHost, port), { minLength: 1, maxLength: 6 }),
  secret: bytes(16, 16),
  expires: fc.date({ min: new Date(), max: new Date(Date.now() + DAY), noInvalidDate: true }),
});

const sample: InvitationLine = {
  authority: new Uint8Array(500).map((_, index) => index),
  addresses: [["192.0.2.7", 7443], ["2001:db8::1", 1], ["fe80::1:2", 65535]],
  secret: new Uint8Array(16).fill(7),
  expires: new Date(Date.now() + 600_000),
};

/** A line of any bytes, with the right checksum. */
function lineOf(version: number, rest: Uint8Array): string {
  const digest = createHash("sha256").update(Uint8Array.of(version)).update(rest).digest();
  const all = Uint8Array.from([version, ...digest.subarray(0, 4), ...rest]);
  return `degu:${all.toBase64({ alphabet: "base64url", omitPadding: true })}`;
}

/** What is behind the checksum of a line. */
function restOf(line: string): Uint8Array {
  return Uint8Array.fromBase64(line.slice("degu:".length), { alphabet: "base64url" }).slice(5);
}

Deno.test("a line is parsed back into its fields", () => {
  fc.assert(fc.property(content, (given) => {
    const line = encodeLine(given);
    assertMatch(line, /^degu:[A-Za-z0-9_-]+$/);
    assertEquals(decodeLine(line), {
      ...given,
      addresses: given.addresses.map(([host, port]) => Object.freeze([host, port] as const)),
    });
  }));
});

Deno.test("white space anywhere in a line is ignored", () => {
  const line = encodeLine(sample);
  const spaced = [...line].join("\n ").replaceAll("\n \n ", "\t\r\n\u00a0");
  assertEquals(decodeLine(` ${spaced} \n`), decodeLine(line));
});

Deno.test("a line with a changed character, or one that is cut or extended, is reported as garbled", () => {
  const line = encodeLine(sample);
  fc.assert(fc.property(
    fc.integer({ min: "degu:".length, max: line.length - 1 }),
    fc.constantFrom(..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=.é"),
    (index, character) => {
      fc.pre(line[index] !== character);
      const changed = line.slice(0, index) + character + line.slice(index + 1);
      assertThrows(() => decodeLine(changed), RangeError, "garbled");
      assertThrows(() => decodeLine(line.slice(0, index)), RangeError, "garbled");
      assertThrows(() => decodeLine(line + character), RangeError, "garbled");
    },
  ));
});

Deno.test("a line of a newer version is reported as such, an older one as garbled", () => {
  const rest = restOf(encodeLine(sample));
  assertEquals(decodeLine(lineOf(1, rest)).secret, sample.secret);
  assertThrows(() => decodeLine(lineOf(2, rest)), RangeError, "a newer version, 2");
  assertThrows(() => decodeLine(lineOf(255, Uint8Array.of(1))), RangeError, "a newer version, 255");
  assertThrows(() => decodeLine(lineOf(0, rest)), RangeError, "garbled");
  // So many bytes have 16,384 characters.
  assertThrows(() => decodeLine(lineOf(2, new Uint8Array(12279))), RangeError, "a newer version");
  assertThrows(() => decodeLine(lineOf(2, new Uint8Array(12280))), RangeError, "garbled");
});

Deno.test("text that is not a line is reported as foreign, and not quoted", () => {
  const texts = ["", "hello", "DEGU:abc", "https://example.com/degu:abc", "degu", "\u200bdegu:"];
  for (const text of [...texts, "-----BEGIN EC PRIVATE KEY-----"]) {
    const error = assertThrows(() => decodeLine(text), RangeError, 'begins with "degu:"');
    if (text.length > 6) assertEquals(error.message.includes(text), false);
  }
  assertThrows(() => decodeLine(7 as unknown as string), TypeError, "number");
});

Deno.test("an invitation line is refused if it expired more than a day ago, to the millisecond, and no earlier", () => {
  const { expires } = sample;
  const line = encodeLine(sample);
  const end = expires.getTime() + DAY;
  assertEquals(decodeLine(line, end).expires, expires);
  assertThrows(() => decodeLine(line, end + 1), RangeError, `expired at ${expires.toISOString()}`);
  // A clock that is behind says nothing of a line.
  assertEquals(decodeLine(line, 0).expires, expires);
});

Deno.test("an intact line with invalid content is refused", () => {
  const authority = (length: number) => [length >> 8, length & 255, ...new Uint8Array(length)];
  const address = [4, 192, 0, 2, 7, 1, 0];
  const timeOf = (time: bigint) => new Uint8Array(new BigUint64Array([time]).buffer).toReversed();
  const end = [...new Uint8Array(16), ...timeOf(8_640_000_000_000_000n)];
  const table: [string, number[]][] = [
    ["no authority", [...authority(0), 1, ...address, ...end]],
    ["an authority of over 2 KiB", [...authority(2049), 1, ...address, ...end]],
    ["an authority that is cut", [255, 255, 0, 0]],
    ["no address", [...authority(9), 0, ...end]],
    ["seven addresses", [...authority(9), 7, ...Array(7).fill(address).flat(), ...end]],
    ["an address of no family", [...authority(9), 1, 5, 192, 0, 2, 7, 1, 0, ...end]],
    ["the port 0", [...authority(9), 1, 4, 192, 0, 2, 7, 0, 0, ...end]],
    ["bytes that are left", [...authority(9), 1, ...address, ...end, 0]],
    ["a byte too few", [...authority(9), 1, ...address, ...end.slice(1)]],
    ["a time that is none", [
      ...authority(9),
      1,
      ...address,
      ...end.slice(0, 16),
      ...timeOf(8_640_000_000_000_001n),
    ]],
    ["nothing", []],
  ];
  for (const length of [1, 2048]) {
    const whole = [...authority(length), 6, ...Array(6).fill(address).flat(), ...end];
    assertEquals(decodeLine(lineOf(1, Uint8Array.from(whole)), 0).addresses.length, 6);
  }
  for (const [what, rest] of table) {
    assertThrows(
      () => decodeLine(lineOf(1, Uint8Array.from(rest)), 0),
      RangeError,
      "garbled",
      what,
    );
  }
});

Deno.test("no text makes reading a line fail in any other way", () => {
  fc.assert(fc.property(fc.string(), (text) => {
    assertThrows(() => decodeLine(`degu:${text}`), RangeError);
  }));
  fc.assert(fc.property(fc.constantFrom(1, 2), bytes(0, 3000), (version, rest) => {
    assertThrows(() => decodeLine(lineOf(version, rest)), RangeError);
  }));
});

Deno.test("a line is complete when its end has arrived, whether or not it is valid", () => {
  const line = encodeLine(sample);
  assertEquals(isWholeLine(line), true);
  assertEquals(isWholeLine(` ${line.replaceAll(/(.{50})/g, "$1\n")}\n`), true);
  for (const length of [5, 6, 100, line.length - 1]) {
    assertEquals(isWholeLine(line.slice(0, length)), false, String(length));
  }
  const expired = encodeLine({ ...sample, expires: new Date(0) });
  for (const text of ["", "hello", expired, lineOf(2, restOf(line))]) {
    assertEquals(isWholeLine(text), true, text);
  }
});

Deno.test("base64url (RFC 4648 §5) is written without padding, and each value has one text", () => {
  const rows: [bytes: number[], text: string][] = [
    [[], ""],
    [[0], "AA"],
    [[0, 0], "AAA"],
    [[0, 0, 0], "AAAA"],
    [[0xfb, 0xff, 0xfe], "-__-"],
    [[0x66, 0x6f, 0x6f, 0x62], "Zm9vYg"],
  ];
  for (const [bytes, text] of rows) {
    assertEquals(encodeBase64Url(new Uint8Array(bytes)), text);
    assertEquals(decodeBase64Url(text), new Uint8Array(bytes));
  }
  const others = ["AA==", "A A", "AA\n", " AA", "AB", "AAB", "A", "+__-", "-/_-", "AA.", "Ä", "="];
  for (const text of others) assertEquals(decodeBase64Url(text), null, JSON.stringify(text));
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
    assertEquals(decodeBase64Url(encodeBase64Url(bytes)), bytes);
  }));
  const text = fc.string({ unit: fc.constantFrom(..."AB-_+/= \nz"), maxLength: 8 });
  fc.assert(fc.property(text, (text) => {
    const bytes = decodeBase64Url(text);
    if (bytes !== null) assertEquals(encodeBase64Url(bytes), text);
  }));
});
