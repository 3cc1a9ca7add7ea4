/** The line of an invitation, and the messages of a pairing. */
import { PairingError, parseInvitation } from "@degu/device";
import {
  decodeLine,
  encodeBase64Url,
  encodeLine,
  type InvitationLine,
} from "@degu/internal/device/invitation_line.ts";
import {
  ANSWER_FIELDS,
  decodeMessage,
  encodeMessage,
  INTRODUCTION_FIELDS,
  PROOF_FIELDS,
} from "@degu/internal/device/pairing_messages.ts";
import { patch } from "@degu/testing/patching.ts";
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import fc from "fast-check";
import { createHash } from "node:crypto";
import { setClockAhead } from "@degu/testing/clock.ts";
import { TestDevices } from "@degu/testing/device_pairs.ts";

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

Deno.test("messages are parsed into their fields, or into some of them", () => {
  const messages = [
    [INTRODUCTION_FIELDS, introduction],
    [ANSWER_FIELDS, fc.record({ value: random, ...self })],
    [PROOF_FIELDS, fc.record({ value: random })],
  ] as const;
  for (const [names, message] of messages) {
    fc.assert(fc.property(message as fc.Arbitrary<Record<string, unknown>>, (fields) => {
      const bytes = encodeMessage(fields);
      assertEquals(decodeMessage(bytes, names) as Record<string, unknown>, fields);
      const [first] = names;
      assertEquals(decodeMessage(bytes, [first], names)[first], fields[first]);
    }));
  }
});

Deno.test("an invalid message is a RangeError, which does not quote the message", () => {
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
    for (const names of [INTRODUCTION_FIELDS, ANSWER_FIELDS, PROOF_FIELDS]) {
      assertThrows(() => decodeMessage(received, names), RangeError);
    }
  }));
  for (const text of ["{}", "null", "[]", "7", '{"value":7}', '{"__proto__":{"value":"AA"}}']) {
    const received = new TextEncoder().encode(text);
    assertThrows(() => decodeMessage(received, PROOF_FIELDS), RangeError, "", text);
  }
  const received = new TextEncoder().encode('{"hunter2');
  const error = assertThrows(() => decodeMessage(received, PROOF_FIELDS), RangeError);
  assertEquals(error.message.includes("hunter2"), false);
});

