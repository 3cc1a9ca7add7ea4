/**
 * Row 13: the cost of observing exchanges on a server, in processor time per request, which is least
 * affected by other load on the machine.
 *
 * @module
 */

import type { Contender, Group, Trial } from "../interleave.ts";
import { type Pair, RunningPair } from "../pair.ts";
import type { ExchangeWork, Observer } from "../work.ts";
import { hasWrk, LoadedServer } from "./load.ts";
import { makeSkippedGroup, type Row, type RowSetting } from "./row.ts";

const microseconds = 1e6;
const loadConnections = 8;

/** What is compared. The first two are the same: their difference is that of any two processes. */
const observers: readonly { readonly name: string; readonly observer?: Observer }[] = [
  { name: "degu" },
  { name: "degu again" },
  { name: "degu, onExchange", observer: "onExchange" },
  { name: "degu, accessLog", observer: "accessLog" },
];

/** Row 13. */
export const observingRow: Row = {
  number: 13,
  title: "Observed exchanges",
  async *groups(setting) {
    yield makeGroup(
      "13-sequence",
      "POST 108 B → 108 B, one connection: both ends",
      "one",
      setting,
      makePair,
    );
    if (await hasWrk()) {
      const title = `GET of 108 B under wrk, ${loadConnections} connections: the server`;
      yield makeGroup("13-load", title, "apart", setting, makeLoaded);
    } else {
      yield makeSkippedGroup("13-load", "A server alone under wrk", "`wrk` is not installed.");
    }
  },
};

function makeGroup(
  id: string,
  title: string,
  placement: "one" | "apart",
  setting: RowSetting,
  start: (observer: Observer | undefined, setting: RowSetting) => Promise<Trial>,
): Group {
  return {
    id,
    title,
    unit: "µs of processor time a request",
    better: "lower",
    placement: setting.cores.describe(placement),
    references: ["degu"],
    contenders: observers.map(({ name, observer }): Contender => ({
      name,
      start: () => start(observer, setting),
    })),
  };
}

async function makePair(observer: Observer | undefined, setting: RowSetting): Promise<Trial> {
  const work: ExchangeWork = { kind: "exchange", message: "post", connections: 1, observer };
  const amount = setting.quick ? 5000 : 40_000;
  const pair: Pair = {
    name: "degu",
    server: "degu",
    client: "degu",
    serverWork: work,
    clientWork: work,
    transport: "tcp",
    serverPlacement: "one",
    clientPlacement: "one",
    amount,
    warmUp: setting.quick ? 10_000 : 50_000,
  };
  const running = await RunningPair.start(pair, setting);
  return {
    warmUp: async () => void await running.run(pair.warmUp),
    async measure(): Promise<number> {
      const before = await running.takeCpu();
      await running.run(amount);
      return (await running.takeCpu() - before) / amount * microseconds;
    },
    stop: () => running.stop(),
  };
}

async function makeLoaded(observer: Observer | undefined, setting: RowSetting): Promise<Trial> {
  const work = { kind: "answer", observer } as const;
  const loaded = await LoadedServer.start("degu", work, loadConnections, setting);
  const { program } = loaded;
  return {
    warmUp: () => loaded.warmUp(),
    async measure(): Promise<number> {
      const before = await program.takeCpu(setting.timeout);
      const { requests } = await loaded.run(setting.quick ? 1 : 3);
      return (await program.takeCpu(setting.timeout) - before) / requests * microseconds;
    },
    stop: () => program.stop(),
  };
}
