/** Sockets on the interfaces of a machine, and what they pass on. */
import { assert, assertEquals } from "@std/assert";
import { findAddresses } from "@degu/internal/agent/mdns/find.ts";
import { interfacesOf, type Link, Links, PacketFilter } from "@degu/internal/agent/mdns/links.ts";
import type { InterfaceAddress } from "@degu/internal/agent/mdns/packet.ts";
import {
  ADDRESS,
  announceCamera,
  idOf,
  loopbackNetwork,
  SILENT,
  Stranger,
} from "@degu/testing/mdns.ts";
import { runScript } from "@degu/testing/processes.ts";
import { within } from "@degu/testing/raw_peer.ts";

/** A generator of numbers below 2^32 that is the same each time (xorshift). */
function numbers(seed: number): () => number {
  return () => {
    seed ^= seed << 13;
    seed ^= seed >>> 17;
    seed ^= seed << 5;
    return seed >>> 0;
  };
}

Deno.test("no bytes end the process or stop an announcement", async () => {
  const network = await loopbackNetwork();
  await using stranger = await Stranger.join(network);
  await using camera = announceCamera(network);
  await within(camera.announced, "announced");
  await stranger.hears("an announcement", ({ type }) => type === "response");
  const valid = [...stranger.bytes];
  const next = numbers(0x2545f491);
  for (let i = 0; i < 600; i++) {
    const model = valid[next() % valid.length]!;
    const bytes = Uint8Array.from(model.subarray(0, 12 + next() % (model.length - 11)));
    for (let j = next() % 8; j > 0; j--) bytes[next() % bytes.length] = next();
    await stranger.send(bytes);
  }
  for (const size of [0, 1, 11, 12, 9000, 9001, 65000]) {
    await stranger.send(new Uint8Array(size).fill(0xc0));
    await stranger.send(new Uint8Array(size).fill(0xff));
    await stranger.send(new Uint8Array(size));
  }
  assertEquals(
    await within(findAddresses(idOf("c"), { seconds: 4 }, network), "found"),
    [[ADDRESS, 7443]],
  );
});

Deno.test("links follow the interfaces: a new address is a new link, and one that is gone is closed", async () => {
  const { port, findInterfaces } = await loopbackNetwork();
  let interfaces = findInterfaces();
  const told: string[][] = [];
  let wake = () => {};
  const onLink = ({ addresses }: Link) => {
    told.push(addresses.map(({ address }) => address));
    wake();
  };
  const nextLink = () => within(new Promise<void>((resolve) => wake = resolve), "a link");
  const listener = { onPacket: () => {}, onLink };
  const network = { port, findInterfaces: () => interfaces };
  const first = nextLink();
  await using links = await Links.open(network, ["udp4", "udp6"], listener, SILENT);
  await first;
  const changed = nextLink();
  interfaces = interfaces.map((own) =>
    own.address === ADDRESS ? { ...own, address: "192.0.2.8" } : own
  );
  await changed;
  assertEquals(told, [["127.0.0.1", ADDRESS], ["127.0.0.1", "192.0.2.8"]]);
  assertEquals(links.size, 1);
});

Deno.test("a temporary failure to list the interfaces ends nothing", async () => {
  const network = await loopbackNetwork();
  const failed = Promise.withResolvers<string>();
  let calls = 0;
  const failing = {
    ...network,
    findInterfaces: () => {
      if (++calls === 2) throw new Error("not now");
      return network.findInterfaces();
    },
  };
  const listener = { onPacket: () => {}, onLink: () => {} };
  const logger = { ...SILENT, debug: failed.resolve };
  await using _links = await Links.open(failing, ["udp4"], listener, logger);
  assertEquals(await within(failed.promise, "a message"), "mDNS: Error: not now");
});

