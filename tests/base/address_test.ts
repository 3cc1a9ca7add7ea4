/** Addresses and URIs: their text, and the rules of address lists. */
import fc from "fast-check";
import {
  type Address,
  buildUri,
  checkAddress,
  formatAddress,
  parseAddress,
  parseHost,
  parseHostAddress,
} from "@degu/degu/base";
import {
  canonicalizeDnsName,
  checkSocketPath,
  isUnixAddress,
  removeZone,
  zoneOf,
} from "@degu/internal/base/address.ts";
import { makeTextArbitrary } from "./arbitraries.ts";
import {
  assertProtocolError,
  assertRangeError,
  callWith,
  catchMessage,
  formatLabel,
} from "@degu/testing/expectations.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { Client } from "@degu/degu/client";
import { Server } from "@degu/degu/server";
import { mkreq } from "@degu/degu/misc";
import { formatRequest, parseRequest, parseUri } from "./messages.ts";
import { patch } from "@degu/testing/patching.ts";
import { decodeLatin1, encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { absoluteTargets, acceptedUris, builtUris, dottedUris } from "./wire/uri.rows.ts";

// Formatting and parsing every kind of address.

const encoder = new TextEncoder();
const encodeAbstract = (name: string) => encoder.encode(`\0${name}`);

const pairs: readonly (readonly [text: string, address: Address])[] = [
  ["127.0.0.1:80", ["127.0.0.1", 80]],
  ["127.0.0.1:65535", ["127.0.0.1", 65535]],
  ["camera.local:80", ["camera.local", 80]],
  ["[::1]:80", ["::1", 80]],
  ["[::ffff:192.0.2.1]:80", ["::ffff:192.0.2.1", 80]],
  ["[fe80::1%3]:80", ["fe80::1", 80, 0, 3]],
  ["[fe80::1%eth0]:80", ["fe80::1%eth0", 80]],
  ["[::1%3]:80", ["::1", 80, 0, 3]],
  ["unix:/run/a.socket", "/run/a.socket"],
  ["unix:/run/a b@c:80", "/run/a b@c:80"],
  ["unix:/100%25", "/100%"],
  ["unix:/%250A", "/%0A"],
  ["unix:/two%0Alines", "/two\nlines"],
  ["unix:/%E2%80%AEx", "/\u202ex"],
  ["unix:@name", encodeAbstract("name")],
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
    [["fe80::1%3", 80], "[fe80::1%3]:80", ["fe80::1", 80, 0, 3]],
    [["fe80::1%3", 80, 0, 3], "[fe80::1%3]:80", ["fe80::1", 80, 0, 3]],
    [["fe80::1/64", 80, 0, 3], "[fe80::1%3]:80", ["fe80::1", 80, 0, 3]],
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
    ["127.0.0.1:080", "plain decimal"],
    ["127.0.0.1:65536", "65535"],
    [" 127.0.0.1:80", "must be an IP address or a DNS name"],
    [":80", "must be host:port"],
    ["::1:80", "brackets"],
    ["[fe80::1]:80", "must have a scope"],
    ["[fe80::1%03]:80", "without zeros before it"],
    ["[::1/128]:80", "an IPv6 address"],
    ["[::1%4294967296]:80", "scope"],
    ["[::1%]:80", "name or the number"],
    ["camera.local%eth0:80", "only an IPv6 address has"],
    ["http://camera.local:80", "URL"],
    ["me:x@camera.local:80", "without a user"],
    ["/run/a.socket", "unix:/path"],
    ["unix:a.socket", "absolute"],
    ["unix:/a/../b", "normalized"],
    ["unix:/a%20b", "the one way"],
    ["unix:/a%00", "NUL"],
    [`unix:/${"a".repeat(107)}`, "107"],
    [`unix:@${"a".repeat(108)}`, "108"],
  ];
  for (const [text, reason] of rows) {
    assertThrows(() => parseAddress(text), RangeError, reason, text);
  }
});

