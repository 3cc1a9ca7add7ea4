/** Addresses: their text, and the rules of address lists. */
import { type Address, formatAddress, parseAddress, parseHostAddress } from "@degu/degu/base";
import {
  canonicalizeDnsName,
  checkAbstractName,
  checkSocketPath,
  invalidHostError,
  isUnixAddress,
} from "@degu/internal/base/address.ts";
import { makeTextArbitrary } from "@degu/testing/arbitraries.ts";
import { callWith } from "@degu/testing/expectations.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { assert, assertEquals, assertInstanceOf, assertThrows } from "@std/assert";
import fc from "fast-check";

// Formatting and parsing every kind of address.

const encoder = new TextEncoder();
const encodeAbstract = (name: string) => encoder.encode(`\0${name}`);

const pairs: readonly (readonly [text: string, address: Address])[] = [
  ["127.0.0.1:80", ["127.0.0.1", 80]],
  ["127.0.0.1:0", ["127.0.0.1", 0]],
  ["127.0.0.1:65535", ["127.0.0.1", 65535]],
  ["0.0.0.0:80", ["0.0.0.0", 80]],
  ["camera.local:80", ["camera.local", 80]],
  ["localhost:80", ["localhost", 80]],
  ["[::1]:80", ["::1", 80]],
  ["[::]:0", ["::", 0]],
  ["[2001:DB8::1]:80", ["2001:DB8::1", 80]],
  ["[::ffff:192.0.2.1]:80", ["::ffff:192.0.2.1", 80]],
  ["[fe80::1%3]:80", ["fe80::1", 80, 0, 3]],
  ["[fe80::1%4294967295]:80", ["fe80::1", 80, 0, 4294967295]],
  ["[fe80::1%eth0]:80", ["fe80::1%eth0", 80]],
  ["[::1%3]:80", ["::1", 80, 0, 3]],
  ["unix:/run/a.socket", "/run/a.socket"],
  ["unix:/run/a b@c:80", "/run/a b@c:80"],
  ["unix:/100%25", "/100%"],
  ["unix:/%250A", "/%0A"],
  ["unix:/two%0Alines", "/two\nlines"],
  ["unix:/ä", "/ä"],
  ["unix:/%E2%80%AEx", "/\u202ex"],
  ["unix:@name", encodeAbstract("name")],
  ["unix:@", encodeAbstract("")],
  ["unix:@@", encodeAbstract("@")],
  ["unix:@a%00b%25", encodeAbstract("a\0b%")],
  ["unix:@%EF%BB%BFx", encodeAbstract("\ufeffx")],
  ["unix:", new Uint8Array(0)],
];

Deno.test("an address and its text convert into each other", async (t) => {
  await testEachRow(t, pairs, (text, address) => {
    assertEquals(formatAddress(address), text);
    assertEquals(parseAddress(text), address);
  });
});

Deno.test("a scope of 0 and a prefix are omitted, and a numeric scope is written after the host", () => {
  const rows: readonly (readonly [Address, string, Address])[] = [
    [["::1", 80, 0, 0], "[::1]:80", ["::1", 80]],
    [["::1%0", 80], "[::1]:80", ["::1", 80]],
    [["fe80::1%3", 80], "[fe80::1%3]:80", ["fe80::1", 80, 0, 3]],
    [["fe80::1%3", 80, 0, 3], "[fe80::1%3]:80", ["fe80::1", 80, 0, 3]],
    [["fe80::1%eth0", 80, 0, 0], "[fe80::1%eth0]:80", ["fe80::1%eth0", 80]],
    [["fe80::1/64", 80, 0, 3], "[fe80::1%3]:80", ["fe80::1", 80, 0, 3]],
    [["::1/128", 80, 0, 0], "[::1]:80", ["::1", 80]],
  ];
  for (const [address, text, parsed] of rows) {
    assertEquals(formatAddress(address), text);
    assertEquals(parseAddress(text), parsed);
  }
});

