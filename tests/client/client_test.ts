/** Constructing a client: address, options, `host`. Nothing here connects. */
import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { type Address, bodies, Body } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { assertRangeError, assertTypeError, constructWith } from "@degu/testing/expectations.ts";

const abstractName = new TextEncoder().encode("\x0000022");

Deno.test("host is derived from the address", () => {
  const rows: readonly (readonly [address: Address, host: string | null])[] = [
    [["en.wikipedia.org", 80], "en.wikipedia.org"],
    [["www.wikipedia.org", 80], "www.wikipedia.org"],
    [["en.wikipedia.org", 443], "en.wikipedia.org:443"],
    [["192.168.1.171", 5984], "192.168.1.171:5984"],
    [["208.80.154.224", 80], "208.80.154.224"],
    [["2620:0:861:ed1a::1", 80], "[2620:0:861:ed1a::1]"],
    [["2620:0:861:ed1a::1", 80, 0, 0], "[2620:0:861:ed1a::1]"],
    [["2620:0:861:ed1a::1", 8080], "[2620:0:861:ed1a::1]:8080"],
    [["fe80::e8b:fdff:fe75:402c/64", 5984, 0, 3], "[fe80::e8b:fdff:fe75:402c/64]:5984"],
    [["fe80::e8b:fdff:fe75:402c", 80, 0, 3], "[fe80::e8b:fdff:fe75:402c]"],
    [["fe80::1%eth0", 8080], "[fe80::1]:8080"],
    [["fe80::1%3", 80], "[fe80::1]"],
    [["::1", 1], "[::1]:1"],
    [["localhost", 65535], "localhost:65535"],
    ["/tmp/my.socket", null],
    [abstractName, null],
  ];
  for (const [address, host] of rows) {
    assertStrictEquals(new Client(address).host, host, Deno.inspect(address));
  }
});

Deno.test("the option host overrides the one from the address", () => {
  const addresses: readonly Address[] = [["192.168.1.171", 5984], "/tmp/my.socket", abstractName];
  for (const address of addresses) {
    assertEquals(new Client(address, { host: "example.com" }).host, "example.com");
    assertStrictEquals(new Client(address, { host: null }).host, null);
  }
});

Deno.test("options, timeout and bodies are those passed, or the defaults", () => {
  const client = new Client(["127.0.0.1", 12345]);
  assertEquals([client.options, client.timeout], [{}, 90]);
  assertStrictEquals(client.bodies, bodies);
  assertEquals(client.address, ["127.0.0.1", 12345]);

  assertEquals(new Client(["127.0.0.1", 12345], { timeout: 5 }).options, { timeout: 5 });
  assertEquals(new Client(["127.0.0.1", 12345], { timeout: 0.5 }).timeout, 0.5);
  assertStrictEquals(new Client(["127.0.0.1", 12345], { timeout: null }).timeout, null);
  const own = { ...bodies, Body: class extends Body {} };
  assertStrictEquals(new Client(["127.0.0.1", 12345], { bodies: own }).bodies, own);
});

Deno.test("later changes to the address or the options have no effect", () => {
  const address: [string, number] = ["127.0.0.1", 12345];
  const options = { timeout: 5 };
  const name = Uint8Array.from(abstractName);
  const client = new Client(address, options);
  const named = new Client(name);
  address[1] = 1;
  options.timeout = 1;
  name.fill(0);
  assertEquals([client.address, client.timeout, client.options], [["127.0.0.1", 12345], 5, {
    timeout: 5,
  }]);
  assertEquals(named.address, abstractName);
});

Deno.test("an address of a wrong type is a TypeError", () => {
  const addresses: readonly unknown[] = [
    undefined,
    null,
    0,
    80,
    true,
    Symbol("address"),
    {},
    { hostname: "127.0.0.1", port: 80 },
    new URL("http://127.0.0.1/"),
    new Map(),
    () => {},
    [],
    ["127.0.0.1"],
    ["127.0.0.1", 80, 0],
    ["127.0.0.1", 80, 0, 0, 0],
    [80, "127.0.0.1"],
    ["127.0.0.1", "80"],
    ["127.0.0.1", null],
    ["127.0.0.1", 80n],
    [null, 80],
    [new Uint8Array(4), 80],
    ["::1", 80, "0", 0],
    ["::1", 80, 0, null],
    new ArrayBuffer(8),
    new Uint16Array(4),
  ];
  for (const address of addresses) {
    assertTypeError(() => constructWith(Client, address), Deno.inspect(address));
  }
});