Deno.test("a value that is not an address can't be formatted", () => {
  const tuples = [["::1"], ["::1", "80"], ["::1", 80, 0], ["::1", 80, "0", 0], ["::1", 80, 0, "0"]];
  for (const value of [undefined, {}, ...tuples]) {
    assertThrows(() => callWith(formatAddress, value), TypeError, ": must ", Deno.inspect(value));
  }
  const parseOther = () => callWith(parseAddress, ["::1", 80]);
  assertThrows(parseOther, TypeError, "address: must be a string;");
  const hosts = ["fe80::1", "fe80::1%4294967296", "fe80::1%03", "::1/128"];
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

Deno.test("the errors for an invalid host quote it, but not a host with a user", () => {
  for (
    const use of [
      (host: string) => formatAddress([host, 80]),
      (host: string) => new Client(["127.0.0.1", 80], { host }),
    ]
  ) {
    const errorFor = (host: string) => assertThrows(() => use(host), RangeError);
    assert(errorFor("a b").message.includes('"a b"'));
    const { message } = errorFor("me:secret@a");
    assert(message.includes("a host with a user") && !message.includes("secret"), message);
  }
});

// Hosts: parsing, the canonical form, and the reach.

Deno.test("parseHost converts an IPv4 address, an IPv6 address or a name to one form", async (t) => {
  const rows: [host: string, type: string, text: string, zone: string | null][] = [
    ["10.0.0.7", "IPv4", "10.0.0.7", null],
    ["2001:DB8::0001", "IPv6", "2001:db8::1", null],
    ["0:0:0:0:0:0:0:1", "IPv6", "::1", null],
    ["::ffff:10.0.0.7", "IPv6", "::ffff:a00:7", null],
    ["FE80::1%eth0", "IPv6", "fe80::1", "eth0"],
    ["Camera.Local.", "name", "camera.local", null],
  ];
  await testEachRow(t, rows, (host, type, text, zone) => {
    const parsed = parseHost(host);
    assertEquals([parsed?.type, parsed?.text, parsed?.zone], [type, text, zone]);
    return Promise.resolve();
  });
});

Deno.test("parseHost refuses an ambiguous text", () => {
  const invalidHosts = [
    ...["", " ", ".", "a b", "10.0.0.07", "10.1", "1", "0x7f000001", "10.0.0.7%eth0", "a%eth0"],
    ...["[::1]", "::1/64", "fe80::1%", "fe80::1%03", "fe80::1%a b", "fe80::1%4294967296"],
    ...["fe80::1%a%b", "a:80", "10.0.0.7:80", "http://a/", "me@a", "\u212a", "ä.de"],
  ];
  for (const text of invalidHosts) assertEquals(parseHost(text), null, text);
  for (const value of [undefined, null, 1, ["::1"]]) {
    assertThrows(() => callWith(parseHost, value), TypeError, "text: must be a string");
  }
});

Deno.test("parseHost reports the reach of a host (RFC 1122 §3.2.1.3, RFC 3927, RFC 4291 §2.5, RFC 6761 §6.3)", () => {
  const hosts = {
    loopback: [
      ...["127.0.0.1", "127.255.9.9", "::1", "0:0::1", "::1%lo", "::ffff:127.0.0.1"],
      ...["::ffff:7f00:1", "::FFFF:7FFF:ffff", "localhost", "LocalHost.", "a.localhost"],
    ],
    link: [
      ...["169.254.0.1", "::ffff:169.254.9.9", "fe80::1", "FE80::", "fe9a::", "febf:ffff::"],
      "fe80::1%eth0",
    ],
    any: [
      ...["128.0.0.1", "10.127.0.1", "169.253.0.1", "10.169.254.1", "0.0.0.0", "::", "::2"],
      ...["::ffff:8000:1", "::7f00:1", "64:ff9b::7f00:1", "fe7f::", "fec0::", "fd00::1", "ff02::1"],
      ...["::fe80", "127.a", "localhost.local", "notlocalhost", "camera.local"],
    ],
  };
  for (const [reach, texts] of Object.entries(hosts)) {
    for (const text of texts) assertEquals(parseHost(text)?.reach, reach, text);
  }
});

Deno.test("parseHost returns a copy of the bytes of an address", () => {
  assertEquals(parseHost("10.0.0.7")?.bytes, Uint8Array.of(10, 0, 0, 7));
  assertEquals(parseHost("1:2::f00d")?.bytes?.toHex(), "0001000200000000000000000000f00d");
  assertEquals(parseHost("a")?.bytes, null);
  parseHost("::1")?.bytes?.fill(7);
  assertEquals(parseHost("::1")?.bytes?.at(-1), 1);
  fc.assert(fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
    const parsed = parseHost(bytes.toHex().match(/.{4}/g)!.join(":"))!;
    assertEquals(parsed.bytes, bytes);
    assertEquals(parseHost(parsed.text), parsed);
  }));
});