const group = fc.nat({ max: 0xffff }).map((value) => value.toString(16));
const ipv4 = fc.ipV4();
const ipv6 = fc.oneof(
  fc.ipV6().filter((text) => !/^fe[89ab]/i.test(text)),
  fc.array(group, { minLength: 8, maxLength: 8 }).map((groups) =>
    `2001:${groups.slice(1).join(":")}`
  ),
);
const linkLocal = group.map((last) => `fe80::${last}`);
const hostName = fc.stringMatching(/^[-0-9A-Z_a-z]{1,20}(\.[-0-9A-Z_a-z]{1,20}){0,3}\.?$/)
  .filter((text) => !/(^|\.)([0-9]+|0x[0-9a-f]*)\.?$/i.test(text));
const port = fc.integer({ min: 0, max: 65535 });
const scope = fc.integer({ min: 1, max: 2 ** 32 - 1 });
const interfaceName = fc.stringMatching(/^[-.0-9A-Z_a-z]{1,30}$/).filter((name) =>
  !/^[0-9]+$/.test(name)
);
const name = makeTextArbitrary(25).filter((text) => text.isWellFormed());
const pathPart = name.filter((text) => !/[\0/]/.test(text) && !["", ".", ".."].includes(text));

const addresses: Record<string, fc.Arbitrary<Address>> = {
  "IPv4": fc.tuple(ipv4, port),
  "a name": fc.tuple(hostName, port),
  "IPv6": fc.tuple(ipv6, port),
  "IPv6 with an interface by name": fc.tuple(linkLocal, interfaceName, port)
    .map(([host, zone, at]) => [`${host}%${zone}`, at] as const),
  "IPv6 with a scope": fc.tuple(fc.oneof(ipv6, linkLocal), port, fc.constant(0), scope),
  "a path": fc.array(pathPart, { minLength: 1, maxLength: 3 }).map((parts) => `/${parts.join("/")}`)
    .filter((path) => encoder.encode(path).length <= 107),
  "an abstract name": name.map(encodeAbstract).filter((bytes) => bytes.length <= 108),
};

for (const [kind, arbitrary] of Object.entries(addresses)) {
  Deno.test(`${kind}: reads back what was written, as one line of visible characters`, () => {
    fc.assert(fc.property(arbitrary, (address) => {
      const text = formatAddress(address);
      assertEquals(parseAddress(text), address);
      assert(!/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(text));
    }));
  });
}

Deno.test("every text that can be parsed is formatted unchanged", () => {
  const similarTexts = fc.oneof(
    fc.string({ unit: fc.constantFrom(..."[]:%0a1.@/ -unix\n"), maxLength: 14 }),
    fc.tuple(
      fc.constantFrom(...pairs.map(([text]) => text)),
      fc.nat({ max: 20 }),
      fc.string({ maxLength: 1 }),
    )
      .map(([text, at, change]) => text.slice(0, at) + change + text.slice(at + 1)),
  );
  fc.assert(
    fc.property(similarTexts, (text) => {
      let address;
      try {
        address = parseAddress(text);
      } catch (error) {
        assertInstanceOf(error, RangeError);
        return;
      }
      assertEquals(formatAddress(address), text);
    }),
    { numRuns: 500 },
  );
});

Deno.test("parseHostAddress parses as parseAddress, but refuses Unix sockets", () => {
  for (const [text, address] of pairs) {
    if (!isUnixAddress(address)) assertEquals(parseHostAddress(text), address);
    else assertThrows(() => parseHostAddress(text), RangeError, "not a Unix socket");
  }
  assertThrows(() => parseHostAddress("127.0.0.1"), RangeError, "must have a port");
});

