/**
 * Rows with small messages: 1 to 3, row 1 over TLS in 6, and the cost of a connection in 14 to 16.
 * Client and server share a core, so the figures include the costs of both.
 */

import type { Contender, Group } from "../measure.ts";
import {
  chooseContenders,
  chooseReferences,
  describePlacement,
  makePairContender,
  type Pair,
  peers,
  type Row,
  type RowSetting,
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
  readonly usesTls?: boolean;
  readonly peers?: typeof peers;
  readonly notes?: readonly string[];
}

function makeExchangeGroup(group: ExchangeGroup, setting: RowSetting): Group {
  const { id, title, transport, message = "post", connections = 1, connectsPerMessage = false } =
    group;
  const work: ExchangeWork = { kind: "exchange", message, connections, connectsPerMessage };
  const tls = group.usesTls ? setting.tls : undefined;
  // A connection takes at least ten times as long as a message.
  const amount = (setting.isQuick ? 2000 : 20_000) / (connectsPerMessage ? 10 : 1);
  // After only ten thousand messages, the first round was still a quarter slower than the others.
  const warmUp = setting.isQuick ? amount : amount * 2.5;
  const selectedPeers = chooseContenders(group.peers ?? peers, setting);
  return {
    id,
    title: `${title} over ${transport === "tcp" ? "TCP" : "a Unix socket"}`,
    unit: setting.trees === undefined ? "requests/s" : "µs of processor time",
    placement: describePlacement("first core", setting),
    references: chooseReferences(selectedPeers, setting),
    contenders: selectedPeers.map(([name, implementation]) => {
      const pair: Pair = {
        ...implementation,
        work,
        usesUnixSocket: transport === "unix",
        tls,
        placement: "first core",
      };
      return makePairContender(name, pair, setting, { amount, warmUp });
    }),
    notes: [
      "Some libraries add headers (date, connection, user-agent …). They are not removed.",
      ...(group.usesTls ? [tlsNote] : []),
      ...group.notes ?? [],
    ],
  };
}

/** Makes a row that runs the same messages over each of the transports. */
function makeRow(
  number: number,
  title: string,
  settings: Pick<ExchangeGroup, "message" | "connections" | "connectsPerMessage">,
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
const postPerConnection = `${post}, each message with its own connection`;

export const exchangeRows: readonly Row[] = [
  makeRow(1, `${post}, one connection, in sequence`, {}),
  makeRow(2, `${post}, eight connections`, { connections: 8 }),
  makeRow(3, "GET with twelve headers each way", { message: "headers" }, ["tcp"]),
  {
    number: 6,
    title: "Rows 1 and 4 (as Body) over TLS with certificates on both ends",
    *groups(setting) {
      yield makeExchangeGroup({
        ...{ id: "6-sequence-tcp", title: `${post} over TLS, one connection, in sequence` },
        ...{ transport: "tcp", usesTls: true },
      }, setting);
      yield* makeTransferGroups(6, setting, setting.tls);
    },
  },
  makeRow(14, postPerConnection, { connectsPerMessage: true }, ["tcp"]),
  {
    number: 15,
    title: "Row 14 over TLS with certificates on both ends",
    *groups(setting) {
      yield makeExchangeGroup({
        ...{ id: "15-full", title: `${postPerConnection}, full handshakes`, transport: "tcp" },
        ...{ connectsPerMessage: true, usesTls: true, peers: mutualPeers },
        notes: ["The client of “raw” creates its TLS context once for all connections."],
      }, setting);
    },
  },
  { number: 16, title: "Memory of an idle connection at the server", groups: makeIdleGroups },
];

const FIXED_YOUNG_GENERATION = ["--min-semi-space-size=8", "--max-semi-space-size=8"];

function* makeIdleGroups(setting: RowSetting): Generator<Group, void, undefined> {
  const amount = setting.isQuick ? 200 : 1000;
  for (const tls of [undefined, setting.tls]) {
    const kind = tls === undefined ? "plain" : "tls";
    const selectedPeers = chooseContenders(tls === undefined ? peers : mutualPeers, setting);
    yield {
      id: `16-${kind}-server`,
      title: `Resident memory of one of ${amount} idle connections, ${kind}, at the server`,
      unit: "KB",
      placement: describePlacement("both cores", setting),
      references: setting.trees === undefined ? ["raw"] : chooseReferences(selectedPeers, setting),
      contenders: selectedPeers.map(([name, implementation]): Contender => {
        const work: ExchangeWork = { kind: "exchange", message: "post", connections: 1 };
        const pair: Pair = { ...implementation, work, tls, placement: "both cores" };
        const measure = async () => {
          await using programStack = new AsyncDisposableStack();
          const { client, server } = await startPair(
            pair,
            { ...setting, v8Flags: FIXED_YOUNG_GENERATION },
            programStack,
          );
          await client.request({ command: "keep-open", amount });
          const startBytes = await server.request({ command: "memory" });
          await client.request({ command: "keep-open", amount });
          return (await server.request({ command: "memory" }) - startBytes) / amount / 1000;
        };
        return { name, start: () => Promise.resolve(measure) };
      }),
      notes: [
        "The growth of memory from this number of connections to twice as many, in new processes, after a garbage collection.",
        "The young generation of V8 has a fixed size: it would otherwise double in some of the programs between the two moments, which looks like 13 KB a connection.",
      ],
    };
  }
}
