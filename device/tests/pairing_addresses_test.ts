/** The addresses that two devices exchange, and the addresses of this machine. */
import type { Address } from "@degu/degu/base";
import {
  listLinkLocalScopes,
  listOwnAddresses,
  makeAddressFinder,
  readAddresses,
  replaceWildcards,
  selectAddressesToSend,
  selectAddressesToStore,
} from "@degu/internal/device/pairing_addresses.ts";
import { patch } from "@degu/testing/patching.ts";
import { assertEquals, assertRejects, assertThrows } from "@std/assert";

const never = () => {
  throw new Error("asked");
};

const NO_IO = { read: never, write: never, close: never };

/** Calls a function on a machine with these interfaces. */
function withInterfaces<T>(interfaces: () => Deno.NetworkInterfaceInfo[], call: () => T): T {
  using _found = patch(Deno, "networkInterfaces", () => interfaces);
  return call();
}

Deno.test("addresses from another device are IP addresses or DNS names, each with a port", () => {
  const allowed = [
    [],
    [["192.0.2.1", 1], ["2001:db8::1", 65535], ["fe80::1", 80], ["127.0.0.1", 80], ["::1", 80]],
    [["camera.local", 80], ["a", 1], ["my_camera-1.example.com", 443], ["10.0.0.1", 80]],
    Array(6).fill(["10.0.0.1", 80]),
  ];
  for (const addresses of allowed) assertEquals(readAddresses(addresses) as unknown, addresses);
  const list: unknown[] = [null, {}, "10.0.0.1:80", 7, { length: 1, 0: ["10.0.0.1", 80] }];
  for (const value of list) assertThrows(() => readAddresses(value), RangeError, "not a list");
  assertThrows(() => readAddresses(Array(7).fill(["10.0.0.1", 80])), RangeError, "7 addresses");
  const ports = [0, -1, 65536, 1.5, "80", null, NaN, Infinity, [80]];
  const invalidHosts = [
    "/run/a.socket,\0name,unix:/run/a.socket,unix:@name,@name,,.,..,a..b,a b,a/b,a:1,a%,%",
    "0.0.0.0,::,0:0::0,224.0.0.1,239.255.255.255,255.255.255.255,ff02::1,1.2.3,1.2.3.4.5",
    "01.2.3.4,1.2.3.04,0x7f.1,127.1,[::1],::1%1,fe80::1%eth0,FE80::1,2001:db8:0::1,a.",
    "http://a,user@a,a#b,a?b,unix,é.example,\u212a.local,a\nb",
  ];
  const hosts = [
    ...invalidHosts.flatMap((line) => line.split(",")),
    "a".repeat(64),
    "a.".repeat(127) + "a",
    null,
    7,
    ["10.0.0.1"],
  ];
  const items: unknown[] = [
    ...ports.map((port) => ["10.0.0.1", port]),
    ...hosts.map((host) => [host, 80]),
    ["10.0.0.1"],
    ["10.0.0.1", 80, 0, 0],
    ["fe80::1", 80, 0, 3],
    "10.0.0.1:80",
    { host: "10.0.0.1", port: 80 },
    null,
    [],
  ];
  for (const item of items) {
    assertThrows(() => readAddresses([item]), RangeError, "IP address", Deno.inspect(item));
  }
});

Deno.test("link-local addresses get the interface of the pairing, and are omitted without one", () => {
  const denied = () => {
    throw new Deno.errors.NotCapable("no");
  };
  const home = () => HOME;
  const twice = () => [...HOME, makeEntry("eth1", "192.168.1.7")];
  const rows: [
    remote: Address | null,
    local: string | null,
    find: () => Deno.NetworkInterfaceInfo[],
    scope: number | null,
  ][] = [
    [["fe80::9", 1, 0, 5], null, never, 5],
    [["fe80::9%4", 1], null, never, 4],
    [["192.168.1.9", 1], "192.168.1.7", home, 2],
    [["::1", 1], "::ffff:192.168.1.8", home, 2],
    [["fe80::9%eth0", 1], "fe80::1%eth0", home, 2],
    [null, "127.0.0.1", home, null], // lo has no link-local address
    [null, "192.168.1.9", home, null],
    [null, "192.168.1.7", twice, null],
    [null, "192.168.1.7", denied, null],
    [null, null, never, null],
  ];
  for (const [remote, hostname, find, scope] of rows) {
    const localAddr = hostname === null ? undefined : { transport: "tcp", hostname, port: 1 };
    const socket = { localAddr, ...NO_IO };
    const local = scope === null ? [] : [["fe80::1", 80, 0, scope]];
    const received = [["fe80::1", 80], ["10.0.0.1", 80]] as const;
    const scoped = withInterfaces(find, () => selectAddressesToStore(received, remote, socket));
    assertEquals(scoped as unknown, [...local, ["10.0.0.1", 80]]);
    const unscopedAddresses = [["169.254.1.1", 80], ["a", 80]] as const;
    const select = () => selectAddressesToStore(unscopedAddresses, remote, socket);
    assertEquals(withInterfaces(never, select) as unknown, unscopedAddresses);
  }
  const localAddr = { transport: "tcp", hostname: "192.168.1.7", port: 1 } as const;
  const socket = { localAddr, ...NO_IO };
  const store = () => selectAddressesToStore([["fe80::1", 80]], null, socket);
  assertThrows(() => withInterfaces(never, store), Error, "asked"); // an error other than a missing permission
});