Deno.test("a text that is not an address is a RangeError with the reason", () => {
  const rows: readonly (readonly [text: string, message: string])[] = [
    ["", "must have a port"],
    ["127.0.0.1", "must have a port"],
    ["127.0.0.1:", "plain decimal"],
    ["127.0.0.1:080", "plain decimal"],
    ["127.0.0.1:65536", "65535"],
    ["127.0.0.1:-1", "must have a port"],
    ["127.0.0.1:80 ", "must have a port"],
    [" 127.0.0.1:80", "must be an IP address or a DNS name"],
    [":80", "must be host:port"],
    ["::1:80", "brackets"],
    ["::1", "brackets"],
    ["[::1]", "must have a port"],
    ["[127.0.0.1]:80", "an IPv6 address"],
    ["[::g]:80", "an IPv6 address"],
    ["[fe80::1]:80", "must have a scope"],
    ["[fe80::1%0]:80", "must have a scope"],
    ["[::1%0]:80", "instead of 0"],
    ["[fe80::1%03]:80", "without zeros before it"],
    ["[fe80::1%00]:80", "without zeros before it"],
    ["[::1%007]:80", "without zeros before it"],
    ["[::1/128]:80", "an IPv6 address"],
    ["[::1%4294967296]:80", "scope"],
    ["[::1%]:80", "name or the number"],
    ["camera.local%eth0:80", "only an IPv6 address has"],
    ["http://camera.local:80", "URL"],
    ["me@camera.local:80", "user"],
    ["me:x@camera.local:80", "without a user"],
    ["/run/a.socket", "unix:/path"],
    ["@name", "unix:@name"],
    ["unix:a.socket", "absolute"],
    ["unix:/a/../b", "normalized"],
    ["unix:/a%20b", "the one way"],
    ["unix:/a%2", "%25"],
    ["unix:/a%0a", "the one way"],
    ["unix:/a\nb", "the one way"],
    ["unix:/a%00", "NUL"],
    [`unix:/${"a".repeat(107)}`, "107"],
    [`unix:@${"a".repeat(108)}`, "108"],
    ["UNIX:/a", "must have a port"],
  ];
  for (const [text, reason] of rows) {
    assertThrows(() => parseAddress(text), RangeError, reason, text);
  }
});

Deno.test("a value that is not an address can't be formatted", () => {
  const shortAddresses = [["::1"], ["::1", "80"], ["::1", 80, 0]];
  const tuples = [...shortAddresses, ["::1", 80, 0, 0, 0], ["::1", 80, "0", 0], [
    "::1",
    80,
    0,
    "0",
  ]];
  for (const value of [undefined, null, 80, {}, ...tuples]) {
    assertThrows(() => callWith(formatAddress, value), TypeError, ": must ", Deno.inspect(value));
  }
  for (const value of [undefined, null, 80, ["::1", 80], new Uint8Array(1)]) {
    const { message } = assertThrows(() => callWith(parseAddress, value), TypeError);
    assertEquals(message.slice(0, 26), "address: must be a string;");
  }
  const hosts = ["fe80::1", "fe80::1%4294967296", "fe80::1%03", "::1/128", "unix"];
  const invalidAddresses: readonly (readonly [address: Address, why?: string])[] = [
    ...[-1, 1.5, 2 ** 32].flatMap((n): [Address][] => [[["::1", 80, n, 0]], [["::1", 80, 0, n]]]),
    ...hosts.map((host): [Address] => [[host, 80]]),
    [["::1", 80, 5, 0]],
    [["::1", 65536]],
    [["fe80::1%03", 80, 0, 3]],
    ["relative"],
    [Uint8Array.of(1)],
    [Uint8Array.of(0, 0xff)],
    [["localhost", 80, 0, 0], "must be an IPv6 address; got"],
    [["a b", 80], "must be an IP address or a DNS name; got"],
  ];
  for (const [address, message = ""] of invalidAddresses) {
    assertThrows(() => formatAddress(address), RangeError, message, Deno.inspect(address));
  }
});

Deno.test("a host named unix is never formatted as a Unix socket", () => {
  assertThrows(() => formatAddress(["unix", 80]), RangeError, '"UNIX"');
  for (const host of ["UNIX", "Unix", "unix.", "unix.local"]) {
    assertEquals(parseAddress(formatAddress([host, 80])), [host, 80]);
  }
});

