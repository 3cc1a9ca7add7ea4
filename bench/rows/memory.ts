/**
 * Row 9: how much the resident memory of either end grows while a large body passes.
 *
 * @module
 */

import type { Contender, Group, Trial } from "../interleave.ts";
import type { Pair, PeerName } from "../pair.ts";
import { RunningPair } from "../pair.ts";
import type { MemorySample } from "../peer.ts";
import type { Taking, TransferWork } from "../work.ts";
import type { Row, RowSetting } from "./row.ts";

const mebibyte = 1 << 20;

interface MemoryPeers {
  readonly name: string;
  readonly peer: PeerName;
  readonly taking?: Taking;
  readonly framing?: TransferWork["framing"];
}

const peers: readonly MemoryPeers[] = [
  { name: "raw", peer: "raw" },
  { name: "degu, writeTo", peer: "degu", taking: "writeTo" },
  { name: "degu, BYOB reader", peer: "degu", taking: "byob" },
  { name: "degu, default stream", peer: "degu", taking: "stream" },
  { name: "degu, iterated", peer: "degu", taking: "iterate" },
  { name: "degu, chunked, writeTo", peer: "degu", taking: "writeTo", framing: "chunked" },
  { name: "degu, chunked, iterated", peer: "degu", taking: "iterate", framing: "chunked" },
  { name: "fetch + Deno.serve", peer: "fetch" },
  { name: "node:http", peer: "node_http" },
];

/** What one transfer did to memory: bytes, of the end that grew most. */
interface Growth {
  /** The highest point over what was resident before. */
  readonly whole: number;
  /** The highest point after the first quarter over the highest before it. */
  readonly late: number;
}

/** Row 9. */
export const memoryRow: Row = {
  number: 9,
  title: "Resident memory while 8 GiB pass",
  *groups(setting) {
    const amount = (setting.quick ? 256 : 8192) * mebibyte;
    for (const direction of ["upload", "download"] as const) {
      const growths = new Map<string, Growth[]>();
      const base = {
        unit: "MiB",
        better: "lower",
        placement: setting.cores.describe("two"),
        references: [],
      } as const;
      const whole: Group = {
        ...base,
        id: `9-${direction}`,
        title: `Growth of resident memory during ${amount / mebibyte} MiB ${direction}`,
        contenders: peers.map((each) => (
          makeContender(each, direction, amount, setting, growths)
        )),
        notes: ["The end that grew most, in fresh processes, from just before the first byte."],
      };
      yield whole;
      yield {
        ...base,
        id: `9-${direction}-late`,
        title: `Growth after the first ${amount / mebibyte / 4} MiB of the same ${direction}s`,
        contenders: peers.map(({ name }) => makeRecorded(name, growths.get(name) ?? [])),
        notes: ["From the same transfers: the highest point of the rest over the highest before."],
      };
    }
  },
};

function makeContender(
  peers: MemoryPeers,
  direction: TransferWork["direction"],
  amount: number,
  setting: RowSetting,
  growths: Map<string, Growth[]>,
): Contender {
  const pair = makePair(peers, direction, amount, setting);
  const recorded: Growth[] = [];
  return {
    name: peers.name,
    start(): Promise<Trial> {
      growths.set(peers.name, recorded);
      return Promise.resolve({
        warmUp: () => Promise.resolve(),
        async measure(): Promise<number> {
          const growth = await measureGrowth(pair, setting);
          recorded.push(growth);
          return growth.whole / mebibyte;
        },
        stop: () => Promise.resolve(),
      });
    },
  };
}

function makePair(
  { name, peer, taking = "stream", framing = "length" }: MemoryPeers,
  direction: TransferWork["direction"],
  amount: number,
  setting: RowSetting,
): Pair {
  const work: TransferWork = {
    kind: "transfer",
    direction,
    framing,
    pieceLength: setting.writeLength,
    taking,
    origin: "source",
  };
  return {
    name,
    server: peer,
    client: peer,
    serverWork: work,
    clientWork: work,
    transport: "tcp",
    serverPlacement: "two",
    clientPlacement: "two",
    amount,
    warmUp: mebibyte,
  };
}

async function measureGrowth(pair: Pair, setting: RowSetting): Promise<Growth> {
  const running = await RunningPair.start(pair, setting);
  try {
    await running.run(pair.warmUp);
    const before = await running.takeMemory();
    await running.run(pair.amount);
    const during = await running.takeMemory();
    const client = during.at(-1) ?? [];
    const quarter = client.find(([, , position]) => position >= pair.amount / 4)?.[0] ?? 0;
    const growths = during.map((samples, index) => (
      growthOf(before[index]?.at(-1)?.[1] ?? 0, samples, quarter)
    ));
    return {
      whole: Math.max(...growths.map(({ whole }) => whole)),
      late: Math.max(...growths.map(({ late }) => late)),
    };
  } finally {
    await running.stop();
  }
}

function growthOf(before: number, samples: readonly MemorySample[], quarter: number): Growth {
  const early = peakOf(samples.filter(([time]) => time <= quarter), before);
  const late = peakOf(samples.filter(([time]) => time > quarter), 0);
  return { whole: Math.max(early, late) - before, late: Math.max(0, late - early) };
}

function peakOf(samples: readonly MemorySample[], least: number): number {
  return samples.reduce((peak, [, rss]) => Math.max(peak, rss), least);
}

/** A contender whose measurements were made before. */
function makeRecorded(name: string, growths: readonly Growth[]): Contender {
  const left = growths.values();
  return {
    name,
    start: () =>
      Promise.resolve({
        warmUp: () => Promise.resolve(),
        measure: () => {
          const { value } = left.next();
          if (value === undefined) return Promise.reject(new Error("the transfer had failed"));
          return Promise.resolve(value.late / mebibyte);
        },
        stop: () => Promise.resolve(),
      }),
  };
}
