/** Which hosts, paths, names and scopes are valid in an address. */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  badHost,
  canonicalIPAddress,
  checkName,
  checkPath,
  checkScope,
  formatIPAddress,
  isIPv4,
  isIPv6,
  isLinkLocal,
  isUnixAddress,
  withoutZone,
  zoneOf,
} from "@degu/internal/base/address_rules.ts";

Deno.test("a path or an abstract name is the address of a Unix socket", () => {
  assert(isUnixAddress("/tmp/socket"));
  assert(isUnixAddress(Uint8Array.of(0, 1)));
  assert(!isUnixAddress(["127.0.0.1", 80]));
  assert(!isUnixAddress(["fe80::1", 80, 0, 2]));
});

Deno.test("an IPv4 address is four decimal numbers up to 255, without leading zeros", () => {
  fc.assert(fc.property(fc.ipV4(), (host) => {
    assert(isIPv4(host));
    assertEquals(canonicalIPAddress(host), host);
  }));
  const wrong = ["1.2.3", "1.2.3.4.5", "256.0.0.1", "01.2.3.4", "1.2.3.4 ", "0x1.2.3.4", "1..3.4"];
  for (const host of [...wrong, "", "a.b.c.d", "1.2.3.-4", "１.2.3.4", "1.2.3.4\n"]) {
    assert(!isIPv4(host), JSON.stringify(host));
    assertEquals(canonicalIPAddress(host), null, JSON.stringify(host));
  }
});

Deno.test("an IPv6 address has one canonical form, in whichever form it is given (RFC 5952)", () => {
  const forms: Record<string, string> = {
    "::": "::",
    "0:0:0:0:0:0:0:1": "::1",
    "2001:DB8::0001": "2001:db8::1",
    "2001:db8:0:0:1:0:0:1": "2001:db8::1:0:0:1",
    "::ffff:1.2.3.4": "::ffff:102:304",
    "FE80::1": "fe80::1",
  };
  for (const [given, canonical] of Object.entries(forms)) {
    assert(isIPv6(given), given);
    assertEquals(canonicalIPAddress(given), canonical);
  }
  fc.assert(fc.property(fc.ipV6(), (host) => {
    const canonical = canonicalIPAddress(host);
    assert(canonical !== null, host);
    assertEquals(canonicalIPAddress(canonical), canonical);
    assertEquals(canonicalIPAddress(host.toUpperCase()), canonical);
  }));
  for (
    const host of ["", ":", ":::", "1::2::3", "12345::", "[::1]", "::1%eth0", "1.2.3.4", "::g"]
  ) {
    assert(!isIPv6(host), host);
  }
});

Deno.test("a zone is what follows the first percent sign", () => {
  const cases = { "fe80::1%eth0": "eth0", "fe80::1": null, "fe80::1%": "", "a%b%c": "b%c" };
  for (const [host, zone] of Object.entries(cases)) {
    assertEquals(zoneOf(host), zone);
    assertEquals(withoutZone(host) + (zone === null ? "" : `%${zone}`), host);
  }
});

Deno.test("link-local is fe80::/10 and nothing else (RFC 4291 §2.4)", () => {
  for (const host of ["fe80::1", "FE80::", "fe9a::", "feaf::1", "febf:ffff::"]) {
    assert(isLinkLocal(host), host);
  }
  for (
    const host of ["fe7f::", "fec0::", "ff02::1", "fd00::1", "::fe80", "fe8::1", "169.254.0.1"]
  ) {
    assert(!isLinkLocal(host), host);
  }
});

Deno.test("a link-local address needs exactly one scope, and a zone must be a name", () => {
  checkScope("fe80::1%eth0");
  checkScope("fe80::1", 2);
  checkScope("fe80::1%2", 2);
  checkScope("::1");
  checkScope("::1%0");
  checkScope("fe80::1%0eth");
  const wrong: [string, number?][] = [
    ["fe80::1"],
    ["fe80::1", 0],
    ["fe80::1%0"],
    ["fe80::1%000"],
    ["fe80::1%03"],
    ["::1%00"],
    ["fe80::1%03", 3],
    ["fe80::1%eth0", 2],
    ["fe80::1%3", 2],
    ["fe80::1%"],
    ["fe80::1%a b"],
    ["fe80::1%a/b"],
  ];
  for (const [host, scopeid] of wrong) {
    assertThrows(() => checkScope(host, scopeid), RangeError, "", `${host} ${scopeid}`);
  }
});

Deno.test("a path must be absolute, normalized, valid Unicode and at most 107 bytes long", () => {
  const path = (bytes: number) => `/${"a".repeat(bytes - 1)}`;
  for (const good of ["/a", "/a/b.sock", "/..a", "/ü", path(106), path(107)]) {
    assertEquals(checkPath(good), good);
  }
  const wrong = ["", "a", "./a", "/", "//a", "/a/", "/a//b", "/./a", "/a/.", "/../a", "/a/.."];
  for (const bad of [...wrong, "/a\0b", "/\ud800", path(108), `/${"ü".repeat(54)}`]) {
    assertThrows(() => checkPath(bad), RangeError, "", JSON.stringify(bad));
  }
});

Deno.test("an abstract name begins with NUL, is UTF-8, has at most 108 bytes, and is copied", () => {
  const name = new TextEncoder().encode("\0name");
  const copy = checkName(name);
  name[1] = 0x78;
  assertEquals(new TextDecoder().decode(copy), "\0name");
  assertEquals(checkName(new Uint8Array(0)), new Uint8Array(0));
  for (const length of [1, 107, 108]) {
    assertEquals(checkName(new Uint8Array(length)).length, length);
  }
  for (const bad of [new Uint8Array(109), Uint8Array.of(1), Uint8Array.of(0, 0xff)]) {
    assertThrows(() => checkName(bad), RangeError);
  }
});

Deno.test("formatIPAddress refuses any number of bytes except 4 and 16", () => {
  for (let length = 0; length <= 33; length++) {
    const text = formatIPAddress(new Uint8Array(length));
    assertEquals(text, { 4: "0.0.0.0", 16: "::" }[length] ?? null, `${length} bytes`);
  }
});

Deno.test("the error for an invalid host suggests what was meant, if it can tell", () => {
  assertEquals(badHost("a b", "a host").message, 'address[0]: must be a host; got "a b"');
  assertStringIncludes(badHost("::g", "a host").message, "; this looks like an IPv6 address");
});
