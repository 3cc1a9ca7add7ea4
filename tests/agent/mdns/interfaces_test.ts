import { assertEquals } from "@std/assert";
import { type InterfaceAddress, interfacesOf } from "@degu/internal/agent/mdns/interfaces.ts";

const of = (name: string, address: string, netmask = "", scopeid: number | null = null) => {
  const family = address.includes(":") ? "IPv6" : "IPv4";
  return { name, address, netmask, scopeid, family } satisfies InterfaceAddress;
};

const LOOPBACK = [of("lo", "127.0.0.1", "255.0.0.0"), of("lo", "::1"), of("lo", "10.9.9.9")];
const CABLE = [of("eth0", "fe80::1", "ffff:ffff:ffff:ffff::", 2)];
const HOME = [
  of("wlan0", "192.168.1.7", "255.255.255.128"),
  of("wlan0", "169.254.3.4", "255.255.0.0"),
  of("wlan0", "2001:db8::1"),
  of("wlan0", "fe80::2", "", 3),
];
const shown = (addresses: InterfaceAddress[]) =>
  interfacesOf(addresses).map((each) => [each.type, each.bind, each.libraryName, each.scope]);

Deno.test("each interface has a link for IPv4, and one for IPv6 if it has a link-local address", () => {
  assertEquals(shown([...LOOPBACK, ...CABLE, ...HOME]), [
    ["udp6", "ff02::fb%eth0", "::%eth0", 2],
    ["udp4", "224.0.0.251", "192.168.1.7", 0],
    ["udp6", "ff02::fb%wlan0", "::%wlan0", 3],
  ]);
  assertEquals(shown([of("tun0", "2001:db8::5")]), []);
  assertEquals(shown([]), []);
});

Deno.test("the loopback interface is used only if there is no other", () => {
  assertEquals(shown(LOOPBACK), [["udp4", "224.0.0.251", "127.0.0.1", 0]]);
});

Deno.test("over IPv4 only the networks of the interface are accepted", () => {
  const [, home] = interfacesOf([...CABLE, ...HOME]);
  const accepted = ["192.168.1.1", "192.168.1.127", "169.254.200.1"];
  const refused = ["192.168.1.128", "192.168.0.1", "169.253.3.4", "8.8.8.8"];
  assertEquals([...accepted, ...refused].filter((host) => home!.accept(host)), accepted);
});

Deno.test("the key of a link changes with any address of the interface, and with its number", () => {
  const keys = [
    CABLE,
    [of("eth0", "fe80::1", "", 9)],
    [...CABLE, of("eth0", "2001:db8::9")],
    [of("eth1", "fe80::1", "", 2)],
  ].map((addresses) => interfacesOf(addresses)[0]!.key);
  assertEquals(new Set(keys).size, keys.length);
  assertEquals(interfacesOf([...CABLE, ...HOME])[0]!.key, keys[0]);
});
