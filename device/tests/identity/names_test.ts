/** The names and the ids of devices. */
import { isDeviceName } from "@degu/device";
import {
  checkDeviceName,
  findFreeName,
  formatDeviceId,
  isDeviceId,
} from "@degu/internal/device/identity/names.ts";
import { authorityOf, TestDevices } from "@degu/testing/device_pairs.ts";
import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { createHash, X509Certificate } from "node:crypto";

Deno.test("a name that is taken gets a number, and remains a valid name", () => {
  const rows: [name: string, taken: string[], free: string][] = [
    ["cam", [], "cam"],
    ["cam", ["cam"], "cam-2"],
    ["Cam", ["cam", "cam-2"], "Cam-3"],
    ["a".repeat(63), ["a".repeat(63)], `${"a".repeat(61)}-2`],
    ["cam-2", ["cam-2"], "cam-2-2"],
  ];
  for (const [name, takenNames, expectedName] of rows) {
    assertEquals(findFreeName(name, new Set(takenNames)), expectedName);
  }
  const names = fc.stringMatching(/^[a-c][a-c-]{0,62}$/);
  fc.assert(fc.property(names, fc.array(names), (name, otherNames) => {
    const takenKeys = new Set([name, ...otherNames].map((each) => each.toLowerCase()));
    const freeName = findFreeName(name, takenKeys);
    assert(isDeviceName(freeName) && !takenKeys.has(freeName.toLowerCase()));
  }));
});

Deno.test("a name of another type causes a TypeError", () => {
  const check = checkDeviceName as (option: string, name: unknown) => void;
  for (const name of [1, null, ["a"]]) assertThrows(() => check("name", name), TypeError, "name: ");
  for (const value of [undefined, null, 5, ["a"]]) {
    assertThrows(() => Reflect.apply(isDeviceName, null, [value]), TypeError, "text: must be");
  }
});

Deno.test("a name has 1 to 63 letters, digits, hyphens and underscores, and is not an id; other texts cause a RangeError", () => {
  const id = formatDeviceId(new Uint8Array(32));
  for (const name of ["a", "0", "Cam_1-x", "a".repeat(63), id.slice(1), `${id}a`]) {
    checkDeviceName("name", name);
    assertEquals(isDeviceName(name), true, name);
  }
  const refused = ["", "-a", "_a", "a b", "a.b", "ä", "a\n", "a".repeat(64), id, id.toUpperCase()];
  for (const name of refused) {
    assertThrows(() => checkDeviceName("name", name), RangeError, "name: must be 1 to 63 letters");
    assertEquals(isDeviceName(name), false, name);
  }
});

Deno.test("a device's id is the SHA-256 of the authority's key, in base32", async () => {
  await using devices = await TestDevices.create();
  const device = await devices.open("camera");
  const { ca } = await authorityOf(device.dir);
  const key = new X509Certificate(ca).publicKey.export({ type: "spki", format: "der" });
  const bits = Array.from(
    createHash("sha256").update(key).digest(),
    (byte: number) => byte.toString(2).padStart(8, "0"),
  ).join("") + "0000";
  const digits = bits.match(/.{5}/g)!.map((five) =>
    "abcdefghijklmnopqrstuvwxyz234567"[parseInt(five, 2)]
  );
  assertEquals(device.id, digits.join(""));
});

Deno.test("formatDeviceId encodes 256 bits as 52 characters, and every bit counts", () => {
  assertEquals(formatDeviceId(new Uint8Array(32)), "a".repeat(52));
  assertEquals(formatDeviceId(new Uint8Array(32).fill(255)), `${"7".repeat(51)}q`);
  const hash = fc.uint8Array({ minLength: 32, maxLength: 32 });
  fc.assert(fc.property(hash, fc.nat(255), (bytes, bit) => {
    const id = formatDeviceId(bytes);
    assert(isDeviceId(id), id);
    const changedBytes = bytes.slice();
    changedBytes[bit >> 3]! ^= 1 << (bit & 7);
    assertNotEquals(formatDeviceId(changedBytes), id);
  }));
});

Deno.test("isDeviceId is true only for texts that formatDeviceId returns", () => {
  const id = formatDeviceId(new Uint8Array(32).fill(0b01011010));
  assertEquals(isDeviceId(id), true);
  const invalidIds = [
    "",
    id.slice(0, -1),
    `${id}a`,
    id.toUpperCase(),
    `${id}\n`,
    ` ${id}`,
    id.replace(/.$/, "b"), // the last four bits are not 0
    id.replace(/^./, "1"),
    id.replace(/^./, "8"),
  ];
  for (const text of invalidIds) assertEquals(isDeviceId(text), false, JSON.stringify(text));
});