Deno.test("checkAddress accepts for each side the addresses that the constructors of that side accept", () => {
  const rows: [address: unknown, isForClient: boolean, isForServer: boolean][] = [
    [["127.0.0.1", 80], true, true],
    [["127.0.0.1", 0], false, true],
    [["camera.local", 80], true, false],
    [["::1", 80], true, true],
    [["fe80::1", 80], false, false],
    [["fe80::1%lo", 80], true, true],
    [["fe80::1/64", 80, 0, 3], true, false],
    [["::1", 80, 0], false, false],
    ["/run/a.socket", true, true],
    ["a.socket", false, false],
    [Uint8Array.of(0, 97), true, true],
    [new Uint8Array(0), false, true],
    [80, false, false],
  ];
  const catchTextOrNull = (call: () => unknown) => {
    try {
      call();
      return null;
    } catch (error) {
      return (error as Error).message;
    }
  };
  for (const [address, ...accepted] of rows) {
    const [client, server] = (["client", "server"] as const).map((side) =>
      catchTextOrNull(() => callWith(checkAddress, address, side))
    );
    assertEquals([client === null, server === null], accepted, Deno.inspect(address));
    assertEquals(catchTextOrNull(() => Reflect.construct(Client, [address])), client);
    // The server's constructor would bind a valid address.
    if (server === null) continue;
    assertEquals(catchTextOrNull(() => Reflect.construct(Server, [address, () => {}])), server);
  }
});

Deno.test("a checked address is a copy that can't be changed", () => {
  const address: [string, number] = ["127.0.0.1", 80];
  const checked = checkAddress(address, "client");
  address[1] = 81;
  assert(Object.isFrozen(checked));
  assertEquals(formatAddress(checked), "127.0.0.1:80");
  const name = Uint8Array.of(0, 97);
  assert(checkAddress(name, "server") !== name);
});

// ───────────────────────── URIs

/**
 * Characters above Latin-1 that a table, mask or case folding could confuse with an allowed
 * character.
 */
const LOOK_ALIKES = ["\u012f", "\u212a", "\uff0f", "\ud800", "😀"];

Deno.test("a client refuses a component . and the absolute form", async (t) => {
  const client = new Client(["127.0.0.1", 9]);
  for (
    const uri of [
      ...dottedUris.map(([received]) => received),
      ...absoluteTargets.map(([target]) => target),
    ]
  ) {
    await t.step(formatLabel(uri), async () => {
      assertRangeError(() => formatRequest("GET", uri, {}), uri);
      assertRangeError(() => mkreq("GET", uri), uri);
      await assertRejects(() => client.request("GET", uri), RangeError);
    });
  }
});

Deno.test("buildUri joins the parts that parseUri splits, in one spelling", async (t) => {
  for (const [text, path, query] of builtUris) {
    await t.step(formatLabel(text), () => assertEquals(buildUri(path, query), text));
  }
  for (const [text, path, query] of acceptedUris) {
    await t.step(`${formatLabel(text)}: built and parsed`, () => {
      const uri = buildUri(path, query);
      assertMatch(uri.split("?")[0]!, /^(?:[/A-Za-z0-9+.:_~-]|%[0-9A-F]{2})+$/);
      assertEquals(parseUri(uri), { path: [...path], query });
    });
  }
});

