/** mDNS: packets, links, announcing and finding. */
import { announce, Responder } from "@degu/internal/agent/mdns/announce.ts";
import { findAddresses, Hints } from "@degu/internal/agent/mdns/find.ts";
import { interfacesOf, type Link, Links, PacketFilter } from "@degu/internal/agent/mdns/links.ts";
import {
  allRecords,
  goodbyes,
  type Incoming,
  instanceName,
  type InterfaceAddress,
  isAsked,
  isKnown,
  isSameName,
  type KnownRecord,
  knownRecords,
  SERVICE,
  type Service,
  uniqueRecords,
} from "@degu/internal/agent/mdns/packet.ts";
import {
  ADDRESS,
  announceCamera,
  idOf,
  interfaceOf,
  loopbackNetwork,
  SILENT,
  Stranger,
} from "@degu/testing/mdns.ts";
import { runScript } from "@degu/testing/processes.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { Buffer } from "node:buffer";

// The records of a device, and how names and questions are compared.

const CAMERA: Service = { name: "camera", id: "abcdefghijklmnopqrstuv", port: 7443 };
const INSTANCE = "camera-abcdefghijklmnop._degu._tcp.local";
const HOST = "degu-abcdefghijklmnop.local";

const on = (...addresses: string[]) => interfaceOf(7, ...addresses);

Deno.test("the records of a device have 16 characters of its id, its port and its addresses", () => {
  const records = allRecords(CAMERA, on("127.0.0.1", "fe80::9%eth0", "192.0.2.1", "fe80::1"));
  assertEquals(records.map(({ name, type, data }) => [name, type, data]), [
    [SERVICE, "PTR", INSTANCE],
    ["_services._dns-sd._udp.local", "PTR", SERVICE],
    [INSTANCE, "TXT", [Buffer.from("id=abcdefghijklmnop")]],
    [INSTANCE, "SRV", { priority: 0, weight: 0, port: 7443, target: HOST }],
    [HOST, "A", "192.0.2.1"],
    [HOST, "AAAA", "fe80::1"],
  ]);
});

Deno.test("at most 8 addresses of an interface are announced", () => {
  const many = Array.from({ length: 20 }, (_, i) => `192.0.2.${i}`);
  assertEquals(allRecords(CAMERA, on(...many)).filter(({ type }) => type === "A").length, 8);
});

Deno.test("a goodbye withdraws the service, but not the addresses", () => {
  const types = goodbyes(CAMERA).map(({ type, ttl }) => [type, ttl]);
  assertEquals(types, [["PTR", 0], ["TXT", 0], ["SRV", 0]]);
});

Deno.test("a query matches a record by its name, and by its type or any type", () => {
  const records = allRecords(CAMERA, on("192.0.2.1"));
  const asked = (name: string, type: string) => isAsked([{ name, type }], records);
  assertEquals(asked(SERVICE, "PTR"), true);
  assertEquals(asked("_DEGU._tcp.LOCAL", "PTR"), true);
  assertEquals(asked(INSTANCE, "ANY"), true);
  assertEquals(asked(HOST, "A"), true);
  assertEquals(asked(HOST, "AAAA"), false);
  assertEquals(asked(SERVICE, "SRV"), false);
  assertEquals(asked("other._degu._tcp.local", "ANY"), false);
  assertEquals(isAsked([], records), false);
});

Deno.test("a known answer with at least half of its lifetime suppresses the response", () => {
  const pointer = { name: SERVICE, type: "PTR", ttl: 2250, data: INSTANCE } as const;
  assertEquals(isKnown([pointer], CAMERA), true);
  assertEquals(isKnown([{ ...pointer, ttl: 2249 }], CAMERA), false);
  assertEquals(isKnown([{ ...pointer, data: "other._degu._tcp.local" }], CAMERA), false);
  assertEquals(isKnown([], CAMERA), false);
});

Deno.test("the name of an instance fits into a label, with the id", () => {
  const [label = ""] = instanceName({ ...CAMERA, name: "x".repeat(63) }).split(".");
  assertEquals(label, `${"x".repeat(46)}-abcdefghijklmnop`);
});

Deno.test("names are compared ignoring the case of ASCII letters only", () => {
  assertEquals(isSameName("Camera._DEGU._tcp.local", "camera._degu._TCP.local"), true);
  assertEquals(isSameName("camera.local", "camera-2.local"), false);
  assertEquals(isSameName("\u212aamera.local", "kamera.local"), false); // the Kelvin sign
  assertEquals(isSameName("É.local", "é.local"), false);
});

