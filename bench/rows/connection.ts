/**
 * Rows 14 to 16: what a connection costs. Its time where each message has one of its own, plain and with
 * certificates on both ends, and its memory while it is idle.
 *
 * @module
 */

import type { Contender, Group, Trial } from "../interleave.ts";
import type { Pair } from "../pair.ts";
import { RunningPair } from "../pair.ts";
import type { ExchangeWork, TlsFiles } from "../work.ts";
import type { Row, RowSetting } from "./row.ts";
import { makeSkippedGroup } from "./row.ts";
import type { ExchangePeers } from "./sequential.ts";
import { makeExchangeEnds, makeExchangeGroup } from "./sequential.ts";

const degu = { name: "degu", server: "degu", client: "degu" } as const;
const node = { name: "node:http", server: "node_http", client: "node_http" } as const;
const plainPeers: readonly ExchangePeers[] = [
  { name: "raw", server: "raw", client: "raw" },
  degu,
  { name: "fetch + Deno.serve", server: "fetch", client: "fetch" },
  node,
];
const tlsPeers: readonly ExchangePeers[] = [
  { name: "raw", server: "node_tls", client: "node_tls" },
  degu,
  node,
];
const tlsNotes = [
  "“raw” is `node:tls` with a context that the client keeps, the limit here. All handshakes are full ones.",
  "`fetch` is missing, because `Deno.serve` can't ask a client for a certificate.",
];

/** Row 14. */
export const singleRow: Row = {
  number: 14,
  title: "POST 108 B → 108 B, each over a connection of its own",
  *groups(setting) {
    for (const transport of ["tcp", "unix"] as const) {
      yield makeSingleGroup(`14-${transport}`, "", plainPeers, { transport }, setting);
    }
  },
};

/** Row 15. */
export const handshakeRow: Row = {
  number: 15,
  title: "Row 14 over TLS with certificates on both ends",
  *groups(setting) {
    const { tls } = setting;
    if ("problem" in tls) return yield makeSkippedGroup("15", "TLS handshakes", tls.problem);
    const how = { transport: "tcp", tls, notes: tlsNotes } as const;
    yield makeSingleGroup("15-full", ", full handshakes", tlsPeers, how, setting);
  },
};

function makeSingleGroup(
  id: string,
  what: string,
  peers: readonly ExchangePeers[],
  how: { readonly transport: "tcp" | "unix"; readonly tls?: TlsFiles; readonly notes?: string[] },
  setting: RowSetting,
): Group {
  const over = how.transport === "tcp" ? "TCP" : "Unix sockets";
  return makeExchangeGroup({
    id,
    title: `POST 108 B → 108 B, each over a connection of its own${what}, over ${over}`,
    message: "post",
    connections: 1,
    single: true,
    peers,
    ...how,
  }, setting);
}

/** Row 16. */
export const idleRow: Row = {
  number: 16,
  title: "Memory of an idle connection",
  *groups(setting) {
    const amount = setting.quick ? 200 : 1000;
    for (const kind of ["plain", "tls"] as const) {
      const { tls } = setting;
      if (kind === "tls" && "problem" in tls) {
        yield makeSkippedGroup("16-tls", "Memory of an idle TLS connection", tls.problem);
        continue;
      }
      const files = kind === "tls" ? tls as TlsFiles : undefined;
      const peers = kind === "tls" ? tlsPeers : plainPeers;
      for (const end of ["server", "client"] as const) {
        yield {
          id: `16-${kind}-${end}`,
          title: `Resident memory of one of ${amount} idle connections, ${kind}, at the ${end}`,
          unit: "KB",
          better: "lower",
          placement: setting.cores.describe("two"),
          references: ["raw"],
          contenders: peers
            // A client of theirs has more than one connection only while it makes requests.
            .filter(({ client }) => end === "server" || !["fetch", "node_http"].includes(client))
            .map((each) => makeIdleContender(each, end, amount, files, setting)),
          notes: [
            "In fresh processes, after a collection, from one amount of connections to twice as many.",
          ],
        };
      }
    }
  },
};

function makeIdleContender(
  peers: ExchangePeers,
  end: "server" | "client",
  amount: number,
  tls: TlsFiles | undefined,
  setting: RowSetting,
): Contender {
  const work: ExchangeWork = { kind: "exchange", message: "post", connections: 1 };
  const pair: Pair = {
    ...makeExchangeEnds(peers, work, "two"),
    transport: "tcp",
    tls,
    amount,
    warmUp: 0,
  };
  return {
    name: peers.name,
    start: (): Promise<Trial> =>
      Promise.resolve({
        warmUp: () => Promise.resolve(),
        measure: async () => (await measureIdle(pair, setting)).at(end === "server" ? 0 : -1)!,
        stop: () => Promise.resolve(),
      }),
  };
}

/** Kilobytes that each further connection takes, at the server and at the client. */
async function measureIdle(pair: Pair, setting: RowSetting): Promise<number[]> {
  const running = await RunningPair.start(pair, setting);
  try {
    await running.hold(pair.amount);
    const before = await running.takeRest();
    await running.hold(pair.amount);
    const after = await running.takeRest();
    return after.map((bytes, index) => (bytes - before[index]!) / pair.amount / 1000);
  } finally {
    await running.stop();
  }
}
