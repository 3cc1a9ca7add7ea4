/** Names for which a certificate can be issued. */
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import { quote } from "@degu/internal/base/errors.ts";
import { parseAlternativeName } from "@degu/internal/identity/certificates.ts";

Deno.test("a DNS name is converted to lower case", () => {
  fc.assert(fc.property(fc.domain(), (name) => {
    for (const given of [name, name.toUpperCase()]) {
      assertEquals(parseAlternativeName("name", given), { type: "dns", value: name.toLowerCase() });
    }
  }));
  const label = "a".repeat(63);
  for (const name of ["localhost", "camera-1.local", "1a", "a.1b", label, `${label}.b`]) {
    assertEquals(parseAlternativeName("name", name), { type: "dns", value: name });
  }
});

Deno.test("an IP address is converted to its canonical form", () => {
  const cases = {
    "192.168.7.2": "192.168.7.2",
    "FE80::1": "fe80::1",
    "0:0:0:0:0:0:0:1": "::1",
    "::ffff:1.2.3.4": "::ffff:102:304",
  };
  for (const [given, value] of Object.entries(cases)) {
    assertEquals(parseAlternativeName("name", given), { type: "ip", value });
  }
});

Deno.test("a name that a certificate can't contain is a RangeError that quotes it", () => {
  const long = [...new Array(4).fill("a".repeat(63))].join(".");
  const wrong = ["", ".", "a.", ".a", "a..b", "*.a", "a_b", "-a", "a-", "a b", "a/b", "a:1", "ä"];
  const numbers = ["1.2.3", "256.1.1.1", "a.1", "1", "0x7f.1", "[::1]", "fe80::1%eth0", "::g"];
  // The Kelvin sign becomes a k in lower case.
  for (const text of [...wrong, ...numbers, long, "a".repeat(64), "\u212a", "a\0", "a\n", "a,b"]) {
    const { message } = assertThrows(() => parseAlternativeName("name", text), RangeError);
    assertStringIncludes(message, quote(text));
  }
});
