/** mDNS: packets, interfaces, announcements and searches. */
import type { HostAddress } from "@degu/degu/base";
import {
  AddressHints,
  Announcement,
  discoverServices,
  findAddresses,
  makeRecords,
  type Service,
} from "@degu/internal/device/discovery/mdns.ts";
import {
  BusyTimeLimit,
  type DnsRecord,
  type Network,
} from "@degu/internal/device/discovery/mdns_links.ts";
import {
  findDiscoveryProblem,
  groupByInterface,
  type InterfaceAddress,
} from "@degu/internal/device/discovery/mdns_network.ts";
import {
  ADDRESS,
  makeInterface,
  makeInterfaces,
  openLoopbackNetwork,
  SILENT,
  waitForClose,
} from "./mdns.ts";
import { captureTimeouts, stopPerformanceClock } from "@degu/testing/clock.ts";
import { patch } from "@degu/testing/patching.ts";
import { runScript } from "@degu/testing/processes.ts";
import { retryUntilInTime, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { Buffer } from "node:buffer";
import { createSocket, Socket } from "node:dgram";
import process from "node:process";
import dnsPacket from "npm:dns-packet@5.6.1";

interface Packet {
  readonly type: "query" | "response";
  readonly questions?: readonly { readonly name: string; readonly type: string }[];
  readonly answers?: readonly DnsRecord[];
}
type ReceivedPacket = Required<Packet>;

// The package has no types of its own.
const dnsCoder = dnsPacket as unknown as {
  encode(packet: Packet): Uint8Array;
  decode(bytes: Uint8Array): ReceivedPacket;
};

// mDNS on the loopback interface, with its own port.

/** The multicast group of IPv4. */
const GROUP = "224.0.0.251";
/** Another machine on the network, which receives and sends any packets. */
class Stranger implements AsyncDisposable {
  readonly received: ReceivedPacket[] = [];
  /** The received packets as bytes. */
  readonly receivedBytes: Uint8Array[] = [];
  readonly #port: number;
  readonly #socket: Socket;
  #wakeCallbacks: (() => void)[] = [];

  private constructor(port: number, socket: Socket) {
    [this.#port, this.#socket] = [port, socket];
    socket.on("message", (bytes) => {
      if (bytes.length > 2000) return; // only this stranger sends such packets
      try {
        this.received.push(dnsCoder.decode(bytes));
      } catch {
        return; // invalid bytes of its own
      }
      this.receivedBytes.push(bytes);
      for (const wake of this.#wakeCallbacks.splice(0)) wake();
    });
  }

  /** Joins the network. */
  static async join({ port }: Network): Promise<Stranger> {
    const socket = createSocket({ type: "udp4", reuseAddr: true });
    await new Promise<void>((resolve) => socket.bind(port, GROUP, resolve));
    socket.addMembership(GROUP, "127.0.0.1");
    socket.setMulticastInterface("127.0.0.1");
    return new Stranger(port, socket);
  }

  /** Waits until this number of matching packets has been received since `from`. */
  async waitForPacket(
    what: string,
    matches: (packet: ReceivedPacket) => boolean,
    { from = 0, count = 1 } = {},
  ): Promise<ReceivedPacket> {
    const find = async () => {
      for (;;) {
        const packets = this.received.slice(from).filter(matches);
        if (packets.length >= count) return packets[count - 1]!;
        await new Promise<void>((resolve) => this.#wakeCallbacks.push(resolve));
      }
    };
    return await withTimeout(find(), what);
  }

  /** Sends a packet, or bytes. */
  async send(packet: Packet | Uint8Array): Promise<void> {
    const bytes = packet instanceof Uint8Array ? packet : dnsCoder.encode(packet);
    await new Promise((resolve) =>
      this.#socket.send(Buffer.from(bytes), this.#port, GROUP, resolve)
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await waitForClose(this.#socket);
  }
}

/** An id of a device that begins with a letter. */
const idOf = (letter: string): string => letter.repeat(52);

/** Announces a device, which is named camera by default. */
function announceCamera(network: Network, options: Partial<Service> = {}) {
  return new Announcement({ ...CAMERA, logger: SILENT, ...options }, network);
}

// The records of a device, and how names and questions are compared.

const SERVICE = "_degu._tcp.local";
const PAIR_SERVICE = "_degu-pair._tcp.local";
const CAMERA: Service = { name: "camera", id: idOf("c"), port: 7443, type: SERVICE };
const INSTANCE = "camera-cccccccccccccccc._degu._tcp.local";
const HOST = "degu-cccccccccccccccc.local";

/**
 * Makes all records of the camera, or of a changed device, on an interface with these addresses.
 */
const makeCameraRecords = (addresses: readonly string[], service: Partial<Service> = {}) =>
  makeRecords({ ...CAMERA, ...service }, makeInterfaces(...addresses));

Deno.test("the records of a device have 16 characters of its id, its port and its addresses", () => {
  const all = makeCameraRecords(["127.0.0.1", "fe80::9%eth0", "192.0.2.1", "fe80::1", "fd00::1"]);
  assertEquals(
    all.map(({ name, type, flush = false, data }) => [name, type, flush, data]) as unknown[],
    [
      // Other devices may announce the service type, but not the other records.
      [SERVICE, "PTR", false, INSTANCE],
      ["_services._dns-sd._udp.local", "PTR", false, SERVICE],
      [INSTANCE, "TXT", true, [Buffer.from("id=cccccccccccccccc")]],
      [INSTANCE, "SRV", true, { priority: 0, weight: 0, port: 7443, target: HOST }],
      [HOST, "A", true, "192.0.2.1"],
      [HOST, "AAAA", true, "fd00::1"],
    ],
  );
  const manyRecords = makeCameraRecords(Array.from({ length: 20 }, (_, i) => `192.0.2.${i}`));
  assertEquals(manyRecords.filter(({ type }) => type === "A").length, 8);
});

// The sockets on the interfaces of a machine, and the packets that they pass on.

Deno.test("no bytes end the process or stop an announcement", async () => {
  const network = await openLoopbackNetwork();
  await using stranger = await Stranger.join(network);
  await using camera = announceCamera(network);
  await withTimeout(camera.announced, "announced");
  await stranger.waitForPacket("an announcement", isResponse);
  const valid = [...stranger.receivedBytes];
  const edit = fc.tuple(fc.nat(), fc.nat(255));
  const edits = fc.tuple(fc.nat(), fc.nat(), fc.array(edit, { maxLength: 7 }));
  for (const [which, length, changes] of fc.sample(edits, { numRuns: 600, seed: 1 })) {
    const model = valid[which % valid.length]!;
    const bytes = Uint8Array.from(model.subarray(0, 12 + length % (model.length - 11)));
    for (const [index, byte] of changes) bytes[index % bytes.length] = byte;
    await stranger.send(bytes);
  }
  for (const size of [0, 1, 11, 12, 9000, 9001, 65000]) {
    for (const byte of [0xc0, 0xff, 0]) await stranger.send(new Uint8Array(size).fill(byte));
  }
  const addresses = await withTimeout(
    findAddresses(SERVICE, CAMERA.id, { seconds: 60 }, network),
    "found",
  );
  assertEquals(addresses, [[ADDRESS, 7443]]);
});

Deno.test("an announcement follows the interfaces, even after listing them has failed", async () => {
  const { port } = await openLoopbackNetwork();
  await using stranger = await Stranger.join({ port, findInterfaces: () => [] });
  const polls: (() => void)[] = [];
  const { setInterval } = globalThis;
  using _interval = patch(globalThis, "setInterval", () =>
    ((poll: () => void, every: number) => {
      polls.push(poll);
      return setInterval(() => {}, every);
    }) as typeof setInterval);
  let closeCount = 0;
  using _close = patch(
    Socket.prototype,
    "close",
    (close) =>
      function (this: Socket, callback?: () => void) {
        closeCount++;
        return close.call(this, callback);
      },
  );
  let calls = 0;
  const findInterfaces = () => {
    if (++calls === 2) throw new Error("not now");
    return makeInterfaces("127.0.0.1", calls === 3 ? "fd00::2" : "fd00::1");
  };
  const logged: string[] = [];
  const logger = { ...SILENT, debug: (text: string) => logged.push(text) };
  await using camera = new Announcement({ ...CAMERA, logger }, { port, findInterfaces });
  await withTimeout(camera.announced, "announced");
  const hasAddress = (address: string) => ({ answers }: ReceivedPacket) =>
    answers.some(({ data }) => data === address);
  await stranger.waitForPacket("the first address", hasAddress("fd00::1"));
  for (let i = 0; i < 2; i++) polls[0]!();
  await stranger.waitForPacket("the new address", hasAddress("fd00::2"));
  // The link with the former address was closed.
  assertEquals([calls, logged, closeCount], [3, ["mDNS: Error: not now"], 1]);
  const from = stranger.received.length;
  polls[0]!();
  await stranger.waitForPacket("the first address again", hasAddress("fd00::1"), { from });
});

const LOOPBACK = [
  makeInterface("lo", "127.0.0.1", "255.0.0.0"),
  makeInterface("lo", "::1"),
  makeInterface("lo", "10.9.9.9"),
];
const CABLE = [makeInterface("eth0", "fe80::1", "ffff:ffff:ffff:ffff::")];
const HOME = [
  makeInterface("wlan0", "2001:db8::1"),
  makeInterface("wlan0", "192.168.1.7", "255.255.255.128"),
];

Deno.test("each interface with an IPv4 address is used; the loopback interface only if it is the only one", () => {
  const names = (addresses: InterfaceAddress[]) =>
    groupByInterface(addresses).map(([first]) => first!.name);
  assertEquals(names([...LOOPBACK, ...CABLE, ...HOME]), ["wlan0"]);
  assertEquals(names([...HOME, makeInterface("eth0", "192.0.2.1"), ...CABLE]), ["wlan0", "eth0"]);
  assertEquals(names(CABLE), []);
  assertEquals(names([]), []);
  assertEquals(names(LOOPBACK), ["lo"]);
});

Deno.test("findDiscoveryProblem distinguishes a machine without a network and one with IPv6 alone", () => {
  const find = (...interfaces: InterfaceAddress[]) => {
    using _found = patch(Deno, "networkInterfaces", () => () => interfaces as never);
    return findDiscoveryProblem();
  };
  assertEquals(find(), "no network");
  assertEquals(find(...LOOPBACK.slice(0, 2)), "no network");
  assertEquals(find(...LOOPBACK.slice(0, 2), ...CABLE), "only IPv6");
  assertEquals(find(...LOOPBACK.slice(0, 2), ...CABLE, ...HOME), null);
});

const SCRIPT = `
  import { findAddresses } from "./device/discovery/mdns.ts";
  import { findDiscoveryProblem } from "./device/discovery/mdns_network.ts";
  const isMdnsPermitted = () => findDiscoveryProblem() !== "not permitted";
  const results = [];
  const look = async () => {
    const search = findAddresses("_degu._tcp.local", "a", { seconds: 0 });
    results.push(await search.then(String, String), isMdnsPermitted());
  };
  await look();
  Deno.permissions.revokeSync({ name: "net", host: "224.0.0.251:5353" });
  await look();
  Deno.permissions.revokeSync({ name: "sys", kind: "networkInterfaces" });
  await look();
  console.log(JSON.stringify(results));
`;

Deno.test("a missing permission for mDNS is reported", async () => {
  const hosts = "0.0.0.0:5353,224.0.0.251:5353";
  const flags = [`--allow-net=${hosts}`, "--allow-sys=networkInterfaces"];
  assertEquals(JSON.parse(await runScript(SCRIPT, flags, {})), [
    ...["", true],
    "NotCapable: mDNS needs net access to 0.0.0.0:5353 and 224.0.0.251:5353; run again with " +
    `--allow-net=${hosts}`,
    false,
    "NotCapable: mDNS needs sys access to the interfaces of this machine; run again with " +
    "--allow-sys=networkInterfaces",
    false,
  ]);
});

Deno.test("packets that are larger than 9000 bytes, or come from another port or network, are dropped", async () => {
  const { port } = await openLoopbackNetwork();
  const own = makeInterface("eth0", "127.0.0.1", "255.255.255.0");
  const network = { port, findInterfaces: () => [own] };
  await using stranger = await Stranger.join(network);
  const options = { seconds: 60, logger: SILENT };
  const addresses = findAddresses(SERVICE, CAMERA.id, options, network);
  await stranger.waitForPacket("a question", isQuestion);
  const encode = (port: number, size: number) => {
    const answers = makeCameraRecords(["fd00::1"], { port });
    const padding = { name: "x", type: "TXT", ttl: 1, data: Buffer.alloc(0) } as const;
    const packet = (data: Uint8Array[]): Packet => {
      return { type: "response", answers: [...answers, { ...padding, data }] };
    };
    const shortest = dnsCoder.encode(packet([])).length;
    // Each string has a byte for its length.
    return dnsCoder.encode(packet(Array(size - shortest).fill(Buffer.alloc(0))));
  };
  const sendFrom = async (host: string, fromPort: number, bytes: Uint8Array) => {
    const socket = createSocket({ type: "udp4", reuseAddr: true });
    await new Promise<void>((resolve) => socket.bind(fromPort, host, resolve));
    socket.setMulticastInterface("127.0.0.1");
    await new Promise((resolve) => socket.send(Buffer.from(bytes), port, GROUP, resolve));
    await waitForClose(socket);
  };
  await sendFrom("127.0.0.9", 0, encode(1, 1000));
  await sendFrom("127.0.9.9", port, encode(2, 1000));
  await sendFrom("127.0.0.9", port, encode(3, 9001));
  await sendFrom("127.0.0.9", port, encode(7443, 9000));
  assertEquals(await withTimeout(addresses, "the addresses"), [["fd00::1", 7443]]);
});

Deno.test("the packets of an interface are read for 50 ms at once, and then for a tenth of the time", () => {
  using clock = stopPerformanceClock();
  let cpuSeconds = 0;
  using _cpuUsage = patch(process, "cpuUsage", () => (start = { user: 0, system: 0 }) => {
    const microseconds = cpuSeconds * 1_000_000;
    return { user: microseconds / 2 - start.user, system: microseconds / 2 - start.system };
  });
  const limit = new BusyTimeLimit();
  /** Returns the number of packets that are read if each takes these times. */
  const flood = (seconds: number, ownSeconds = seconds) => {
    let readCount = 0;
    for (let i = 0; i < 1000; i++) {
      limit.run(() => {
        readCount++;
        clock.pass(seconds);
        cpuSeconds += ownSeconds;
      });
    }
    return readCount;
  };
  // While a packet is read, a tenth of its time is added.
  assertEquals(flood(0.02), 3);
  clock.pass(0.5);
  assertEquals(flood(0.02), 3);
  clock.pass(3600);
  assertEquals(flood(0.02), 3);
  // A packet can take longer than the limit; then the pause is longer.
  clock.pass(1);
  assertEquals([flood(1), flood(1)], [1, 0]);
  clock.pass(7);
  assertEquals(flood(1), 0);
  clock.pass(2);
  assertEquals(flood(1), 1);
  // The time of other processes, and of other threads, doesn't count.
  clock.pass(3600);
  assertEquals([flood(1, 0.02), flood(1, 0.02)], [1000, 1000]);
  assertEquals(flood(0.02, 1), 3);
});

Deno.test("announcements and queries leave from each IPv4 address of an interface, with all addresses of the interface", async () => {
  const { port } = await openLoopbackNetwork();
  const makeNetwork = (...addresses: string[]): Network => {
    const own = addresses.map((address) => makeInterface("eth0", address, "255.255.255.0"));
    return { port, findInterfaces: () => [...own, makeInterface("eth0", ADDRESS)] };
  };
  const withTwo = makeNetwork("127.0.1.1", "127.0.2.1");
  const withOther = makeNetwork("127.0.2.9");
  const find = (network: Network) =>
    withTimeout(findAddresses(SERVICE, CAMERA.id, { seconds: 60 }, network), "found");
  for (const [announcing, searching] of [[withTwo, withOther], [withOther, withTwo]] as const) {
    await using camera = announceCamera(announcing);
    await withTimeout(camera.announced, "announced");
    assertEquals(await find(searching), [[ADDRESS, 7443]]);
  }
});

Deno.test("an address that the machine doesn't have sends nothing by another interface", async () => {
  const { port } = await openLoopbackNetwork();
  const network = { port, findInterfaces: () => makeInterfaces("127.0.0.1", "192.0.2.7") };
  await using stranger = await Stranger.join(network);
  let sentCount = 0;
  using _sending = patch(
    Socket.prototype,
    "send",
    (send) =>
      function (this: Socket, ...args: unknown[]) {
        sentCount++;
        return (send as (...args: unknown[]) => void).apply(this, args);
      } as typeof send,
  );
  const camera = announceCamera(network);
  await stranger.waitForPacket("two announcements", isResponse, { count: 2 });
  await camera[Symbol.asyncDispose]();
  // Two announcements, and their withdrawal.
  assertEquals(sentCount, 3);
});

// Announcements.

const isResponse = ({ type }: ReceivedPacket) => type === "response";
const isGoodbye = ({ answers }: ReceivedPacket) =>
  answers.length > 0 && answers.every(({ ttl }) => ttl === 0);

Deno.test("a device is announced twice without a probe, found, distinguished from another device, and withdrawn", async () => {
  const network = await openLoopbackNetwork();
  await using stranger = await Stranger.join(network);
  const camera = announceCamera(network);
  await using other = announceCamera(network, { id: idOf("d"), port: 2 });
  assertEquals(await withTimeout(camera.announced, "announced"), "camera-cccccccccccccccc");
  await withTimeout(other.announced, "the other one");
  await stranger.waitForPacket("both, twice", isResponse, { count: 4 });
  assertEquals(stranger.received.filter(({ type }) => type === "query"), []);
  const find = (letter: string, seconds: number) =>
    findAddresses(SERVICE, idOf(letter), { seconds, logger: SILENT }, network);
  const [addresses, otherAddresses] = await Promise.all([find("c", 3), find("d", 3)]);
  assertEquals([addresses, otherAddresses], [[[ADDRESS, 7443]], [[ADDRESS, 2]]]);
  await camera[Symbol.asyncDispose]();
  const { answers } = await stranger.waitForPacket("goodbye", isGoodbye);
  assertEquals(answers.map(({ type }) => type), ["PTR", "TXT", "SRV"]);
  assertEquals(await find("c", 0.3), []);
});

Deno.test("an announcement ends after its socket has closed", async () => {
  const network = await openLoopbackNetwork();
  const camera = announceCamera(network);
  await withTimeout(camera.announced, "announced");
  const closing = Promise.withResolvers<() => void>();
  using _delayed = patch(
    Socket.prototype,
    "close",
    (close) =>
      function (this: Socket, callback?: () => void) {
        closing.resolve(() => close.call(this, callback));
        return this;
      },
  );
  let hasEnded = false;
  const ended = camera[Symbol.asyncDispose]().then(() => hasEnded = true);
  const close = await withTimeout(closing.promise, "the socket is closed");
  await waitForTick();
  assertEquals(hasEnded, false);
  close();
  await withTimeout(ended, "it ends");
});

Deno.test("an announcement that is withdrawn at once ends, and announces nothing", async () => {
  const network = await openLoopbackNetwork();
  await using stranger = await Stranger.join(network);
  for (let i = 0; i < 20; i++) {
    const camera = announceCamera(network);
    await withTimeout(camera[Symbol.asyncDispose](), "the end");
  }
  assertEquals(stranger.received.filter((packet) => !isGoodbye(packet)), []);
});

/** Counts the responses of a camera to questions, after its two announcements. */
async function countResponses(ask: (stranger: Stranger) => Promise<unknown>): Promise<number> {
  const network = await openLoopbackNetwork();
  await using stranger = await Stranger.join(network);
  await using _camera = announceCamera(network);
  await stranger.waitForPacket("the announcements", isResponse, { count: 2 });
  await ask(stranger);
  return stranger.received.filter(isResponse).length - 2;
}

const query = (name: string, type: string): Packet => ({
  type: "query",
  questions: [{ name, type }],
});

Deno.test("two responses are at least a second apart, for any number of queries", async () => {
  // Compare the times of sending, because a busy machine may receive late.
  const times: number[] = [];
  using _sending = patch(
    Socket.prototype,
    "send",
    (send) =>
      function (this: Socket, ...args: unknown[]) {
        if (isResponse(dnsCoder.decode(args[0] as Uint8Array))) times.push(performance.now());
        return (send as (...args: unknown[]) => void).apply(this, args);
      } as typeof send,
  );
  const count = await countResponses(async (stranger) => {
    for (let count = 3; count < 5; count++) {
      for (let i = 0; i < 50; i++) await stranger.send(query(SERVICE, "PTR"));
      await stranger.waitForPacket("an answer", isResponse, { count });
    }
  });
  // The first two times are of the announcements.
  const gap = times[3]! - times[2]!;
  assert(count === 2 && gap > 900, `${count} responses, ${gap} ms`);
});

Deno.test("questions in a response are not answered (RFC 6762 §6)", async () => {
  const network = await openLoopbackNetwork();
  await using stranger = await Stranger.join(network);
  await using _camera = announceCamera(network);
  await using _other = announceCamera(network, { id: idOf("d") });
  await stranger.waitForPacket("both, twice", isResponse, { count: 4 });
  const from = stranger.received.length;
  const isOf = (letter: string) => ({ answers }: ReceivedPacket) =>
    answers.some(({ name }) => name.startsWith(`camera-${letter}`));
  await stranger.send({ ...query(INSTANCE, "SRV"), type: "response" });
  // A response takes at most a second: the second one of the other device is later.
  for (const count of [1, 2]) {
    await stranger.send(query(INSTANCE.replace("c".repeat(16), "d".repeat(16)), "SRV"));
    await stranger.waitForPacket("an answer of the other device", isOf("d"), { from, count });
  }
  assertEquals(stranger.received.slice(from).filter(isOf("c")), []);
});

// Searches on a link, and which of the received records are believed.

/** A search for the camera, and a stranger who has received the question. */
async function startSearch(seconds: number) {
  const network = await openLoopbackNetwork();
  const stranger = await Stranger.join(network);
  const addresses = findAddresses(SERVICE, CAMERA.id, { seconds, logger: SILENT }, network);
  await stranger.waitForPacket("a question", isQuestion);
  return {
    stranger,
    addresses: withTimeout(addresses, "the addresses"),
    respond: (answers: readonly DnsRecord[]) => stranger.send({ type: "response", answers }),
    [Symbol.asyncDispose]: () => stranger[Symbol.asyncDispose](),
  };
}

const isQuestion = ({ questions }: ReceivedPacket) =>
  questions.some(({ name }) => name === SERVICE);

Deno.test("an early reply doesn't prevent finding the device a second later", async () => {
  // On a busy machine, the search may end before the second question.
  await retryUntilInTime("the device was not found", async () => {
    await using test = await startSearch(60);
    await test.respond(makeCameraRecords(["192.0.2.66"], { name: "impostor", port: 1 }));
    // 250 and 750 ms after the first question.
    await test.stranger.waitForPacket("two more questions", isQuestion, { count: 3 });
    await test.respond(makeCameraRecords([ADDRESS, "fd00::8"]));
    const foundTexts = (await test.addresses).map(([host, port]) => `${host} ${port}`);
    return [ADDRESS, "fd00::8"].every((host) => foundTexts.includes(`${host} 7443`));
  });
});

Deno.test("a search is aborted by its signal", async () => {
  const network = await openLoopbackNetwork();
  const stop = new AbortController();
  const search = findAddresses(SERVICE, CAMERA.id, { signal: stop.signal, seconds: 60 }, network);
  const rejected = assertRejects(() => search, Error, "enough");
  stop.abort(new Error("enough"));
  await rejected;
  const searchAgain = () => findAddresses(SERVICE, CAMERA.id, { signal: stop.signal }, network);
  await assertRejects(searchAgain, Error, "enough");
});

Deno.test("a search without responses takes three seconds", async () => {
  using timeouts = captureTimeouts(3000);
  const network = await openLoopbackNetwork();
  const search = findAddresses(SERVICE, CAMERA.id, { logger: SILENT }, network);
  assertEquals(timeouts.end(), 1);
  assertEquals(await search, []);
});

Deno.test("other devices, other services and queries are not hints; the pauses of the search grow, and the search ends", async () => {
  await using test = await startSearch(1.5);
  const all = makeCameraRecords([ADDRESS]);
  await test.stranger.send({ type: "query", answers: all });
  await test.respond(makeCameraRecords([ADDRESS], { id: idOf("d") }));
  await test.respond(all.map((each) => ({ ...each, name: each.name.replace("_degu", "_http") })));
  await test.respond(all.map((each) => ({ ...each, ttl: 0 })));
  assertEquals(await test.addresses, []);
  // At 0, 250 and 750 ms; the next question would be at 1750 ms. The stranger has also sent one.
  const questionCount = test.stranger.received.filter(isQuestion).length;
  assert(questionCount >= 2 && questionCount <= 4, `asked ${questionCount} times`);
});

/** The addresses of the receiving interface. */
const OWN_ADDRESSES = [
  makeInterface("eth0", "192.0.2.99", "255.255.255.128"),
  makeInterface("eth0", "2001:db8::9", "ffff:ffff:ffff:ffff::"),
];

const hintsOfCamera = () => new AddressHints(CAMERA.id, INSTANCE.slice("camera".length));

/** Lists the addresses that a search would find in these records. */
function listHints(recordLists: readonly (readonly DnsRecord[])[]) {
  const hints = hintsOfCamera();
  for (const each of recordLists) hints.add(each, OWN_ADDRESSES);
  return hints.listAddresses();
}

Deno.test("an address is a hint only if it is private, of the link, or in a network of the interface", () => {
  const localHosts = [
    ...["10.1.2.3", "172.16.0.1", "172.31.255.1", "192.168.1.1", "169.254.1.1", "192.0.2.127"],
    ...["fd00::1", "fc00::1", "2001:db8::1", "2001:db8::ffff:0:0:1"],
  ];
  const otherHosts = [
    ...["8.8.8.8", "172.15.0.1", "172.32.0.1", "192.167.1.1", "192.0.2.128", "169.253.1.1"],
    ...["11.0.0.1", "100.64.0.1", "169.254.169.254", "fd00:ec2::254", "2001:db8:0:1::1"],
    ...["2001:4860:4860::8888", "64:ff9b::7f00:1", "64:ff9b::c0a8:101", "64:ff9b:1::1"],
    ...["::7f00:1", "::192.168.1.1", "::ffff:192.168.1.1", "2002:c0a8:101::1", "fec0::1"],
    ...["fe8::1", "fe9::1", "fc0::1", "fd0::1", "fe80::1", "febf::1"],
  ];
  for (const host of [...localHosts, ...otherHosts]) {
    const hosts = listHints([makeCameraRecords([host])]).map(([hint]) => hint);
    assertEquals(hosts, localHosts.includes(host) ? [host] : [], host);
  }
  // A host of these kinds is not believed even in the network of this device. An unknown netmask,
  // or zero, is not a network.
  for (
    const [address, netmask, host] of [
      ["169.254.7.7", "255.255.0.0", "169.254.169.254"],
      ["64:ff9b::1", "ffff:ffff:ffff:ffff::", "64:ff9b::7f00:1"],
      ["127.0.0.1", "255.0.0.0", "127.0.0.2"],
      ["8.8.8.7", "", "8.8.8.8"],
      ["192.0.2.1", "0.0.0.0", "8.8.8.8"],
      ["2001:db8::7", "::", "2001:4860:4860::8888"],
    ] as const
  ) {
    const hints = hintsOfCamera();
    hints.add(makeCameraRecords([host]), [makeInterface("eth0", address, netmask)]);
    assertEquals(hints.listAddresses(), [], host);
  }
});

Deno.test("addresses that can't belong to another device, and port 0, are not hints, and at most 16 hints are kept", () => {
  const [target] = makeCameraRecords([ADDRESS]).slice(-1);
  const address = (data: string) =>
    ({ ...target!, type: data.includes(":") ? "AAAA" : "A", data }) as DnsRecord;
  const useless = ["127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255"]
    .concat(["::", "::1", "ff02::1", "::ffff:127.0.0.1", "fe80::1", "nonsense"]);
  assertEquals(listHints([makeCameraRecords([]), useless.map(address)]), []);
  assertEquals(listHints([makeCameraRecords([ADDRESS], { port: 0 })]), []);
  const manyRecords = Array.from({ length: 500 }, (_, i) => address(`10.0.0.${i % 256}`));
  const ports = Array.from({ length: 9 }, (_, i) => makeCameraRecords([], { port: i + 1 }));
  const hints = listHints([...ports, manyRecords, makeCameraRecords(["192.0.2.1"])]);
  assertEquals(hints.length, 16);
  const portHints = listHints([...ports, makeCameraRecords(["192.0.2.1"], { port: 9 })]);
  assertEquals(portHints.map(([, port]) => port), [6, 7, 8, 9]);
  const lastHint = listHints([manyRecords, makeCameraRecords(["192.0.2.1"])]).at(-1);
  assertEquals(lastHint, ["192.0.2.1", 7443]);
});

Deno.test("ids are compared by their first 16 characters, and names ignoring case", () => {
  const countHints = (id: string) => listHints([makeCameraRecords(["192.0.2.1"], { id })]).length;
  const [whole, short] = ["c".repeat(16), "c".repeat(15)];
  const ids = [whole, `${whole}d`, whole.toUpperCase(), short, `${short}d`];
  assertEquals(ids.map(countHints), [1, 1, 1, 0, 0]);
});

Deno.test("a later claim about a device does not replace an earlier claim", () => {
  const withdrawn = makeCameraRecords(["192.0.2.1"]).map((record) => ({ ...record, ttl: 0 }));
  const laterClaim = makeCameraRecords(["192.0.2.66"], { port: 1 });
  const hints = listHints([makeCameraRecords(["192.0.2.1"]), laterClaim, withdrawn]);
  assertEquals(hints.map(([host, port]) => `${host} ${port}`), [
    ...["192.0.2.1 7443", "192.0.2.1 1", "192.0.2.66 7443", "192.0.2.66 1"],
  ]);
});

Deno.test("a service has usable addresses only; a service without addresses, and a server, are not discovered", async () => {
  const network = await openLoopbackNetwork();
  await using stranger = await Stranger.join(network);
  const discovery = discoverServices(PAIR_SERVICE, { seconds: 1, logger: SILENT }, network);
  const isPairQuestion = ({ questions }: ReceivedPacket) =>
    questions.some(({ name }) => name === PAIR_SERVICE);
  await stranger.waitForPacket("the question", isPairQuestion);
  const respond = (letter: string, type: string, ...addresses: string[]) => {
    const service = { name: "one", id: idOf(letter), port: 1, type };
    const answers = makeRecords(service, makeInterfaces(...addresses));
    return stranger.send({ type: "response", answers });
  };
  await respond("c", PAIR_SERVICE, "224.0.0.1", ADDRESS, "0.0.0.0", "::", "ff02::1", "fe80::1");
  await respond("d", PAIR_SERVICE, "224.0.0.1");
  await respond("e", SERVICE, ADDRESS);
  const expected = { name: "one", id: "c".repeat(16), addresses: [[ADDRESS, 1]] as HostAddress[] };
  assertEquals(await discovery, [expected]);
});

Deno.test("a discovery ends soon after the first wanted service, with the services that answer meanwhile", async () => {
  // On a busy machine, the search may end before the second announcement.
  await retryUntilInTime("the second service was not discovered", async () => {
    const network = await openLoopbackNetwork();
    await using announcements = new AsyncDisposableStack();
    const announce = (name: string, letter: string) => {
      const service = { name, id: letter.repeat(52), port: 1, type: PAIR_SERVICE, logger: SILENT };
      announcements.use(new Announcement(service, network));
    };
    announce("one", "c");
    let isSecondAnnounced = false;
    const options = { seconds: 600, logger: SILENT };
    const discovery = discoverServices(PAIR_SERVICE, options, network, (services) => {
      if (services.length > 0 && !isSecondAnnounced) {
        isSecondAnnounced = true;
        announce("two", "d");
      }
      return services.length > 0;
    });
    const services = await withTimeout(discovery, "the end of the discovery", 60);
    return services.map(({ name }) => name).sort().join() === "one,two";
  });
});

Deno.test("names that no device has are not hints", () => {
  const odd = ["a b", "caf\u00e9", "\ufffd".repeat(63), "x".repeat(64), "\0", "a.b.c.".repeat(60)];
  const all = makeCameraRecords(["192.0.2.1"]);
  const renamed = (from: string, to: string) =>
    all.map((each) => each.name === from ? { ...each, name: to } : each);
  for (const name of odd) {
    assertEquals(listHints([renamed(INSTANCE, `${name}-cccccccccccccccc.${SERVICE}`)]), [], name);
    assertEquals(listHints([renamed(HOST, `${name}.local`)]), [], name);
  }
  assertEquals(listHints([renamed(INSTANCE, "camera._ssh._tcp.local")]), []);
  // Records of other types are ignored.
  for (const type of ["NSEC", "OPT", "UNKNOWN_999"]) {
    const retyped = (of: string) =>
      all.map((each) => each.type === of ? { ...each, type } as unknown as DnsRecord : each);
    assertEquals([listHints([retyped("SRV")]), listHints([retyped("A")])], [[], []]);
  }
  for (const target of ["\ufffd.local", "degu-c.local"]) {
    const retargeted = all.map((each) =>
      each.type === "SRV" ? { ...each, data: { ...each.data, target } } : each
    );
    assertEquals(listHints([retargeted]), []);
  }
});
