import { assertEquals } from "@std/assert";
import type { Address } from "@degu/degu/base";
import {
  type Interface,
  linkLocalScopes,
  ownAddresses,
  scopeOfOwn,
  withoutWildcards,
} from "@degu/internal/device/pairing_addresses.ts";

const of = (name: string, address: string, scopeid: number | null = null): Interface => ({
  name,
  address,
  scopeid,
  family: address.includes(":") ? "IPv6" : "IPv4",
});

const LOOPBACK = [of("lo", "127.0.0.1"), of("lo", "::1", 0)];
const HOME = [
  ...LOOPBACK,
  of("eth0", "169.254.3.4"),
  of("eth0", "fe80::1", 2),
  of("eth0", "2001:db8::1", 0),
  of("eth0", "192.168.1.7"),
  of("eth0", "192.168.1.8"),
  of("eth0", "2001:db8::2", 0),
];

Deno.test("own addresses list the most useful first, and loopback ones never with others", () => {
  assertEquals(ownAddresses(HOME), [
    ["192.168.1.7", 0],
    ["2001:db8::1", 0],
    ["fe80::1", 0, 0, 2],
    ["169.254.3.4", 0],
    ["192.168.1.8", 0],
    ["2001:db8::2", 0],
  ]);
});

Deno.test("own addresses list one per interface before a second of any", () => {
  const bridges = [1, 2, 3].map((i) => of(`br${i}`, `172.17.${i}.1`));
  const cable = of("eth1", "fe80::2", 9);
  assertEquals(ownAddresses([...HOME, ...bridges, cable]).slice(0, 6), [
    ["192.168.1.7", 0],
    ["172.17.1.1", 0],
    ["172.17.2.1", 0],
    ["172.17.3.1", 0],
    ["fe80::2", 0, 0, 9],
    ["2001:db8::1", 0],
  ]);
});

Deno.test("own addresses are the loopback ones if there are no others", () => {
  assertEquals(ownAddresses(LOOPBACK), [["127.0.0.1", 0], ["::1", 0]]);
  assertEquals(ownAddresses([]), []);
});

Deno.test("a wildcard is replaced by the addresses of this machine, with its port", () => {
  const rest: Address[] = [["10.0.0.1", 5], "/run/a.socket"];
  assertEquals(withoutWildcards([["0.0.0.0", 7443], ...rest], () => HOME), [
    ["192.168.1.7", 7443],
    ["169.254.3.4", 7443],
    ["192.168.1.8", 7443],
    ...rest,
  ]);
  for (const wildcard of [["::", 1], ["0::0", 1], ["::", 1, 0, 0]] as const) {
    assertEquals(
      withoutWildcards([wildcard as Address], () => HOME),
      ownAddresses(HOME).map(([host, , ...scope]) => [host, 1, ...scope] as unknown as Address),
    );
  }
});

Deno.test("the interfaces are read only if there is a wildcard", () => {
  const given: Address[] = [["127.0.0.1", 0], ["::1", 0], "/run/a.socket", new Uint8Array(0)];
  const ask = () => {
    throw new Error("asked");
  };
  assertEquals(withoutWildcards(given, ask), given);
});

Deno.test("the interface of a connection is found by its local address", () => {
  assertEquals(scopeOfOwn("192.168.1.8", HOME), 2);
  assertEquals(scopeOfOwn("::ffff:192.168.1.8", HOME), 2);
  assertEquals(scopeOfOwn("fe80::1%eth0", HOME), 2);
  assertEquals(scopeOfOwn("127.0.0.1", HOME), null); // lo has no link-local address
  assertEquals(scopeOfOwn("192.168.1.9", HOME), null);
  assertEquals(scopeOfOwn("192.168.1.7", [...HOME, of("eth1", "192.168.1.7")]), null);
  assertEquals(linkLocalScopes([...HOME, of("eth1", "fe80::1", 9), of("eth1", "fe80::2", 9)]), [
    2,
    9,
  ]);
});

Deno.test("this machine has an address", () => {
  assertEquals(ownAddresses().length > 0, true);
});