Deno.test("an address with an invalid value is a RangeError", () => {
  const addresses: readonly unknown[] = [
    ["", 80],
    [" ", 80],
    ["a b", 80],
    ["a\r\nb", 80],
    ["a\nb", 80],
    ["a\0", 80],
    ["a\tb", 80],
    ["ä.example", 80],
    ["a#b", 80],
    ["user@host", 80],
    ["127.0.0.1", 0],
    ["127.0.0.1", -1],
    ["127.0.0.1", 65536],
    ["127.0.0.1", 80.5],
    ["127.0.0.1", NaN],
    ["127.0.0.1", Infinity],
    ["::1", 0, 0, 0],
    ["::1", 80, -1, 0],
    ["::1", 80, 0.5, 0],
    ["::1", 80, 2 ** 32, 0],
    ["::1", 80, 0, -1],
    ["::1", 80, 0, 2 ** 32],
    ["::1", 80, 0, NaN],
    "",
    "tmp/my.socket",
    "./my.socket",
    "~/my.socket",
    "/",
    "//tmp/my.socket",
    "/tmp//my.socket",
    "/tmp/./my.socket",
    "/tmp/../my.socket",
    "/tmp/my.socket/",
    "/tmp/my.socket/.",
    "/tmp/..",
    "/tmp/my\0socket",
    "\x0000022",
    "/" + "a".repeat(107),
    "/" + "ä".repeat(54),
    "/tmp/\ud800",
    new Uint8Array(0),
    Uint8Array.of(1),
    new TextEncoder().encode("00022"),
    new TextEncoder().encode("/tmp/my.socket"),
    new Uint8Array(109),
    Uint8Array.of(0, 0xff),
    Uint8Array.of(0, 0xc3),
    Uint8Array.of(0, 0xed, 0xa0, 0x80),
  ];
  for (const address of addresses) {
    assertRangeError(() => constructWith(Client, address), Deno.inspect(address));
  }
});

Deno.test("an address at a limit is accepted", () => {
  const addresses: readonly Address[] = [
    ["a", 1],
    ["a", 65535],
    ["a_b-c.example", 80],
    ["::1", 80, 2 ** 32 - 1, 2 ** 32 - 1],
    "/a",
    "/tmp/...",
    "/tmp/my socket",
    "/" + "a".repeat(106),
    "/" + "ä".repeat(53),
    new Uint8Array(1),
    new Uint8Array(108),
    new TextEncoder().encode("\0ä"),
    new TextEncoder().encode("\0\uFEFFa"),
  ];
  for (const address of addresses) assertEquals(new Client(address).address, address);
});

Deno.test("an invalid host is a RangeError that says what it looks like", () => {
  const rows: readonly (readonly [host: string, words: string])[] = [
    ["[::1]", "brackets"],
    ["[::1]:80", "brackets"],
    ["[fe80::1%eth0]", "brackets"],
    ["http://x", "a URL"],
    ["https://[::1]:80/", "a URL"],
    ["unix:///run/a.socket", "a URL"],
    ["a/b", "a path"],
    ["/run/my.socket", "a path"],
    ["127.0.0.1/24", "prefix"],
    ["::1/64", "prefix"],
    ["127.0.0.1:80", "a port"],
    ["example.com:80", "a port"],
    ["localhost:", "a port"],
    ["user@host", "a user"],
    ["user:password@host", "a user"],
    ["http://user:password@host/", "a URL"],
    ["::g", "IPv6"],
    ["1:2:3", "IPv6"],
    ["::1%", "interface"],
    ["::1%a/b", "interface"],
    ["example.com%eth0", "zone"],
    ["127.0.0.1%eth0", "zone"],
    ["a,b", "DNS name"],
    ["a*", "DNS name"],
    ["%41", "zone"],
    ["a?b", "DNS name"],
  ];
  for (const [host, words] of rows) {
    const error = assertThrows(() => new Client([host, 80]), RangeError, words);
    assert(error.message.startsWith("address[0]: "), error.message);
    assert(!error.message.includes("password"), error.message);
  }
  for (const host of ["example.com/64", "127.0.0.1/24", "::1/", "::1/x", "::1/1000", "[::1]/64"]) {
    assertThrows(() => new Client([host, 80, 0, 0]), RangeError, "address[0]: ");
  }
});

Deno.test("a link-local address needs exactly one scope", () => {
  const without: readonly Address[] = [
    ["fe80::1", 80],
    ["FE80::1", 80],
    ["febf:ffff::1", 80],
    ["fe80::1", 80, 0, 0],
    ["fe80::1/64", 80, 0, 0],
    ["fe80::1%0", 80],
    ["fe80::1%0", 80, 0, 0],
  ];
  for (const address of without) {
    assertThrows(() => new Client(address), RangeError, "scope", Deno.inspect(address));
  }
  const twice: readonly Address[] = [["fe80::1%2", 80, 0, 3], ["fe80::1%eth0", 80, 0, 3]];
  for (const address of twice) {
    assertThrows(
      () => new Client(address),
      RangeError,
      "must give the scope once",
      Deno.inspect(address),
    );
  }
  const scoped: readonly Address[] = [
    ["fe80::1%eth0", 80],
    ["fe80::1%eth0.100", 80],
    ["fe80::1%3", 80],
    ["fe80::1%3", 80, 0, 3],
    ["fe80::1%eth0", 80, 0, 0],
    ["fe80::1", 80, 0, 3],
    ["fe80::1/64", 80, 0, 3],
    ["2001:db8::1/64", 80, 0, 0],
    ["fec0::1", 80],
    ["fe7f::1", 80],
    ["::fe80:1", 80],
  ];
  for (const address of scoped) assertEquals(new Client(address).address, address);
});

Deno.test("an error about an address says what was wrong", () => {
  const error = assertThrows(() => new Client(["127.0.0.1", 65536]), RangeError);
  assert(error.message.includes("65536") && error.message.includes("65535"), error.message);
  const relative = assertThrows(() => new Client("my.socket"), RangeError);
  assert(relative.message.includes("my.socket"), relative.message);
});
