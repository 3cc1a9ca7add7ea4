import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  decodeAnswer,
  decodeIntroduction,
  decodeSecret,
  decodeValue,
  encodeAnswer,
  encodeIntroduction,
  encodeValue,
  isSameSecret,
  makeRandom,
} from "@degu/internal/device/pairing_messages.ts";

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

Deno.test("messages are parsed back into their fields", () => {
  fc.assert(fc.property(introduction, (given) => {
    const bytes = encodeIntroduction(given);
    assertEquals(decodeIntroduction(bytes), given);
    assertEquals(decodeSecret(bytes), given.secret);
  }));
  fc.assert(fc.property(fc.record({ value: random, ...self }), (given) => {
    assertEquals(decodeAnswer(encodeAnswer(given)), given);
  }));
  fc.assert(fc.property(random, (value) => {
    assertEquals(decodeValue(encodeValue(value)), value);
  }));
});

Deno.test("invalid messages are a RangeError, or hold no secret", () => {
  const bytes = fc.oneof(
    fc.uint8Array(),
    fc.json().map((text) => new TextEncoder().encode(text)),
    fc.tuple(introduction, fc.json(), fc.constantFrom("secret", "authority", "name", "addresses"))
      .map(([given, json, field]) => {
        const fields = JSON.parse(new TextDecoder().decode(encodeIntroduction(given)));
        fields[field] = { wrong: JSON.parse(json) };
        return new TextEncoder().encode(JSON.stringify(fields));
      }),
  );
  fc.assert(fc.property(bytes, (received) => {
    assertThrows(() => decodeIntroduction(received), RangeError);
    assertThrows(() => decodeAnswer(received), RangeError);
    assertEquals(decodeValue(received), null);
  }));
  for (const text of ["", "{}", "null", "[]", "7", '{"value":7}', '{"__proto__":{"value":"AA"}}']) {
    const received = new TextEncoder().encode(text);
    assertEquals([decodeSecret(received), decodeValue(received)], [null, null], text);
  }
});

Deno.test("no error of a message quotes what was received", () => {
  const received = new TextEncoder().encode('{"hunter2');
  const error = assertThrows(() => decodeIntroduction(received), RangeError);
  assertEquals(error.message.includes("hunter2"), false);
});

Deno.test("secrets are equal only if every byte is", () => {
  fc.assert(fc.property(random, fc.nat(15), fc.integer({ min: 1, max: 255 }), (a, at, change) => {
    const b = Uint8Array.from(a);
    assertEquals(isSameSecret(a, b), true);
    b[at]! ^= change;
    assertEquals(isSameSecret(a, b), false);
    assertEquals(isSameSecret(a, a.subarray(1)), false);
  }));
  assertEquals(isSameSecret(makeRandom(), makeRandom()), false);
});
