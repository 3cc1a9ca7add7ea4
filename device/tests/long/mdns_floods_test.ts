/** Floods of mDNS packets that take much work for their size. */
import { openLoopbackNetwork, waitForClose } from "../mdns.ts";
import { makeProgramCommand, RunningProcess } from "@degu/testing/processes.ts";
import { retryUntilInTime } from "@degu/testing/raw_peer.ts";
import { Buffer } from "node:buffer";
import { createSocket } from "node:dgram";

const SERVICE = "_degu._tcp.local";
const ID = "c".repeat(16);
const HOST = `degu-${ID}.local`;
const MAX_PACKET_BYTES = 9000;
const HEADER_BYTES = 12;
const BYTES_PER_SECOND = 50_000;
const MAX_LATE_MILLISECONDS = 200;

// Packets as bytes (RFC 1035 §4.1), because a package would write each name as short as possible.

const numbers = (...values: number[]) =>
  Buffer.concat(values.map((value) => Buffer.from([value >> 8, value & 255])));

const name = (text: string) =>
  Buffer.concat([...text.split("."), ""].map((label) => {
    return Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]);
  }));

const pointer = (offset: number) => numbers(0xc000 + offset);
/** A pointer to the name of the first entry. */
const FIRST_NAME = pointer(HEADER_BYTES);
/** The bits of a response, and the types of records. */
const [QUERY, RESPONSE] = [0, 0x8400];
const [A, SOA, PTR, TXT, SRV, UNKNOWN, ANY] = [1, 6, 12, 16, 33, 65000, 255];

const question = (name: Uint8Array) => Buffer.concat([name, numbers(ANY, 1)]);
const record = (name: Uint8Array, type: number, ...data: Uint8Array[]) => {
  const bytes = Buffer.concat(data);
  return Buffer.concat([name, numbers(type, 1, 0, 120, bytes.length), bytes]);
};
const service = (name: Uint8Array, port: number, target: Uint8Array) =>
  record(name, SRV, numbers(0, 0, port), target);

/** Makes the largest packet: the first entries, and further entries as long as there is space. */
function makePacket(
  flags: number,
  firstEntries: readonly Uint8Array[],
  makeEntry: (index: number) => Uint8Array,
): Uint8Array {
  const entries = [...firstEntries];
  let size = HEADER_BYTES + Buffer.concat(entries).length;
  for (let i = 0;; i++) {
    const entry = makeEntry(i);
    size += entry.length;
    if (size > MAX_PACKET_BYTES) break;
    entries.push(entry);
  }
  const counts = flags === QUERY ? [entries.length, 0] : [0, entries.length];
  return Buffer.concat([numbers(0, flags, ...counts, 0, 0), ...entries]);
}

const DEEP_NAME = name(`${"a.".repeat(120)}local`);
const LONG_LABELS = name([63, 63, 63, 50].map((length) => "a".repeat(length)).join("."));
/** A name of many pointers, each to the pointer before it, in a record without another meaning. */
const CHAIN = Buffer.concat([
  numbers(0),
  ...Array.from({ length: 2000 }, (_, i) => pointer(HEADER_BYTES + 11 + 2 * i)),
]);
const CHAIN_END = pointer(HEADER_BYTES + 11 + CHAIN.length - 2);
const address = (i: number) => Buffer.from([8, 8, i >> 8, i & 255]);
/** Many names of devices with one id and one host. */
const SERVICES = Array.from({ length: 40 }, (_, i) => name(`lamp${i}-${ID}.${SERVICE}`));

/** The packets that are sent in turn. */
const kinds: Record<string, Uint8Array[]> = {
  "questions with deep names": [makePacket(QUERY, [question(DEEP_NAME)], () => {
    return question(FIRST_NAME);
  })],
  "questions with long labels": [makePacket(QUERY, [question(LONG_LABELS)], () => {
    return question(FIRST_NAME);
  })],
  "answers with deep names": [makePacket(RESPONSE, [record(DEEP_NAME, A, address(0))], () => {
    return record(FIRST_NAME, PTR, FIRST_NAME);
  })],
  "services with deep names": [
    makePacket(
      RESPONSE,
      [service(name(`${"a.".repeat(90)}lamp-${ID}.${SERVICE}`), 1, name(HOST))],
      (i) => service(FIRST_NAME, i + 2, FIRST_NAME),
    ),
  ],
  "services with deep targets": [
    makePacket(RESPONSE, [record(DEEP_NAME, A, address(0))], (i) => {
      return service(SERVICES[i % SERVICES.length]!, i + 1, FIRST_NAME);
    }),
  ],
  "many addresses of many services": [
    makePacket(RESPONSE, [], (i) => {
      return service(SERVICES[i % SERVICES.length]!, i + 1, name(HOST));
    }),
    makePacket(RESPONSE, [record(name(HOST), A, address(0))], (i) => {
      return record(FIRST_NAME, A, address(i));
    }),
  ],
  "two names in a record": [
    makePacket(RESPONSE, [record(DEEP_NAME, A, address(0))], () => {
      return record(FIRST_NAME, SOA, FIRST_NAME, FIRST_NAME, Buffer.alloc(20));
    }),
  ],
  "chains of pointers": [
    makePacket(RESPONSE, [record(Buffer.alloc(1), UNKNOWN, CHAIN)], () => {
      return record(CHAIN_END, PTR, CHAIN_END);
    }),
  ],
  "empty strings": [makePacket(RESPONSE, [record(name("a"), TXT, Buffer.alloc(8900))], () => {
    return record(FIRST_NAME, TXT);
  })],
  "small packets": [makePacket(QUERY, [], () => Buffer.alloc(MAX_PACKET_BYTES))],
  "counts of records that are missing": [numbers(0, QUERY, ...Array(4).fill(0xffff))],
};

/** Sends packets until the program ends, and returns what it has printed. */
async function flood(packets: readonly Uint8Array[]): Promise<number> {
  const { port } = await openLoopbackNetwork();
  const args = [`${port}`, SERVICE, ID];
  const flags = ["--allow-net", "--allow-sys"];
  await using program = new RunningProcess(
    makeProgramCommand("mdns_lag.ts", { flags, args }).spawn(),
  );
  await program.waitForStdout(/announced\n/);
  const socket = createSocket({ type: "udp4", reuseAddr: true });
  await new Promise<void>((resolve) => socket.bind(port, "127.0.0.2", resolve));
  socket.setMulticastInterface("127.0.0.1");
  let hasEnded = false;
  const late = program.waitForStdout(/\d+\n/).finally(() => hasEnded = true);
  const startedAt = performance.now();
  // The packets of the first second come at once.
  for (let sentBytes = -BYTES_PER_SECOND, i = 0; !hasEnded; i++) {
    const packet = packets[i % packets.length]!;
    sentBytes += packet.length;
    const duration = sentBytes / BYTES_PER_SECOND * 1000 - (performance.now() - startedAt);
    if (duration > 0) await new Promise((resolve) => setTimeout(resolve, duration));
    await new Promise((resolve) => socket.send(packet, port, "224.0.0.251", resolve));
  }
  await waitForClose(socket);
  return Number(await late);
}

for (const [kind, packets] of Object.entries(kinds)) {
  Deno.test(`a program that announces and searches is never late by more than 0.2 s at 50 KB/s of ${kind}`, async () => {
    await retryUntilInTime("late by more than 0.2 s", async () => {
      return await flood(packets) <= MAX_LATE_MILLISECONDS;
    });
  });
}