Deno.test("a message with an invalid field is refused", () => {
  const random = encodeBase64Url(new Uint8Array(16));
  const randomFields = { secret: random, value: random };
  const validFields = { ...randomFields, authority: "", name: "camera", addresses: [] };
  const fieldNames = Object.keys(validFields) as (keyof typeof validFields)[];
  const randoms = ["", "AA", `${random}A`, `${random}==`, null, 7, [random]];
  const names = ["", "-", "-a", "a b", "a/b", "..", "../a", "a\nb", "é", "a".repeat(64)];
  const invalidFields: Record<keyof typeof validFields, unknown[]> = {
    secret: randoms,
    value: randoms,
    authority: ["=", "AB", "-----BEGIN CERTIFICATE-----", null, 7],
    name: [...names, "a".repeat(52), null, 7, ["camera"], { toString: "camera" }],
    addresses: ["10.0.0.1:80", null, Array(7).fill(["10.0.0.1", 80]), [["/run/a.socket", 80]]],
  };
  for (const field of fieldNames) {
    for (const value of invalidFields[field]) {
      const received = new TextEncoder().encode(JSON.stringify({ ...validFields, [field]: value }));
      const decode = () => decodeMessage(received, [field], fieldNames);
      assertThrows(decode, RangeError, "", `${field}: ${Deno.inspect(value)}`);
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
  addresses: fc.array(fc.tuple(lineHost, port, port), { minLength: 1, maxLength: 6 }),
  secret: bytes(16, 16),
  expires: fc.date({ min: new Date(), max: new Date(Date.now() + DAY), noInvalidDate: true }),
});

const sample: InvitationLine = {
  keyHash: new Uint8Array(32).map((_, index) => index),
  addresses: [["192.0.2.7", 7443, 7444], ["2001:db8::1", 1, 2], ["fe80::1:2", 65535, 3]],
  secret: new Uint8Array(16).fill(7),
  expires: new Date(Date.now() + 600_000),
};

/** Makes a line from any bytes, with a valid checksum. */
function lineOf(version: number, payload: Uint8Array): string {
  const digest = createHash("sha256").update(Uint8Array.of(version)).update(payload).digest();
  const lineBytes = Uint8Array.from([version, ...digest.subarray(0, 4), ...payload]);
  return `degu:${lineBytes.toBase64({ alphabet: "base64url", omitPadding: true })}`;
}

/** Returns the bytes of a line after the checksum. */
function payloadOf(line: string): Uint8Array {
  return Uint8Array.fromBase64(line.slice("degu:".length), { alphabet: "base64url" }).slice(5);
}

Deno.test("a line is parsed into its fields", () => {
  fc.assert(fc.property(content, (given) => {
    const line = encodeLine(given);
    assertMatch(line, /^degu:[A-Za-z0-9_-]+$/);
    assertEquals(decodeLine(line), given);
  }));
});

Deno.test("a line has the documented bytes", () => {
  const [first, second] = sample.addresses;
  const fields = { ...sample, expires: new Date(0x0102030405) };
  const begin = sample.keyHash.toHex() + "07".repeat(16) + "0000000102030405";
  const addressBytes = "04c00002071d131d14" + "1020010db800000000000000000000000100010002";
  const line = encodeLine({ ...fields, addresses: [first!, second!] });
  assertEquals(payloadOf(line).toHex(), begin + addressBytes);
  assertEquals(line, lineOf(2, Uint8Array.fromHex(begin + addressBytes)));
});

Deno.test("a line with one IPv4 and one IPv6 host has at most 128 characters", () => {
  const { length } = encodeLine({ ...sample, addresses: sample.addresses.slice(0, 2) });
  assert(length <= 128, `${length}`);
});

Deno.test("a line that is changed, truncated or extended is reported as garbled", () => {
  const line = encodeLine(sample);
  fc.assert(fc.property(
    fc.integer({ min: "degu:".length, max: line.length - 1 }),
    fc.constantFrom(..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=.é"),
    (index, character) => {
      fc.pre(line[index] !== character);
      const changedLine = line.slice(0, index) + character + line.slice(index + 1);
      assertThrows(() => decodeLine(changedLine), PairingError, "garbled");
      assertThrows(() => decodeLine(line.slice(0, index)), PairingError, "garbled");
      assertThrows(() => decodeLine(line + character), PairingError, "garbled");
    },
  ));
});

Deno.test("a line of another version is reported as such", () => {
  const content = payloadOf(encodeLine(sample));
  assertEquals(decodeLine(lineOf(2, content)).secret, sample.secret);
  for (const version of [0, 1, 3, 255]) {
    for (const otherContent of [content, Uint8Array.of(1), new Uint8Array(500)]) {
      const decode = () => decodeLine(lineOf(version, otherContent));
      const message = `has version ${version}, and this program reads version 2`;
      assertThrows(decode, PairingError, message);
    }
  }
});

Deno.test("a text that is not a line is reported as such, and not quoted", () => {
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
  const lastTime = expires.getTime() + DAY;
  {
    using _ = patch(Date, "now", () => () => lastTime);
    assertEquals(decodeLine(line).expires, expires);
  }
  {
    using _ = patch(Date, "now", () => () => lastTime + 1);
    assertThrows(() => decodeLine(line), PairingError, `expired at ${expires.toISOString()}`);
  }
  // A slow clock has no effect.
  using _ = patch(Date, "now", () => () => 0);
  assertEquals(decodeLine(line).expires, expires);
});

Deno.test("an intact line with invalid content is refused", () => {
  const timeOf = (time: bigint) => new Uint8Array(new BigUint64Array([time]).buffer).toReversed();
  const keyHashAndSecret = new Uint8Array(48);
  const begin = [...keyHashAndSecret, ...timeOf(8_640_000_000_000_000n)];
  const ports = [1, 0, 2, 0];
  const address = [4, 192, 0, 2, 7, ...ports];
  const table: [string, number[]][] = [
    ["nothing", []],
    ["a truncated hash", [...new Uint8Array(31)]],
    ["an invalid time", [...keyHashAndSecret, ...timeOf(8_640_000_000_000_001n), ...address]],
    ["no address", begin],
    ["the port 0 of TLS", [...begin, 4, 192, 0, 2, 7, 0, 0, 2, 0]],
    ["the plain port 0", [...begin, 4, 192, 0, 2, 7, 1, 0, 0, 0]],
    ["seven addresses", [...begin, ...Array(7).fill(address).flat()]],
    ["an address of an unknown family", [...begin, 5, 192, 0, 2, 7, 1, ...ports]],
    ["a byte after the end", [...begin, ...address, 0]],
    ["a missing byte", [...begin, ...address.slice(0, -1)]],
    ["a truncated host", [...begin, 16, ...new Uint8Array(15)]],
  ];
  const sixAddresses = [...begin, ...Array(6).fill(address).flat()];
  const { addresses } = decodeLine(lineOf(2, Uint8Array.from(sixAddresses)));
  assertEquals(addresses, Array(6).fill(["192.0.2.7", 256, 512]));
  for (const [label, payload] of table) {
    const line = lineOf(2, Uint8Array.from(payload));
    assertThrows(() => decodeLine(line), PairingError, "garbled", label);
  }
});

Deno.test("parsing any text as a line fails only with these errors", () => {
  fc.assert(fc.property(fc.string(), (text) => {
    assertThrows(() => decodeLine(`degu:${text}`), PairingError);
  }));
  fc.assert(fc.property(fc.constantFrom(1, 2, 3), bytes(0, 3000), (version, payload) => {
    assertThrows(() => decodeLine(lineOf(version, payload)), PairingError);
  }));
});

// The parsed line of an invitation.

const LISTEN = { listen: [["127.0.0.1", 0], ["::1", 0]] } as const;

Deno.test("parseInvitation returns the id, the addresses and the time of an invitation, but not its secret", async () => {
  await using devices = await TestDevices.create();
  const camera = await devices.open("camera");
  await using invitation = await camera.invite(LISTEN);
  const { line, addresses, expires } = invitation;
  const parsed = parseInvitation(line);
  assertEquals(parsed, { id: camera.id, addresses: addresses as typeof parsed.addresses, expires });
  // White space in a wrapped line is ignored.
  assertEquals(parseInvitation(` ${line.replaceAll(/.{20}/g, "$&\r\n")}`), parsed);
  assert(Object.isFrozen(parsed.addresses));
});

Deno.test("parseInvitation rejects an invalid line with a code, and doesn't quote the line", async () => {
  await using devices = await TestDevices.create();
  await using invitation = await (await devices.open("camera")).invite(LISTEN);
  const { line } = invitation;
  const codeOf = (text: string) => {
    const { code, message } = assertThrows(() => parseInvitation(text), PairingError);
    assert(text.length < 20 || !message.includes(text.slice(5, 20)), message);
    return code;
  };
  assertEquals(codeOf("hello"), "NOT_A_LINE");
  assertEquals(codeOf(""), "NOT_A_LINE");
  for (let length = "degu:".length; length < line.length; length++) {
    assertEquals(codeOf(line.slice(0, length)), "GARBLED");
  }
  assertEquals(codeOf(`${line}a`), "GARBLED");
  using _ = setClockAhead(2 * 24 * 60 * 60 * 1000);
  assertEquals(codeOf(line), "EXPIRED");
  assertThrows(() => Reflect.apply(parseInvitation, null, [null]), TypeError, "line: must be");
});