Deno.test("on Windows a received path has no backslash, but a client may send one", async (t) => {
  using _system = patch(Deno, "build", (build) => ({ ...build, os: "windows" as const }));
  for (const uri of ["/%5C", "/a%5cb", "/..%5C..%5Ca", "/a/%5C/", "/a%20%5C"]) {
    await t.step(uri, () => {
      assertProtocolError(() => parseUri(uri), ["BAD_PATH"], uri);
      assertProtocolError(
        () => parseRequest(encodeLatin1(`GET ${uri} HTTP/1.1`)),
        ["BAD_PATH"],
        uri,
      );
      assertRangeError(() => mkreq("GET", uri), uri);
    });
  }
  assertEquals(parseUri("/a%20b?%5C\\").path, ["a b"]);
  assertEquals(buildUri(["a\\b"]), "/a%5Cb");
  assertStringIncludes(decodeLatin1(formatRequest("GET", "/a%5Cb", {})), "GET /a%5Cb HTTP/1.1");
});

Deno.test("parseUri refuses characters beyond Latin-1 that resemble allowed ones", () => {
  const codes = ["BAD_URI", "BAD_PATH"];
  for (const character of LOOK_ALIKES) {
    for (const text of [`/a${character}b`, `/?${character}`, `${character}a`]) {
      assertProtocolError(() => parseUri(text), codes, formatLabel(text));
    }
  }
});

Deno.test("buildUri returns the root for a path of one empty component", () => {
  assertEquals(buildUri([""], null), "/");
  assertEquals(buildUri([""], ""), "/?");
  assertEquals(buildUri([""], "a=b"), "/?a=b");
});

Deno.test("buildUri refuses paths and queries that could not be read back", async (t) => {
  // grammar_test.ts has each single character.
  const paths: string[][] = [
    ...[["."], [".."], ["a/b"], ["", "a"], ["a", "", "b"], ["a", "", ""], ["a", "."], ["..", "a"], [
      "a",
      "..",
      "",
    ]],
    ...[["/a"], ["a", "b/c"], ["a\0"], ["../a"], [".;"], ["..;a", "b"], ["\ud800"], [
      "a",
      "\udc00b",
    ]],
  ];
  for (const path of paths) {
    await t.step(`path ${formatLabel(JSON.stringify(path))}`, () => {
      assertRangeError(() => buildUri(path, null), "path");
      assertRangeError(() => buildUri(path, "a=b"), "path with a query");
    });
  }
  for (const query of ["a b", "a#", "a\r\nb", "ä", "a\u212a"]) {
    await t.step(`query ${formatLabel(query)}`, () => {
      assertRangeError(() => buildUri([], query), "query of the root");
      assertRangeError(() => buildUri(["a"], query), "query");
    });
  }
  for (const parameters of [{ a: "\ud800" }, { "\udc00b": "c" }]) {
    assertRangeError(() => buildUri(["a"], parameters), formatLabel(JSON.stringify(parameters)));
  }
  const noQueries = [5, true, 1n, Symbol("a"), () => {}, ["a"], new Map(), { a: 5 }, { a: null }];
  for (const query of noQueries) {
    assertThrows(() => callWith(buildUri, ["a"], query), TypeError, "query");
  }
});

Deno.test("the error for a URI that a caller passes names buildUri, which escapes", async () => {
  const client = new Client(["127.0.0.1", 9]);
  const advice = "; buildUri(path, parameters) escapes paths and parameters";
  for (const uri of ["/find?a=b c", "/find?a=ä", '/"', "/a b?c=d", "/100%", "/%41"]) {
    const error = await assertRejects(() => client.request("GET", uri), RangeError);
    assertEquals(error.message.endsWith(advice), true, error.message);
  }
  const error = assertThrows(() => buildUri(["find"], "name=b c"), RangeError);
  assertStringIncludes(error.message, `" " is not allowed; a URI has `);
  assertEquals(error.message.endsWith(advice), true);
  assertEquals(buildUri(["find"], { name: "it's" }), "/find?name=it%27s");
});

