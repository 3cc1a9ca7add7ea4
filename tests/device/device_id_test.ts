/** The ids of devices. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import { deviceId, isDeviceId } from "@degu/internal/identity/names.ts";
import { createHash, X509Certificate } from "node:crypto";
import { join } from "@std/path";
import { TestDevices } from "@degu/testing/device_pairs.ts";
import { entries } from "@degu/testing/directories.ts";

Deno.test("the id is the SHA-256 of the authority's key, in base32", async () => {
  await using devices = await TestDevices.create();
  const device = await devices.open("camera");
  const [home = ""] = await entries(join(device.dir, "identity"));
  const pem = await Deno.readTextFile(join(device.dir, "identity", home, "ca.pem"));
  const key = new X509Certificate(pem).publicKey.export({ type: "spki", format: "der" });
  const bits = Array.from(
    createHash("sha256").update(key).digest(),
    (byte: number) => byte.toString(2).padStart(8, "0"),
  ).join("") + "0000";
  const digits = bits.match(/.{5}/g)!.map((five) =>
    "abcdefghijklmnopqrstuvwxyz234567"[parseInt(five, 2)]
  );
  assertEquals(device.id, digits.join(""));
});

Deno.test("deviceId encodes 256 bits as 52 characters, and every bit counts", () => {
  assertEquals(deviceId(new Uint8Array(32)), "a".repeat(52));
  assertEquals(deviceId(new Uint8Array(32).fill(255)), `${"7".repeat(51)}q`);
  const hash = fc.uint8Array({ minLength: 32, maxLength: 32 });
  fc.assert(fc.property(hash, fc.nat(255), (bytes, bit) => {
    const id = deviceId(bytes);
    assert(isDeviceId(id), id);
    const changed = bytes.slice();
    changed[bit >> 3]! ^= 1 << (bit & 7);
    assertNotEquals(deviceId(changed), id);
  }));
});

Deno.test("isDeviceId is true only for texts that deviceId returns", () => {
  const id = deviceId(new Uint8Array(32).fill(0b01011010));
  assertEquals(isDeviceId(id), true);
  const others = [
    "",
    id.slice(0, -1),
    `${id}a`,
    id.toUpperCase(),
    `${id}\n`,
    ` ${id}`,
    id.replace(/.$/, "b"), // its last four bits are not 0
    id.replace(/^./, "1"),
    id.replace(/^./, "8"),
  ];
  for (const text of others) assertEquals(isDeviceId(text), false, JSON.stringify(text));
});
