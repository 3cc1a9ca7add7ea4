import { assert, assertEquals } from "@std/assert";
import { findAddresses } from "@degu/internal/agent/find.ts";
import { type Link, Links } from "@degu/internal/agent/mdns/links.ts";
import {
  ADDRESS,
  announceCamera,
  idOf,
  loopbackNetwork,
  SILENT,
  Stranger,
} from "@degu/testing/mdns.ts";
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
  const valid = [...stranger.bytes]; // probes, with authorities, and the announcement
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