Deno.test("buildUri escapes parameters so that parseUri and URLSearchParams read them back", async (t) => {
  const rows: [uri: string, parameters: Record<string, string>][] = [
    ["/a", {}],
    ["/a?glob=%2A.jpg", { glob: "*.jpg" }],
    ["/a?b=c+d&e=%26%3D%3F%23%2B", { b: "c d", e: "&=?#+" }],
    ["/a?%C3%B6=%F0%9F%98%80", { "ö": "😀" }],
    ["/a?=&b=", { "": "", b: "" }],
    ["/a?b=%2F%2C%40%5B%5D%7E%25", { b: "/,@[]~%" }],
  ];
  await testEachRow(t, rows, (uri, parameters) => {
    assertEquals(buildUri(["a"], parameters), uri);
    assertEquals(buildUri(["a"], new URLSearchParams(parameters)), uri);
    const { query } = parseUri(uri);
    assertEquals([...new URLSearchParams(query ?? "")], Object.entries(parameters));
    assertEquals([...mkreq("GET", uri).searchParams], Object.entries(parameters));
  });
  const repeatedParameters = new URLSearchParams([["a", "1"], ["a", "2"]]);
  assertEquals(buildUri([], repeatedParameters), "/?a=1&a=2");
  assertEquals(buildUri(["a"]), "/a");
  assertEquals(buildUri([], Object.assign(Object.create(null), { a: "b" })), "/?a=b");
});

Deno.test("Request.searchParams keeps a question mark at the beginning of a query", () => {
  assertEquals([...mkreq("GET", "/??a=b").searchParams], [["?a", "b"]]);
  assertEquals([...mkreq("GET", "/?").searchParams], []);
});

Deno.test("Request.searchParams are new at each call", () => {
  const request = mkreq("GET", "/a?b=c");
  request.searchParams.set("b", "d");
  assertEquals(request.searchParams.get("b"), "c");
  assertEquals([...mkreq("GET", "/a").searchParams], []);
});

const URI_RULE = "a URI has visible ASCII except #";
const PATH_RULE = 'a path has visible ASCII except " # < > ? \\ and the backtick';
const COMPONENT_RULE = 'a component has no slash or NUL, and doesn\'t begin with ".;" or "..;"';

Deno.test("the error for a URI names the part that is not allowed, and the reason", () => {
  const literal = "letters, digits and - . _ are not escaped";
  const rows = [
    ["http://a/", '"http://a/": it must begin with "/"'],
    ["/a#b", `"/a#b": "#" is not allowed; ${URI_RULE}`],
    ["/é", `"/\\xe9": "\\xe9" is not allowed; ${URI_RULE}`],
    ["/😀", `"/\\ud83d\\ude00": "\\ud83d\\ude00" is not allowed; ${URI_RULE}`],
    ["/a/b?c/d e", `"/a/b?c/d e": " " is not allowed; ${URI_RULE}`],
    ["/a<b", `"/a<b": "<" is not allowed; ${PATH_RULE}`],
    ["/%zz%41", `"/%zz%41": "%zz" is not allowed; two hexadecimal digits follow a percent sign`],
    ["/a%20%2e", `"/a%20%2e": "%2e" is not allowed; ${literal}`],
    ["/a%2Fb", `"/a%2Fb": "/" is not allowed; ${COMPONENT_RULE}`],
    ["/..;/b", `"/..;/b": "..;" is not allowed; ${COMPONENT_RULE}`],
    ["/a%ff", `"/a%ff": "a%ff" is not allowed; escapes are UTF-8`],
    ["/a//b", '"/a//b": "//" is not allowed; each path has one spelling'],
    ["/a/../b", '"/a/../b": ".." is not allowed; each path has one spelling'],
  ] as const;
  for (const [text, expected] of rows) {
    const message = catchMessage(() => parseUri(text));
    assertEquals(message.slice(message.indexOf('"')), expected, text);
  }
});

Deno.test("a zone is the text after the first percent sign", () => {
  const zones = {
    "fe80::1%eth0": "eth0",
    "fe80::1": null,
    "fe80::1%": "",
    "%a": "a",
    "a%b%c": "b%c",
  };
  for (const [host, zone] of Object.entries(zones)) {
    assertEquals(zoneOf(host), zone);
    assertEquals(removeZone(host) + (zone === null ? "" : `%${zone}`), host);
  }
});
