/**
 * Rows with small messages: 1 to 3, the same over TLS in 6, and what a connection costs in 14 to 16. Client and server
 * are pinned to one core, so that the figure is the sum of what both ends cost.
 */

import type { Contender, Group } from "../measure.ts";
import type { Pair, PeerName, Row, RowSetting } from "../pair.ts";
import { describePlacement, makePairContender, startPair, stopAll } from "../pair.ts";
import type { Endpoint, ExchangeWork, TlsFiles } from "../peer.ts";
import { makeTransferGroups, tlsNote } from "./bulk.ts";

/** Peers as a table names them: server and client are of the same kind. */
const peers: Readonly<Record<string, PeerName>> = {
  "raw": "raw",
  "degu": "degu",
  "fetch + Deno.serve": "fetch",
  "node:http": "node_http",
};
const tlsPeers: typeof peers = { ...peers, raw: "node_tls" };
const { "fetch + Deno.serve": _, ...mutualPeers } = tlsPeers;

interface ExchangeGroup {
  readonly id: string;
  readonly title: string;
  readonly transport: Endpoint["transport"];
  readonly message?: ExchangeWork["message"];
  readonly connections?: number;
  readonly single?: boolean;
  readonly tls?: TlsFiles;
  readonly peers?: typeof peers;
  readonly notes?: readonly string[];
}

function makeExchangeGroup(group: ExchangeGroup, setting: RowSetting): Group {
  const { id, title, transport, message = "post", connections = 1, single = false } = group;
  const { tls, notes = [] } = group;
  const work: ExchangeWork = { kind: "exchange", message, connections, single };
  // A connection takes at least ten times as long as a message.
  const amount = (setting.quick ? 2000 : 20_000) / (single ? 10 : 1);
  const chosen = Object.entries(group.peers ?? peers);
  return {
    id,
    title: `${title} over ${transport === "tcp" ? "TCP" : "a Unix socket"}`,
    unit: "requests/s",
    better: "higher",
    placement: describePlacement("one", setting.cores),
    references: chosen.map(([name]) => name).filter((name) => name !== "degu"),
    contenders: chosen.map(([name, peer]): Contender => {
      const pair = { name, server: peer, client: peer, work, transport, tls, amount };
      // With ten thousand the first round was still a quarter slower, whoever ran it.
      const warmUp = setting.quick ? amount : amount * 2.5;
      return makePairContender({ ...pair, placement: "one", warmUp }, setting);
    }),
    notes: [
      "Peers whose library adds headers of its own (date, connection, user-agent …) keep them.",
      ...notes,
    ],
  };
}

/** A row whose groups are the same over TCP and over a Unix socket. */
function makeRow(
  number: number,
  title: string,
  how: Pick<ExchangeGroup, "message" | "connections" | "single">,
  transports: readonly Endpoint["transport"][] = ["tcp", "unix"],
): Row {
  return {
    number,
    title,
    *groups(setting) {
      for (const transport of transports) {
        const group = { id: `${number}-${transport}`, title, transport, ...how };
        yield makeExchangeGroup(group, setting);
      }
    },
  };
}

const post = "POST 108 B → 108 B";
export const oneConnectionRow = makeRow(1, `${post}, one connection, in sequence`, {});
export const eightConnectionsRow = makeRow(2, `${post}, eight connections`, { connections: 8 });
export const headersRow = makeRow(3, "GET with twelve headers each way", { message: "headers" }, [
  "tcp",
]);
export const singleRow = makeRow(14, `${post}, each message with a connection of its own`, {
  single: true,
});

export const tlsRow: Row = {
  number: 6,
  title: "Rows 1 and 4 over TLS with certificates on both ends",
  *groups(setting) {
    const { tls } = setting;
    for (const transport of ["tcp", "unix"] as const) {
      const title = `${post} over TLS, one connection, in sequence`;
      const all = transport === "tcp" ? tlsPeers : mutualPeers;
      const how = { title, transport, tls, peers: all, notes: [tlsNote] };
      yield makeExchangeGroup({ id: `6-sequence-${transport}`, ...how }, setting);
    }
    yield* makeTransferGroups(6, setting, tls);
  },
};

export const handshakeRow: Row = {
  number: 15,
  title: "Row 14 over TLS with certificates on both ends",
  *groups(setting) {
    yield makeExchangeGroup({
      id: "15-full",
      title: `${post}, each message with a connection of its own, full handshakes`,
      transport: "tcp",
      single: true,
      tls: setting.tls,
      peers: mutualPeers,
      notes: [tlsNote, "The client of “raw” keeps its context."],
    }, setting);
  },
};

export const idleRow: Row = {
  number: 16,
  title: "Memory of an idle connection",
  *groups(setting) {
    const amount = setting.quick ? 200 : 1000;
    for (const tls of [undefined, setting.tls]) {
      const kind = tls === undefined ? "plain" : "tls";
      for (const end of ["server", "client"] as const) {
        const chosen = Object.entries(tls === undefined ? peers : mutualPeers)
          // A client of theirs has more than one connection only while it makes requests.
          .filter(([, peer]) => end === "server" || !["fetch", "node_http"].includes(peer));
        const contenders = chosen.map(([name, peer]): Contender => ({
          name,
          start: () =>
            Promise.resolve({
              measure: async () =>
                (await measureIdle(peer, amount, tls, setting)).at(end === "server" ? 0 : -1)!,
            }),
        }));
        yield {
          id: `16-${kind}-${end}`,
          title: `Resident memory of one of ${amount} idle connections, ${kind}, at the ${end}`,
          unit: "KB",
          better: "lower",
          placement: describePlacement("two", setting.cores),
          references: ["raw"],
          contenders,
          notes: [
            "In fresh processes, after a collection, from one amount of connections to twice as many.",
          ],
        };
      }
    }
  },
};

/** Kilobytes that each further connection takes, at the server and at the client. */
async function measureIdle(
  peer: PeerName,
  amount: number,
  tls: TlsFiles | undefined,
  setting: RowSetting,
): Promise<number[]> {
  const work: ExchangeWork = { kind: "exchange", message: "post", connections: 1 };
  const ends = { name: peer, server: peer, client: peer, work, tls, amount };
  const pair: Pair = { ...ends, transport: "tcp", placement: "two", warmUp: 0 };
  const programs = await startPair(pair, setting);
  const { timeout } = setting;
  const rest = () => Promise.all(programs.map((each) => each.ask({ command: "rest" }, timeout)));
  try {
    await programs[1]!.ask({ command: "hold", amount }, timeout);
    const before = await rest();
    await programs[1]!.ask({ command: "hold", amount }, timeout);
    const after = await rest();
    return after.map((bytes, index) => (bytes - before[index]!) / amount / 1000);
  } finally {
    await stopAll(programs);
  }
}