Deno.test("an error does not repeat a password from the text", () => {
  for (const text of ["me:secret@host:80", "http://me:secret@host:80", "me:secret@host"]) {
    const error = assertThrows(() => parseAddress(text), RangeError);
    assert(!error.message.includes("secret"), error.message);
  }
});

// The valid hosts, paths, names and scopes of an address.

const makeLongName = (length: number) => `${"a".repeat(50)}.`.repeat(6).slice(0, length);
const makePath = (bytes: number) => `/${"a".repeat(bytes - 1)}`;

/** Each predicate about a part of an address, with values for which it is true and false. */
const questions: Record<
  string,
  readonly [ask: (part: never) => boolean, yes: unknown[], no: unknown[]]
> = {
  "a DNS name has labels of up to 63 characters, 253 in all, and no number at its end (RFC 1123 §2.1)":
    [
      (text: string) => canonicalizeDnsName(text) === text.toLowerCase().replace(/\.$/, ""),
      ["a", "A-b_c.D.", "1.a", "a".repeat(63), makeLongName(253), `${makeLongName(253)}.`],
      [
        ...["", ".", "a..b", "a.1", "1", "0x7f000001", "127.0.0.0X1", "0x", "a.0x7F.", "a b"],
        ...["\u212a", "a".repeat(64), makeLongName(254)],
      ],
    ],
  "a path is absolute, normalized, valid Unicode and at most 107 bytes long": [
    makePredicate(checkSocketPath),
    ["/a", "/a/b.sock", "/..a", "/ü", makePath(106), makePath(107)],
    [
      ...["", "a", "./a", "/", "//a", "/a/", "/a//b", "/./a", "/a/.", "/../a", "/a/..", "/a\0b"],
      ...["/\ud800", makePath(108), `/${"ü".repeat(54)}`],
    ],
  ],
  "an abstract name begins with NUL, is UTF-8, and has at most 108 bytes": [
    makePredicate(checkAbstractName),
    [encodeAbstract("name"), ...[0, 1, 107, 108].map((length) => new Uint8Array(length))],
    [new Uint8Array(109), Uint8Array.of(1), Uint8Array.of(0, 0xff)],
  ],
};

/** Makes a predicate from a check that refuses with a `RangeError`. */
function makePredicate<T>(check: (value: T) => unknown): (value: T) => boolean {
  return (value) => {
    try {
      check(value);
      return true;
    } catch (error) {
      assertInstanceOf(error, RangeError);
      return false;
    }
  };
}

for (const [rule, [predicate, yes, no]] of Object.entries(questions)) {
  Deno.test(rule, () => {
    for (const part of yes) assert(predicate(part as never), Deno.inspect(part));
    for (const part of no) assert(!predicate(part as never), Deno.inspect(part));
  });
}

Deno.test("the error for an invalid host names the likely mistake", () => {
  const rows: readonly (readonly [host: string, hint: string | null])[] = [
    ["http://a/", "a URL"],
    ["me@a", "a host with a user"],
    ["[::1]", "an IPv6 address in brackets"],
    ["::1/64", "an address with the length of its prefix"],
    ["fe80::1%eth0/64", "an address with the length of its prefix"],
    ["a/64", "a host with a path"],
    ["::1/a", "a host with a path"],
    ["a:80", "a host with a port"],
    ["a:", "a host with a port"],
    ["a:b", "an invalid IPv6 address"],
    [":80", "an invalid IPv6 address"],
    ["a:80b", "an invalid IPv6 address"],
    ["a%eth0", "a zone"],
    ["::g", "an invalid IPv6 address"],
    ["a b", null],
  ];
  for (const [host, hint] of rows) {
    const { message } = invalidHostError(host, "a host");
    const suffix = host.includes("@") ? "" : `; got ${JSON.stringify(host)}`;
    const similarity = hint === null ? "" : `; this looks like ${hint}`;
    const expected = `address[0]: must be a host${suffix}${similarity}`;
    assertEquals(hint === null ? message : message.slice(0, expected.length), expected);
  }
});
