/** Received names, and ids. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { deviceId, freeName, isDeviceId, isDeviceName } from "@degu/internal/identity/names.ts";

Deno.test("deviceId writes base32 as RFC 4648 §10 does, in lower case without padding", () => {
  const rows = ["", "f", "fo", "foo", "foob", "fooba", "foobar"];
  const expected = ["", "my", "mzxq", "mzxw6", "mzxw6yq", "mzxw6ytb", "mzxw6ytboi"];
  assertEquals(rows.map((text) => deviceId(new TextEncoder().encode(text))), expected);
});

Deno.test("every SHA-256 has a valid id, which is not a valid name", () => {
  fc.assert(fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (sha256) => {
    const id = deviceId(sha256);
    assert(isDeviceId(id));
    assert(!isDeviceName(id) && !isDeviceName(id.toUpperCase()));
  }));
});

Deno.test("a name that is taken gets a number, and remains a valid name", () => {
  const rows: [name: string, taken: string[], free: string][] = [
    ["cam", [], "cam"],
    ["cam", ["cam"], "cam-2"],
    ["Cam", ["cam", "cam-2"], "Cam-3"],
    ["a".repeat(63), ["a".repeat(63)], `${"a".repeat(61)}-2`],
    ["cam-2", ["cam-2"], "cam-2-2"],
  ];
  for (const [name, taken, free] of rows) assertEquals(freeName(name, new Set(taken)), free);
  const names = fc.stringMatching(/^[a-c][a-c-]{0,62}$/);
  fc.assert(fc.property(names, fc.array(names), (name, others) => {
    const taken = new Set([name, ...others].map((each) => each.toLowerCase()));
    const free = freeName(name, taken);
    assert(isDeviceName(free) && !taken.has(free.toLowerCase()));
  }));
});