Deno.test("records of other types are omitted", () => {
  const records = ["A", "NSEC", "OPT", "TXT", "UNKNOWN_999", "SRV", "PTR", "AAAA", "HINFO"];
  const known = knownRecords(records.map((type) => ({ type }))).map(({ type }) => type as string);
  assertEquals(known, ["A", "TXT", "SRV", "PTR", "AAAA"]);
});

// Sockets on the interfaces of a machine, and what they pass on.

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

// What a device says of itself on a link, and when.

const ANNOUNCED: Service = { name: "camera", id: idOf("c"), port: 7443 };
const named = ({ announced }: { announced: Promise<string> }) => within(announced, "announced");
const isResponse = ({ type }: Incoming) => type === "response";
const isGoodbye = ({ answers }: Incoming) =>
  answers.length > 0 && (answers as KnownRecord[]).every(({ ttl }) => ttl === 0);

Deno.test("an announced device is found, with its port and its addresses", async () => {
  const network = await loopbackNetwork();
  await using camera = announceCamera(network);
  assertEquals(await named(camera), "camera-cccccccccccccccc");
  assertEquals(await findAddresses(ANNOUNCED.id, { logger: SILENT }, network), [[ADDRESS, 7443]]);
});

Deno.test("a device announces itself twice, and does not ask whether its name is free", async () => {
  const network = await loopbackNetwork();
  await using stranger = await Stranger.join(network);
  await using _camera = announceCamera(network);
  await stranger.hears("an announcement", isResponse);
  await stranger.hearsMany("another one", isResponse, 2);
  assertEquals(stranger.heard.filter(({ type }) => type === "query"), []);
  const types = (stranger.heard.findLast(isResponse)!.answers as KnownRecord[])
    .map(({ type, flush = false }) => `${type} ${flush}`);
  // Nobody else has the latter; others may have services of the type.
  assertEquals(types, ["PTR false", "PTR false", "TXT true", "SRV true", "A true"]);
});

Deno.test("ending an announcement withdraws it", async () => {
  const network = await loopbackNetwork();
  await using stranger = await Stranger.join(network);
  const camera = announceCamera(network);
  await named(camera);
  await camera[Symbol.asyncDispose]();
  const { answers } = await stranger.hears("goodbye", isGoodbye);
  // The addresses may be those of another program, which goes on.
  assertEquals(answers.map(({ type }) => type), ["PTR", "TXT", "SRV"]);
  assertEquals(await findAddresses(ANNOUNCED.id, { seconds: 0.3 }, network), []);
});

Deno.test("a warning says why announcing failed, and disposing still works", async () => {
  const network = await loopbackNetwork();
  const warned = Promise.withResolvers<string>();
  const failing = {
    ...network,
    findInterfaces: () => {
      throw new Error("no interfaces today");
    },
  };
  const logger = { ...SILENT, warn: warned.resolve };
  await using _camera = announce({ ...ANNOUNCED, logger }, failing);
  const text = await within(warned.promise, "a warning");
  assertEquals(text, "the announcement has ended: Error: no interfaces today");
});

Deno.test("two devices of one name are told apart by their ids", async () => {
  const network = await loopbackNetwork();
  await using first = announceCamera(network, { port: 1 });
  await using second = announceCamera(network, { id: idOf("d"), port: 2 });
  await Promise.all([named(first), named(second)]);
  assertEquals(await findAddresses(idOf("c"), {}, network), [[ADDRESS, 1]]);
  assertEquals(await findAddresses(idOf("d"), {}, network), [[ADDRESS, 2]]);
});