Deno.test("an interface that can't be used is logged at debug, and closed", async () => {
  const network = await loopbackNetwork();
  const gone = Promise.withResolvers<string>();
  const logger = { ...SILENT, debug: gone.resolve };
  const [own] = network.findInterfaces();
  const interfaces = [{ ...own!, name: "gone", family: "IPv6", address: "fe80::1", scopeid: 9999 }];
  const listener = { onPacket: () => {}, onLink: () => {} };
  await using links = await Links.open(
    { ...network, findInterfaces: () => interfaces as [] },
    ["udp6"],
    listener,
    logger,
  );
  const text = await within(gone.promise, "a message");
  assert(text.startsWith("mDNS on gone: "), text);
  assertEquals(links.size, 0);
});

Deno.test("a failed send is logged at debug, and rejects nothing", async () => {
  const network = await loopbackNetwork();
  const messages: string[] = [];
  const logger = { ...SILENT, debug: (message: string) => void messages.push(message) };
  const ready = Promise.withResolvers<void>();
  const listener = { onPacket: () => {}, onLink: () => ready.resolve() };
  await using links = await Links.open(network, ["udp4"], listener, logger);
  await within(ready.promise, "a link");
  await links.query({ questions: Array(9000).fill({ name: "too.much.local", type: "A" }) });
  assertEquals(messages.length, 1, messages.join());
});

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
  interfacesOf(addresses).map((
    each,
  ) => [each.type, each.bind, each.multicastInterface, each.scope]);

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

const SCRIPT = `
  import { permittedTypes } from "./agent/mdns/links.ts";
  try {
    console.log(permittedTypes(5353).join());
  } catch (error) {
    console.log(error.name + ": " + error.message);
  }
`;

Deno.test("mDNS uses what is permitted, and says what it needs if nothing is", async () => {
  const both = "--allow-net=224.0.0.251:5353,[ff02::fb]:5353";
  const sys = "--allow-sys=networkInterfaces";
  const results = await Promise.all(
    [
      ...[both, "--allow-net", "--allow-net=224.0.0.251:5353", "--allow-net=[ff02::fb]"],
      ...["--no-prompt"],
    ].map((flag) => runScript(SCRIPT, [flag, sys], {})),
  );
  results.push(await runScript(SCRIPT, [both, "--no-prompt"], {}));
  assertEquals(results, [
    "udp4,udp6\n",
    "udp4,udp6\n",
    "udp4\n",
    "udp6\n",
    "NotCapable: mDNS needs net access to 224.0.0.251:5353 or [ff02::fb]:5353; run again with " +
    "--allow-net=224.0.0.251:5353,[ff02::fb]:5353\n",
    "NotCapable: mDNS needs sys access to the interfaces of this machine; run again with " +
    "--allow-sys=networkInterfaces\n",
  ]);
});

/** How many of these packets are decoded. */
function decoded(packets: Iterable<{ size?: number; port?: number; address?: string }>): number {
  const filter = new PacketFilter(5353, (host) => host !== "192.0.2.66");
  let count = 0;
  for (const { size = 100, port = 5353, address = "192.0.2.1" } of packets) {
    if (filter.isWorthDecoding(size, { address, port })) count++;
  }
  return count;
}

Deno.test("packets of up to 9000 bytes are decoded, and larger ones are not", () => {
  assertEquals(decoded([{ size: 9000 }, { size: 9001 }, { size: 65507 }, { size: 0 }]), 2);
});

Deno.test("packets from other ports and from other networks are dropped", () => {
  assertEquals(decoded([{ port: 5354 }, { port: 0 }, { address: "192.0.2.66" }, {}]), 1);
});

Deno.test("a flood is limited, by bytes and by the number of small packets", () => {
  const large = decoded(Array.from({ length: 1000 }, () => ({ size: 9000 })));
  const small = decoded(Array.from({ length: 10_000 }, () => ({ size: 1 })));
  // 100,000 bytes at once, and what a slow machine adds at 50,000 a second.
  assert(large >= 11 && large < 40, `${large}`);
  assert(small >= 500 && small < 1400, `${small}`);
  // Those that are dropped for another reason cost nothing.
  const foreign = Array.from({ length: 10_000 }, () => ({ port: 1 }));
  assertEquals(decoded([...foreign, {}]), 1);
});
