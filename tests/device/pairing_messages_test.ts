/** What two devices send each other to be paired: the line, and the messages. */
import { PairingError, parseInvitation } from "@degu/degu/device";
import {
  decodeLine,
  encodeBase64Url,
  encodeLine,
  type InvitationLine,
  type LineAddress,
} from "@degu/internal/device/invitation_line.ts";
import {
  ANSWER,
  decodeMessage,
  encodeMessage,
  INTRODUCTION,
  PROOF,
} from "@degu/internal/device/pairing_messages.ts";
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
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
      assertEquals(decodeMessage(bytes, names) as Record<string, unknown>, given);
      const [first] = names;
      assertEquals(decodeMessage(bytes, [first], names)[first], given[first]);
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
      assertThrows(() => decodeMessage(received, names), RangeError);
    }
  }));
  for (const text of ["{}", "null", "[]", "7", '{"value":7}', '{"__proto__":{"value":"AA"}}']) {
    const received = new TextEncoder().encode(text);
    assertThrows(() => decodeMessage(received, PROOF), RangeError, "", text);
  }
  const received = new TextEncoder().encode('{"hunter2');
  const error = assertThrows(() => decodeMessage(received, PROOF), RangeError);
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
      const read = () => decodeMessage(received, [field], all);
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
  keyHash: bytes(32, 32),
  addresses: fc.oneof(
    fc.array(fc.tuple(lineHost, port, port), { minLength: 1, maxLength: 6 }),
    // One pair of ports for all.
    fc.tuple(fc.array(lineHost, { minLength: 1, maxLength: 6 }), port, port)
      .map(([hosts, tls, plain]) => hosts.map((host) => [host, tls, plain] as const)),
  ),
  secret: bytes(16, 16),
  expires: fc.date({ min: new Date(), max: new Date(Date.now() + DAY), noInvalidDate: true }),
});

const sample: InvitationLine = {
  keyHash: new Uint8Array(32).map((_, index) => index),
  addresses: [["192.0.2.7", 7443, 7444], ["2001:db8::1", 1, 2], ["fe80::1:2", 65535, 3]],
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
    assertEquals(decodeLine(line), given);
  }));
});

Deno.test("the bytes of a line", () => {
  const [first, second] = sample.addresses;
  const fields = { ...sample, expires: new Date(0x0102030405) };
  const begin = sample.keyHash.toHex() + "07".repeat(16) + "0000000102030405";
  const rows: [addresses: LineAddress[], end: string][] = [
    [[first!], "011d131d14" + "04c0000207"],
    [[first!, second!], "021d131d1400010002" + "04c0000207" + "0620010db8000000000000000000000001"],
    [[first!, ["::1", 7443, 7444]], "011d131d14" + "04c0000207" + "06" + "00".repeat(15) + "01"],
  ];
  for (const [addresses, end] of rows) {
    const line = encodeLine({ ...fields, addresses });
    assertEquals(restOf(line).toHex(), begin + end);
    assertEquals(line, lineOf(2, Uint8Array.fromHex(begin + end)));
  }
});

Deno.test("a line with one IPv4 and one IPv6 host has at most 160 characters, whatever its ports", () => {
  fc.assert(fc.property(fc.array(port, { minLength: 4, maxLength: 4 }), ([a, b, c, d]) => {
    const addresses: LineAddress[] = [["192.0.2.7", a!, b!], ["2001:db8::1", c!, d!]];
    assert(encodeLine({ ...sample, addresses }).length <= 128);
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
      assertThrows(() => decodeLine(changed), PairingError, "garbled");
      assertThrows(() => decodeLine(line.slice(0, index)), PairingError, "garbled");
      assertThrows(() => decodeLine(line + character), PairingError, "garbled");
    },
  ));
});

Deno.test("a line of a newer version, or of an older one, is reported as such", () => {
  const rest = restOf(encodeLine(sample));
  assertEquals(decodeLine(lineOf(2, rest)).secret, sample.secret);
  assertThrows(() => decodeLine(lineOf(3, rest)), PairingError, "a newer version, 3");
  assertThrows(
    () => decodeLine(lineOf(255, Uint8Array.of(1))),
    PairingError,
    "a newer version, 255",
  );
  assertThrows(
    () => decodeLine(lineOf(1, new Uint8Array(500))),
    PairingError,
    "an older version, 1",
  );
  assertThrows(() => decodeLine(lineOf(0, rest)), PairingError, "an older version, 0");
  // So many bytes have 16,384 characters.
  assertThrows(() => decodeLine(lineOf(3, new Uint8Array(12279))), PairingError, "a newer version");
  assertThrows(() => decodeLine(lineOf(3, new Uint8Array(12280))), PairingError, "garbled");
});