Deno.test("an address of this machine is stored only for a device on this machine", () => {
  const received = [
    ...["127.0.0.1", "127.9.9.9", "::1", "::ffff:7f00:1", "localhost", "LocalHost", "a.localhost"],
    ...["10.0.0.1", "localhost.example", "notlocalhost", "::ffff:a00:1"],
  ].map((host) => [host, 22] as const);
  const rows: [local: string | null, remote: string, kept: number][] = [
    ["192.168.1.7", "192.168.1.9", 4],
    ["::ffff:192.168.1.7", "::ffff:192.168.1.9", 4],
    [null, "192.168.1.9", 4],
    ["192.168.1.7", "192.168.1.7", 11],
    ["127.0.0.1", "127.0.0.2", 11],
    ["::ffff:127.0.0.1", "::ffff:127.0.0.1", 11],
    ["::1", "::1", 11],
  ];
  for (const [local, remote, storedCount] of rows) {
    const addrOf = (hostname: string) => ({ transport: "tcp", hostname, port: 1 });
    const localAddr = local === null ? undefined : addrOf(local);
    const socket = { localAddr, remoteAddr: addrOf(remote), ...NO_IO };
    const stored = selectAddressesToStore(received, [remote, 1], socket);
    assertEquals(stored, received.slice(-storedCount), `${local}`);
  }
});

Deno.test("announced addresses have no scope, no Unix socket, no wildcard and no duplicates", () => {
  const addresses: Address[] = [
    ["fe80::7", 80, 0, 2],
    ["fe80::7%eth0", 80],
    ["0.0.0.0", 7443],
    ["192.168.1.7", 7443],
    "/run/a.socket",
    new Uint8Array([0, 97]),
    ["unix", 80],
    ["camera.local", 80],
  ];
  const interfaces = [makeEntry("eth0", "192.168.1.7"), makeEntry("eth0", "fe80::7", 2)];
  const sent = withInterfaces(() => interfaces, () => selectAddressesToSend(addresses));
  assertEquals(sent, [["fe80::7", 80], ["192.168.1.7", 7443], ["camera.local", 80]]);
  assertEquals(readAddresses(sent), sent);
  const many = [1, 2, 3, 4, 5, 6, 7].map((port): Address => ["10.0.0.1", port]);
  assertEquals(withInterfaces(never, () => selectAddressesToSend(many)).length, 6);
});

Deno.test("the addresses of serving are sent without scopes, and a wildcard is replaced by the machine's addresses", async () => {
  const find = (serving: Address[]) => makeAddressFinder({} as never, serving).findAddresses();
  const addresses: Address[] = [["10.0.0.1", 80], ["a.local", 80], ["fe80::1", 80, 0, 2]];
  assertEquals(await find(addresses), [["10.0.0.1", 80], ["a.local", 80], ["fe80::1", 80]]);
  assertEquals((await find([["::", 80]])).length > 0, true);
  assertEquals(await find([]), []);
  const make = () => makeAddressFinder({} as never, [["::", 80]]);
  assertThrows(() => withInterfaces(never, make), Error, "asked"); // immediately
  // For servers that listen later, an error other than a missing permission is also an error.
  const servingRecords = { listAddresses: () => Promise.resolve([["::", 80]]) };
  using _never = patch(Deno, "networkInterfaces", () => never);
  const { findAddresses } = makeAddressFinder({ servingRecords } as never, undefined);
  await assertRejects(findAddresses, Error, "asked");
});

function makeEntry(name: string, address: string, scopeid: number | null = null) {
  const family = address.includes(":") ? "IPv6" : "IPv4";
  return { name, address, scopeid, family, netmask: "", cidr: "", mac: "" } as const;
}

const ownOf = (interfaces: Deno.NetworkInterfaceInfo[]) =>
  withInterfaces(() => interfaces, listOwnAddresses);

const LOOPBACK = [makeEntry("lo", "127.0.0.1"), makeEntry("lo", "::1", 0)];
const HOME = [
  ...LOOPBACK,
  makeEntry("eth0", "169.254.3.4"),
  makeEntry("eth0", "fe80::1", 2),
  makeEntry("eth0", "2001:db8::1", 0),
  makeEntry("eth0", "192.168.1.7"),
  makeEntry("eth0", "192.168.1.8"),
  makeEntry("eth0", "2001:db8::2", 0),
];