/** A device that has been announced, and a stranger who has heard that. */
async function announcedCamera(): Promise<{ stranger: Stranger } & AsyncDisposable> {
  await using resources = new AsyncDisposableStack();
  const network = await loopbackNetwork();
  const stranger = resources.use(await Stranger.join(network));
  await named(resources.use(announceCamera(network)));
  await stranger.hearsMany("both announcements", isResponse, 2);
  const owned = resources.move();
  return { stranger, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

Deno.test("many queries get one response a second, and those about others none", async () => {
  await using both = await announcedCamera();
  const { stranger } = both;
  const from = stranger.heard.length;
  const started = performance.now();
  for (let i = 0; i < 50; i++) {
    await stranger.query({ questions: [{ name: "_ipp._tcp.local", type: "PTR" }] });
    await stranger.query({ questions: [{ name: SERVICE, type: "PTR" }] });
  }
  await stranger.hears("a response", isResponse, from);
  await stranger.query({ questions: [{ name: SERVICE, type: "PTR" }] });
  await stranger.hears("one more", isResponse, stranger.heard.length);
  const seconds = (performance.now() - started) / 1000;
  const responses = stranger.heard.slice(from).filter(isResponse).length;
  assert(responses <= 1 + Math.ceil(seconds), `${responses} responses in ${seconds} s`);
});

/** A query, as it is received. */
const query = (name: string, type: string, answers: KnownRecord[] = []): Incoming => {
  return { type: "query", questions: [{ name, type }], answers, additionals: [] };
};

/** A link that counts what is sent on it: the parts of one that a responder uses. */
function countingLink(): { link: Link; sent: () => number } {
  let count = 0;
  const respond = () => Promise.resolve(void count++);
  return { link: { addresses: [], respond } as unknown as Link, sent: () => count };
}

Deno.test("queries for others, or from a device with a fresh record, get no response; queries for its name do", () => {
  const known = { name: SERVICE, type: "PTR", ttl: 4500, data: instanceName(ANNOUNCED) } as const;
  const cases: [Incoming, number][] = [
    [query(SERVICE, "PTR"), 1],
    [query(SERVICE, "PTR", [known]), 0],
    [query(instanceName(ANNOUNCED), "SRV", [known]), 1],
    [query("_ipp._tcp.local", "PTR"), 0],
    [query("camera._degu._tcp.local", "ANY"), 0],
  ];
  for (const [packet, expected] of cases) {
    using time = new FakeTime();
    using responder = new Responder(ANNOUNCED);
    const { link, sent } = countingLink();
    responder.answer(packet, link);
    assertEquals(sent(), 0); // not at once: others may answer, too
    time.tick(120);
    assertEquals(sent(), expected);
  }
});

Deno.test("there is a second between two responses", () => {
  using time = new FakeTime();
  using responder = new Responder(ANNOUNCED);
  const { link, sent } = countingLink();
  for (const [wait, expected] of [[120, 1], [700, 1], [310, 2], [700, 2], [310, 3]] as const) {
    responder.answer(query(SERVICE, "PTR"), link);
    time.tick(wait);
    assertEquals(sent(), expected);
  }
});

// Looking for a device on a link, and what of all that is heard is believed.

const SOUGHT: Service = { name: "camera", id: idOf("c"), port: 7443 };
const asksFor = (wanted: string) => ({ questions }: Incoming) =>
  questions.some(({ name }) => name === wanted);

/** Addresses of an interface somewhere else. */
const at = (...addresses: string[]) => interfaceOf(0, ...addresses);

Deno.test("a device that sends everything in one packet is found from that", async () => {
  const network = await loopbackNetwork();
  await using stranger = await Stranger.join(network);
  const searching = findAddresses(SOUGHT.id, { seconds: 60 }, network);
  await stranger.hears("a question", asksFor(SERVICE));
  await stranger.respond({ answers: allRecords(SOUGHT, at(ADDRESS, "2001:db8::7")) });
  assertEquals(await within(searching, "found"), [[ADDRESS, 7443], ["2001:db8::7", 7443]]);
});

Deno.test("an early reply doesn't prevent finding the device a second later", async () => {
  const network = await loopbackNetwork();
  await using stranger = await Stranger.join(network);
  const searching = findAddresses(SOUGHT.id, { seconds: 60 }, network);
  await stranger.hears("a question", asksFor(SERVICE));
  const impostor = allRecords({ ...SOUGHT, name: "impostor", port: 1 }, at("192.0.2.66"));
  await stranger.respond({ answers: impostor });
  // 250 and 750 ms after the first one.
  await stranger.hearsMany("two more questions", asksFor(SERVICE), 3);
  await stranger.respond({ answers: allRecords(SOUGHT, at(ADDRESS)) });
  const found = await within(searching, "found");
  assert(found.some(([host, port]) => host === ADDRESS && port === 7443), found.join());
});

Deno.test("missing records are requested", async () => {
  const network = await loopbackNetwork();
  await using stranger = await Stranger.join(network);
  const searching = findAddresses(SOUGHT.id, { seconds: 60 }, network);
  const pointer = { name: SERVICE, type: "PTR", ttl: 10, data: instanceName(SOUGHT) } as const;
  await stranger.hears("a question", asksFor(SERVICE));
  await stranger.respond({ answers: [pointer] });
  await stranger.hears("a question for the instance", asksFor(instanceName(SOUGHT)));
  await stranger.respond({ answers: uniqueRecords(SOUGHT) });
  const host = "degu-cccccccccccccccc.local";
  await stranger.hears("a question for the host", asksFor(host));
  const records = allRecords(SOUGHT, at(ADDRESS)).filter(({ name }) => name === host);
  await stranger.respond({ answers: records });
  assertEquals(await within(searching, "found"), [[ADDRESS, 7443]]);
});

Deno.test("a search ends without a result after its time, and is aborted by its signal", async () => {
  const network = await loopbackNetwork();
  assertEquals(await findAddresses(SOUGHT.id, { seconds: 0.1 }, network), []);
  const stop = new AbortController();
  const searching = findAddresses(SOUGHT.id, { signal: stop.signal, seconds: 60 }, network);
  const rejected = assertRejects(() => searching, Error, "enough");
  stop.abort(new Error("enough"));
  await rejected;
  const aborted = AbortSignal.abort(new Error("before"));
  await assertRejects(
    () => findAddresses(SOUGHT.id, { signal: aborted }, network),
    Error,
    "before",
  );
});

Deno.test("a search queries less and less often", async () => {
  const network = await loopbackNetwork();
  await using stranger = await Stranger.join(network);
  await findAddresses(SOUGHT.id, { seconds: 1.5 }, network);
  // At 0, 250, 750 ms; the next one would be at 1750.
  const asked = stranger.heard.filter(asksFor(SERVICE)).length;
  assert(asked >= 2 && asked <= 3, `asked ${asked} times`);
});

Deno.test("other devices, other services and queries are not hints", async () => {
  const network = await loopbackNetwork();
  await using stranger = await Stranger.join(network);
  const searching = findAddresses(SOUGHT.id, { seconds: 0.7 }, network);
  await stranger.hears("a question", asksFor(SERVICE));
  const records = allRecords(SOUGHT, at(ADDRESS));
  await stranger.query({ answers: records });
  await stranger.respond({ answers: allRecords({ ...SOUGHT, id: idOf("d") }, at(ADDRESS)) });
  const elsewhere = records.map((record) => ({
    ...record,
    name: record.name.replace("_degu", "_http"),
  } as KnownRecord));
  await stranger.respond({ answers: elsewhere });
  await stranger.respond({ answers: records.map((record) => ({ ...record, ttl: 0 })) });
  assertEquals(await searching, []);
});

Deno.test("an address that can't belong to another device is not a hint, and there are at most 16", async () => {
  const network = await loopbackNetwork();
  await using stranger = await Stranger.join(network);
  const searching = findAddresses(SOUGHT.id, { seconds: 60, logger: SILENT }, network);
  await stranger.hears("a question", asksFor(SERVICE));
  const useless = ["127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255"]
    .concat(["::", "::1", "ff02::1", "::ffff:127.0.0.1", "fe80::1"]); // the last one over IPv4
  const [target] = allRecords(SOUGHT, at(ADDRESS)).slice(-1);
  const hosts = useless.map((data) => {
    const type = data.includes(":") ? "AAAA" as const : "A" as const;
    return { ...target!, type, data } as KnownRecord;
  });
  await stranger.respond({ answers: [...uniqueRecords(SOUGHT), ...hosts] });
  const many = Array.from({ length: 40 }, (_, i) => ({ ...target!, data: `192.0.2.${i}` }));
  await stranger.respond({ answers: many as KnownRecord[] });
  const found = await within(searching, "found");
  assertEquals(found.length, 16);
  assert(found.every(([host]) => `${host}`.startsWith("192.0.2.")));
});

const OTHER: Service = { name: "camera", id: "b".repeat(52), port: 7443 };
const FOUND_HOST = "degu-bbbbbbbbbbbbbbbb.local";

const heard = (records: readonly KnownRecord[], scope: number): Hints => {
  const hints = new Hints(OTHER.id);
  hints.add(records, scope);
  return hints;
};

Deno.test("a link-local address has the scope of the interface on which it was received", () => {
  const addresses = on("169.254.1.1", "fe80::1", "192.0.2.1", "2001:db8::1");
  assertEquals(heard(allRecords(OTHER, addresses), 3).addresses(), [
    ["192.0.2.1", 7443],
    ["2001:db8::1", 7443],
    ["fe80::1", 7443, 0, 3],
    ["169.254.1.1", 7443],
  ]);
});

Deno.test("a link-local address that was received over IPv4 is not a hint, because its interface is unknown", () => {
  const addresses = on("fe80::1", "192.0.2.1");
  assertEquals(heard(allRecords(OTHER, addresses), 0).addresses(), [["192.0.2.1", 7443]]);
});

Deno.test("only the first 16 characters of the id are compared, and all of those", () => {
  const found = (id: string) =>
    heard(allRecords({ ...OTHER, id }, on("192.0.2.1")), 0).addresses().length;
  assertEquals(found("b".repeat(16)), 1);
  assertEquals(found("b".repeat(16) + "c"), 1);
  assertEquals(found("b".repeat(15)), 0);
  assertEquals(found("B".repeat(16)), 1); // names have no case
  assertEquals(found("b".repeat(15) + "c"), 0);
});

Deno.test("port 0 is not a hint, and neither is an instance with an unknown host", () => {
  assertEquals(heard(allRecords({ ...OTHER, port: 0 }, on("192.0.2.1")), 0).addresses(), []);
  const hints = heard(allRecords(OTHER, []), 0);
  assertEquals(hints.addresses(), []);
  assertEquals(hints.questions(), [
    { name: SERVICE, type: "PTR" },
    { name: FOUND_HOST, type: "ANY" },
  ]);
  const elsewhere = uniqueRecords(OTHER).map((record) =>
    record.type === "SRV" ? { ...record, data: { ...record.data, target: "degu-a.local" } } : record
  );
  assertEquals(heard(elsewhere, 0).questions().length, 3);
});

Deno.test("however much is received, little is kept and little is queried", () => {
  const hints = new Hints(OTHER.id);
  for (let i = 0; i < 500; i++) {
    hints.add([
      { name: SERVICE, type: "PTR", ttl: 1, data: `n${i}.${SERVICE}` },
      { name: SERVICE, type: "PTR", ttl: 1, data: instanceName({ ...OTHER, name: `n${i}` }) },
      { name: `h${i}.local`, type: "A", ttl: 1, data: `192.0.2.${i % 256}` },
      { name: FOUND_HOST, type: "A", ttl: 1, data: `198.51.100.${i % 256}` },
    ], 0);
  }
  assertEquals(hints.questions().length, 5);
  hints.add(allRecords(OTHER, on("192.0.2.1")), 0);
  const found = hints.addresses();
  assertEquals(found.length, 16);
  assertEquals(found.at(-1), ["192.0.2.1", 7443]);
});

Deno.test("what one says of a device does not replace what another one has said", () => {
  const hints = heard(allRecords(OTHER, on("192.0.2.1")), 0);
  hints.add(allRecords({ ...OTHER, port: 1 }, on("192.0.2.66")), 0);
  hints.add(allRecords(OTHER, on("192.0.2.1")).map((record) => ({ ...record, ttl: 0 })), 0);
  const found = hints.addresses();
  assertEquals(found.filter(([host]) => host === "192.0.2.1"), [["192.0.2.1", 7443], [
    "192.0.2.1",
    1,
  ]]);
  assertEquals(found.length, 4);
});

Deno.test("names that no device has are neither kept nor queried", () => {
  const hints = new Hints(OTHER.id);
  const odd = [
    "a b",
    "caf\u00e9",
    "\ufffd".repeat(63),
    "x".repeat(64),
    "\0",
    "a.b.c.".repeat(60),
  ];
  for (const name of odd) {
    const instance = `${name}-bbbbbbbbbbbbbbbb.${SERVICE}`;
    hints.add(uniqueRecords(OTHER).map((record) => ({ ...record, name: instance })), 0);
    hints.add([
      { name: SERVICE, type: "PTR", ttl: 9, data: instance },
      { name: `${name}.local`, type: "A", ttl: 9, data: "192.0.2.1" },
    ], 0);
  }
  hints.add(allRecords(OTHER, on("192.0.2.1")).filter(({ type }) => type === "A"), 0);
  assertEquals(hints.addresses(), []);
  assertEquals(hints.questions(), [{ name: SERVICE, type: "PTR" }]);
  const [, , , service] = allRecords(OTHER, []);
  const data = { priority: 0, weight: 0, port: 1, target: "\ufffd.local" };
  hints.add([{ ...service!, data } as KnownRecord], 0);
  assertEquals(hints.addresses(), []);
});