Deno.test("text that is not a line is reported as foreign, and not quoted", () => {
  const texts = ["", "hello", "DEGU:abc", "https://example.com/degu:abc", "degu", "\u200bdegu:"];
  for (const text of [...texts, "-----BEGIN EC PRIVATE KEY-----"]) {
    const error = assertThrows(() => decodeLine(text), PairingError, 'begins with "degu:"');
    if (text.length > 6) assertEquals(error.message.includes(text), false);
  }
  assertThrows(() => decodeLine(7 as unknown as string), TypeError, "number");
});

Deno.test("an invitation line is refused if it expired more than a day ago, to the millisecond, and no earlier", () => {
  const { expires } = sample;
  const line = encodeLine(sample);
  const end = expires.getTime() + DAY;
  assertEquals(decodeLine(line, end).expires, expires);
  assertThrows(
    () => decodeLine(line, end + 1),
    PairingError,
    `expired at ${expires.toISOString()}`,
  );
  // A clock that is behind says nothing of a line.
  assertEquals(decodeLine(line, 0).expires, expires);
});

Deno.test("an intact line with invalid content is refused", () => {
  const timeOf = (time: bigint) => new Uint8Array(new BigUint64Array([time]).buffer).toReversed();
  const before = new Uint8Array(48);
  const begin = [...before, ...timeOf(8_640_000_000_000_000n)];
  const pair = [1, 0, 2, 0];
  const host = [4, 192, 0, 2, 7];
  const times = (count: number, each: number[]) => Array(count).fill(each).flat();
  const table: [string, number[]][] = [
    ["nothing", []],
    ["a hash that is cut", [...new Uint8Array(31)]],
    ["a time that is none", [...before, ...timeOf(8_640_000_000_000_001n), 1, ...pair, ...host]],
    ["no host", [...begin, 1, ...pair]],
    ["no pair of ports", [...begin, 0, ...host]],
    ["the port 0 of TLS", [...begin, 1, 0, 0, 2, 0, ...host]],
    ["the plain port 0", [...begin, 1, 1, 0, 0, 0, ...host]],
    ["seven hosts", [...begin, 1, ...pair, ...times(7, host)]],
    ["seven pairs and hosts", [...begin, 7, ...times(7, pair), ...times(7, host)]],
    ["fewer pairs than hosts", [...begin, 2, ...times(2, pair), ...times(3, host)]],
    ["more pairs than hosts", [...begin, 2, ...times(2, pair), ...host]],
    ["a host of no family", [...begin, 1, ...pair, 5, 192, 0, 2, 7]],
    ["a byte that is left", [...begin, 1, ...pair, ...host, 0]],
    ["a byte too few", [...begin, 1, ...pair, ...host.slice(1)]],
    ["a host that is cut", [...begin, 1, ...pair, 6, ...new Uint8Array(15)]],
  ];
  for (const pairs of [1, 6]) {
    const whole = [...begin, pairs, ...times(pairs, pair), ...times(6, host)];
    const { addresses } = decodeLine(lineOf(2, Uint8Array.from(whole)), 0);
    assertEquals(addresses, Array(6).fill(["192.0.2.7", 256, 512]));
  }
  for (const [what, rest] of table) {
    assertThrows(
      () => decodeLine(lineOf(2, Uint8Array.from(rest)), 0),
      PairingError,
      "garbled",
      what,
    );
  }
});

Deno.test("no text makes reading a line fail in any other way", () => {
  fc.assert(fc.property(fc.string(), (text) => {
    assertThrows(() => decodeLine(`degu:${text}`), PairingError);
  }));
  fc.assert(fc.property(fc.constantFrom(1, 2, 3), bytes(0, 3000), (version, rest) => {
    assertThrows(() => decodeLine(lineOf(version, rest)), PairingError);
  }));
});

Deno.test("a line is garbled until its end has arrived, and then never, valid or not", () => {
  const line = encodeLine(sample);
  const codeOf = (text: string) => assertThrows(() => parseInvitation(text), PairingError).code;
  const expired = encodeLine({ ...sample, expires: new Date(0) });
  for (const length of [5, 6, 100, line.length - 1]) {
    assertEquals(codeOf(line.slice(0, length)), "GARBLED", String(length));
  }
  const rows = { "": "NOT_A_LINE", hello: "NOT_A_LINE", [expired]: "EXPIRED" };
  for (const [text, code] of Object.entries(rows)) assertEquals(codeOf(text), code, text);
  assertEquals(codeOf(lineOf(3, restOf(line))), "NEWER");
});

Deno.test("a line with one IPv4 and one IPv6 host has 128 characters, which fit into a QR code of 41 × 41 modules", () => {
  const line = encodeLine({
    keyHash: crypto.getRandomValues(new Uint8Array(32)),
    secret: crypto.getRandomValues(new Uint8Array(16)),
    addresses: [["192.0.2.7", 40_001, 40_002], ["2001:db8::1", 40_003, 40_004]],
    expires: new Date(),
  });
  // Version 6-L holds 134 bytes (ISO/IEC 18004).
  assertEquals(line.length, 128);
});
