/** Hosts: parsing, the canonical form, and the reach. */
import { checkAddress, formatAddress, parseHost } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { Server } from "@degu/degu/server";
import { callWith } from "@degu/testing/expectations.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";

Deno.test("parseHost converts an IPv4 address, an IPv6 address or a name to one form", async (t) => {
  const rows: [host: string, type: string, text: string, zone: string | null][] = [
    ["10.0.0.7", "IPv4", "10.0.0.7", null],
    ["2001:DB8::0001", "IPv6", "2001:db8::1", null],
    ["0:0:0:0:0:0:0:1", "IPv6", "::1", null],
    ["::ffff:10.0.0.7", "IPv6", "::ffff:a00:7", null],
    ["FE80::1%eth0", "IPv6", "fe80::1", "eth0"],
    ["fe80::1%3", "IPv6", "fe80::1", "3"],
    ["::1%0", "IPv6", "::1", null],
    ["fe80::1%4294967295", "IPv6", "fe80::1", "4294967295"],
    ["Camera.Local.", "name", "camera.local", null],
    ["a_b", "name", "a_b", null],
    ["unix", "name", "unix", null],
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
    [["127.0.0.1", 65536], false, false],
    [["camera.local", 80], true, false],
    [["::1", 80], true, true],
    [["fe80::1", 80], false, false],
    [["fe80::1%lo", 80], true, true],
    [["::1%4294967296", 80], false, false],
    [["fe80::1/64", 80, 0, 3], true, false],
    [["127.0.0.1", 80, 0, 3], true, false],
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
