/**
 * Rows with small messages: 1 to 3, the same over TLS in 6, and the cost of a connection in 14 to
 * 16. Client and server share a core, so the figure is the sum of the costs of both ends.
 */

import type { Contender, Group } from "../measure.ts";
import type { Pair, Row, RowSetting } from "../pair.ts";
import {
  chooseContenders,
  chooseReferences,
  describePlacement,
  makePairContender,
  peers,
  startPair,
} from "../pair.ts";
import type { ExchangeWork } from "../peer.ts";
import { makeTransferGroups, tlsNote } from "./bulk.ts";

const { "fetch + Deno.serve": _, ...mutualPeers } = peers;

type Transport = "tcp" | "unix";

interface ExchangeGroup extends Partial<Omit<ExchangeWork, "kind">> {
  readonly id: string;
  readonly title: string;
  readonly transport: Transport;
  readonly isTls?: boolean;
  readonly peers?: typeof peers;
  readonly notes?: readonly string[];
}

function makeExchangeGroup(group: ExchangeGroup, setting: RowSetting): Group {
  const { id, title, transport, message = "post", connections = 1, single = false } = group;
  const work: ExchangeWork = { kind: "exchange", message, connections, single };
  const tls = group.isTls ? setting.tls : undefined;
  // A connection takes at least ten times as long as a message.
  const amount = (setting.quick ? 2000 : 20_000) / (single ? 10 : 1);
  // Warm up for long: after ten thousand messages, the first round was still a quarter slower.
  const warmUp = setting.quick ? amount : amount * 2.5;
  const selectedPeers = chooseContenders(group.peers ?? peers, setting);
  return {
    id,
    title: `${title} over ${transport === "tcp" ? "TCP" : "a Unix socket"}`,
    unit: setting.trees === undefined ? "requests/s" : "µs of processor time",
    placement: describePlacement("first core", setting),
    references: chooseReferences(selectedPeers, setting),
    contenders: selectedPeers.map(([name, of]) => {
      const pair: Pair = {
        ...of,
        work,
        isUnix: transport === "unix",
        tls,
        placement: "first core",
      };
      return makePairContender(name, pair, setting, { amount, warmUp });
    }),
    notes: [
      "Peers whose library adds headers of its own (date, connection, user-agent …) keep them.",
      ...(group.isTls ? [tlsNote] : []),
      ...group.notes ?? [],
    ],
  };
}

/** Makes a row whose groups are the same over TCP and over a Unix socket. */
function makeRow(
  number: number,
  title: string,
  settings: Pick<ExchangeGroup, "message" | "connections" | "single">,
  transports: readonly Transport[] = ["tcp", "unix"],
): Row {
  return {
    number,
    title,
    groups: (setting) =>
      transports.map((transport) =>
        makeExchangeGroup({ id: `${number}-${transport}`, title, transport, ...settings }, setting)
      ),
  };
}

const post = "POST 108 B → 108 B";
const postEach = `${post}, each message with its own connection`;

export const exchangeRows: readonly Row[] = [
  makeRow(1, `${post}, one connection, in sequence`, {}),
  makeRow(2, `${post}, eight connections`, { connections: 8 }),
  makeRow(3, "GET with twelve headers each way", { message: "headers" }, ["tcp"]),
  {
    number: 6,
    title: "Rows 1 and 4 over TLS with certificates on both ends",
    *groups(setting) {
      const title = `${post} over TLS, one connection, in sequence`;
      for (const [transport, transportPeers] of [["tcp", peers], ["unix", mutualPeers]] as const) {
        const settings = { title, transport, isTls: true, peers: transportPeers };
        yield makeExchangeGroup({ id: `6-sequence-${transport}`, ...settings }, setting);
      }
      yield* makeTransferGroups(6, setting, setting.tls);
    },
  },
  makeRow(14, postEach, { single: true }),
  {
    number: 15,
    title: "Row 14 over TLS with certificates on both ends",
    *groups(setting) {
      yield makeExchangeGroup({
        ...{ id: "15-full", title: `${postEach}, full handshakes`, transport: "tcp" },
        ...{ single: true, isTls: true, peers: mutualPeers },
        notes: ["The client of “raw” keeps its context."],
      }, setting);
    },
  },
  { number: 16, title: "Memory of an idle connection", groups: makeIdleGroups },
];

function* makeIdleGroups(setting: RowSetting): Generator<Group, void, undefined> {
  const amount = setting.quick ? 200 : 1000;
  for (const tls of [undefined, setting.tls]) {
    const kind = tls === undefined ? "plain" : "tls";
    for (const end of ["server", "client"] as const) {
      const selectedPeers = chooseContenders(tls === undefined ? peers : mutualPeers, setting)
        // Exclude clients that open a second connection only during requests.
        .filter(([, { peer }]) => end === "server" || !["fetch", "node_http"].includes(peer));
      yield {
        id: `16-${kind}-${end}`,
        title: `Resident memory of one of ${amount} idle connections, ${kind}, at the ${end}`,
        unit: "KB",
        placement: describePlacement("both cores", setting),
        references: setting.trees === undefined
          ? ["raw"]
          : chooseReferences(selectedPeers, setting),
        contenders: selectedPeers.map(([name, of]): Contender => {
          const work: ExchangeWork = { kind: "exchange", message: "post", connections: 1 };
          const pair: Pair = { ...of, work, tls, placement: "both cores" };
          const measure = async () => {
            await using running = new AsyncDisposableStack();
            const { client, [end]: measured } = await startPair(pair, setting, running);
            await client.request({ command: "keep-open", amount });
            const startBytes = await measured.request({ command: "memory" });
            await client.request({ command: "keep-open", amount });
            return (await measured.request({ command: "memory" }) - startBytes) / amount / 1000;
          };
          return { name, start: () => Promise.resolve(measure) };
        }),
        notes: [
          "In fresh processes, after a collection, from one amount of connections to twice as many.",
        ],
      };
    }
  }
}
