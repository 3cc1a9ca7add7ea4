/** Looking for a device on a link, and what of all that is heard is believed. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { findAddresses, Hints } from "@degu/internal/agent/mdns/find.ts";
import {
  allRecords,
  type Incoming,
  instanceName,
  type KnownRecord,
  SERVICE,
  type Service,
  uniqueRecords,
} from "@degu/internal/agent/mdns/packet.ts";
import {
  ADDRESS,
  idOf,
  interfaceOf,
  loopbackNetwork,
  SILENT,
  Stranger,
} from "@degu/testing/mdns.ts";
import { within } from "@degu/testing/raw_peer.ts";

const CAMERA: Service = { name: "camera", id: idOf("c"), port: 7443 };
const asksFor = (wanted: string) => ({ questions }: Incoming) =>
  questions.some(({ name }) => name === wanted);

/** Addresses of an interface somewhere else. */
const at = (...addresses: string[]) => interfaceOf(0, ...addresses);

Deno.test("a device that sends everything in one packet is found from that", async () => {
  const network = await loopbackNetwork();
  await using stranger = await Stranger.join(network);
  const searching = findAddresses(CAMERA.id, { seconds: 60 }, network);
  await stranger.hears("a question", asksFor(SERVICE));
  await stranger.respond({ answers: allRecords(CAMERA, at(ADDRESS, "2001:db8::7")) });
  assertEquals(await within(searching, "found"), [[ADDRESS, 7443], ["2001:db8::7", 7443]]);
});

Deno.test("an early reply doesn't prevent finding the device a second later", async () => {
  const network = await loopbackNetwork();
  await using stranger = await Stranger.join(network);
  const searching = findAddresses(CAMERA.id, { seconds: 60 }, network);
  await stranger.hears("a question", asksFor(SERVICE));
  const impostor = allRecords({ ...CAMERA, name: "impostor", port: 1 }, at("192.0.2.66"));
  await stranger.respond({ answers: impostor });
  // 250 and 750 ms after the first one.
  await stranger.hearsMany("two more questions", asksFor(SERVICE), 3);
  await stranger.respond({ answers: allRecords(CAMERA, at(ADDRESS)) });
  const found = await within(searching, "found");
  assert(found.some(([host, port]) => host === ADDRESS && port === 7443), found.join());
});

Deno.test("missing records are requested", async () => {
  const network = await loopbackNetwork();
  await using stranger = await Stranger.join(network);
  const searching = findAddresses(CAMERA.id, { seconds: 60 }, network);
  const pointer = { name: SERVICE, type: "PTR", ttl: 10, data: instanceName(CAMERA) } as const;
  await stranger.hears("a question", asksFor(SERVICE));
  await stranger.respond({ answers: [pointer] });
  await stranger.hears("a question for the instance", asksFor(instanceName(CAMERA)));
  await stranger.respond({ answers: uniqueRecords(CAMERA) });
  const host = "degu-cccccccccccccccc.local";
  await stranger.hears("a question for the host", asksFor(host));
  const records = allRecords(CAMERA, at(ADDRESS)).filter(({ name }) => name === host);
  await stranger.respond({ answers: records });
  assertEquals(await within(searching, "found"), [[ADDRESS, 7443]]);
});

Deno.test("a search ends without a result after its time, and is aborted by its signal", async () => {
  const network = await loopbackNetwork();
  assertEquals(await findAddresses(CAMERA.id, { seconds: 0.1 }, network), []);
  const stop = new AbortController();
  const searching = findAddresses(CAMERA.id, { signal: stop.signal, seconds: 60 }, network);
  const rejected = assertRejects(() => searching, Error, "enough");
  stop.abort(new Error("enough"));
  await rejected;
  const aborted = AbortSignal.abort(new Error("before"));
  await assertRejects(
    () => findAddresses(CAMERA.id, { signal: aborted }, network),
    Error,
    "before",
  );
});

Deno.test("a search queries less and less often", async () => {
  const network = await loopbackNetwork();
  await using stranger = await Stranger.join(network);
  await findAddresses(CAMERA.id, { seconds: 1.5 }, network);
  // At 0, 250, 750 ms; the next one would be at 1750.
  const asked = stranger.heard.filter(asksFor(SERVICE)).length;
  assert(asked >= 2 && asked <= 3, `asked ${asked} times`);
});

Deno.test("other devices, other services and queries are not hints", async () => {
  const network = await loopbackNetwork();
  await using stranger = await Stranger.join(network);
  const searching = findAddresses(CAMERA.id, { seconds: 0.7 }, network);
  await stranger.hears("a question", asksFor(SERVICE));
  const records = allRecords(CAMERA, at(ADDRESS));
  await stranger.query({ answers: records });
  await stranger.respond({ answers: allRecords({ ...CAMERA, id: idOf("d") }, at(ADDRESS)) });
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
  const searching = findAddresses(CAMERA.id, { seconds: 60, logger: SILENT }, network);
  await stranger.hears("a question", asksFor(SERVICE));
  const useless = ["127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255"]
    .concat(["::", "::1", "ff02::1", "::ffff:127.0.0.1", "fe80::1"]); // the last one over IPv4
  const [target] = allRecords(CAMERA, at(ADDRESS)).slice(-1);
  const hosts = useless.map((data) => {
    const type = data.includes(":") ? "AAAA" as const : "A" as const;
    return { ...target!, type, data } as KnownRecord;
  });
  await stranger.respond({ answers: [...uniqueRecords(CAMERA), ...hosts] });
  const many = Array.from({ length: 40 }, (_, i) => ({ ...target!, data: `192.0.2.${i}` }));
  await stranger.respond({ answers: many as KnownRecord[] });
  const found = await within(searching, "found");
  assertEquals(found.length, 16);
  assert(found.every(([host]) => `${host}`.startsWith("192.0.2.")));
});

const OTHER: Service = { name: "camera", id: "b".repeat(52), port: 7443 };
const HOST = "degu-bbbbbbbbbbbbbbbb.local";

const on = (...addresses: string[]) => interfaceOf(7, ...addresses);

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
    { name: HOST, type: "ANY" },
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
      { name: HOST, type: "A", ttl: 1, data: `198.51.100.${i % 256}` },
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