Deno.test("own addresses are sorted by usefulness: network cards first, with one per interface before a second of any", () => {
  const [v4, other4] = [["192.168.1.7", 0], ["192.168.1.8", 0]];
  const [v6, other6] = [["2001:db8::1", 0], ["2001:db8::2", 0]];
  const [link4, link6] = [["169.254.3.4", 0], ["fe80::1", 0, 0, 2]];
  const bridges = ["172.17.1.1", "172.17.2.1", "172.17.3.1"];
  const bridgeEntries = bridges.map((address, i) => makeEntry(`br${i}`, address));
  const cable = ["fe80::2", 0, 0, 9];
  const ofBridges = bridges.map((host) => [host, 0]);
  const rows: [interfaces: Deno.NetworkInterfaceInfo[], addresses: unknown[]][] = [
    [HOME, [v4, other4, v6, other6, link6, link4]],
    [HOME.toReversed(), [other4, v4, other6, v6, link6, link4]],
    // A link without other addresses, such as a cable between two devices, is near the top.
    [
      [makeEntry("eth1", "fe80::2", 9), ...HOME, ...bridgeEntries],
      [v4, cable, other4, v6, ...ofBridges, other6, link6, link4],
    ],
    // Addresses of the loopback interface are listed only if there are no others.
    [LOOPBACK, [["127.0.0.1", 0], ["::1", 0]]],
    [[...LOOPBACK, makeEntry("eth0", "fe80::1")], [["fe80::1", 0, 0, 0]]],
    [[], []],
  ];
  for (const [interfaces, addresses] of rows) assertEquals(ownOf(interfaces), addresses);
});

/** The interfaces of a machine with containers, a virtual machine and a tunnel. */
const CONTAINERS = [
  "docker0",
  "br-0a1b2c3d4e5f",
  "veth12ab",
  "virbr0",
  "wg0",
  "tailscale0",
  "lxcbr0",
]
  .map((name, index) => makeEntry(name, `172.17.${index}.1`));

Deno.test("the first addresses of a machine with bridges and tunnels are those of its network cards, in any order of the system", () => {
  for (const name of ["eth0", "wlp2s0", "Wi-Fi"]) {
    const card = makeEntry(name, "192.168.1.7");
    for (const interfaces of [[...CONTAINERS, card], [card, ...CONTAINERS]]) {
      assertEquals(ownOf([...LOOPBACK, ...interfaces])[0], ["192.168.1.7", 0], name);
    }
  }
  // A bridge of the real network comes before those of containers, as does an unknown name.
  for (const name of ["br0", "bond0", "lan", "vlan3"]) {
    const unknown = makeEntry(name, "192.168.1.7");
    assertEquals(ownOf([...CONTAINERS, unknown])[0], ["192.168.1.7", 0], name);
  }
  // A tunnel isn't crowded out by the addresses of a single card.
  const cardAddresses = [1, 2, 3, 4, 5, 6, 7].map((n) => makeEntry("eth0", `2001:db8::${n}`, 0));
  const first = ownOf([...cardAddresses, makeEntry("wg0", "10.9.0.2")]).slice(0, 6);
  assertEquals(first.filter(([host]) => host === "10.9.0.2").length, 1);
});

Deno.test("addresses that are left out are reported", () => {
  const messages: string[] = [];
  const report = (message: string) => void messages.push(message);
  const interfaces = [makeEntry("eth0", "192.168.1.7"), ...CONTAINERS];
  const sent = withInterfaces(
    () => interfaces,
    () => selectAddressesToSend([["::", 7443]], report),
  );
  assertEquals(sent.length, 6);
  assertEquals(sent[0], ["192.168.1.7", 7443]);
  assertEquals(messages, [
    "pairing: 2 addresses of this machine are left out: 172.17.5.1:7443, 172.17.6.1:7443; if " +
    "another machine reaches this one only there, set the option serving",
  ]);
  withInterfaces(() => interfaces.slice(0, 6), () => selectAddressesToSend([["::", 1]], report));
  assertEquals(messages.length, 1);
});

Deno.test("a wildcard is replaced by the addresses of this machine, with its port", () => {
  const otherAddresses: Address[] = [["10.0.0.1", 5], "/run/a.socket"];
  const resolve = (...addresses: Address[]) =>
    withInterfaces(() => HOME, () => replaceWildcards(addresses));
  assertEquals(resolve(["0.0.0.0", 7443], ...otherAddresses), [
    ["192.168.1.7", 7443],
    ["192.168.1.8", 7443],
    ["169.254.3.4", 7443],
    ...otherAddresses,
  ]);
  for (const wildcard of [["::", 1], ["0::0", 1], ["::", 1, 0, 0]] as const) {
    assertEquals(
      resolve(wildcard as Address),
      ownOf(HOME).map(([host, , ...scope]) => [host, 1, ...scope] as unknown as Address),
    );
  }
});

Deno.test("the interfaces are read only if there is a wildcard", () => {
  const addresses: Address[] = [["127.0.0.1", 0], ["::1", 0], "/run/a.socket", new Uint8Array(0)];
  assertEquals(withInterfaces(never, () => replaceWildcards(addresses)), addresses);
});

Deno.test("link-local peers are searched for once on each interface with a link-local address", () => {
  const interfaces = [...HOME, makeEntry("eth1", "fe80::1", 9), makeEntry("eth1", "fe80::2", 9)];
  const otherEntries = [makeEntry("eth2", "fe80::3"), makeEntry("eth3", "2001:db8::3", 7)];
  assertEquals(listLinkLocalScopes([...interfaces, ...otherEntries]), [2, 9]);
});
