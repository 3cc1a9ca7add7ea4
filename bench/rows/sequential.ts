/**
 * Rows 1 to 3: small messages back and forth, client and server pinned to one core, so that the
 * figure is the sum of what both ends cost.
 *
 * @module
 */

import type { Placement } from "../cores.ts";
import type { Contender, Group } from "../interleave.ts";
import type { Pair, PeerName } from "../pair.ts";
import { makePairContender } from "../pair.ts";
import type { Endpoint, ExchangeWork, TlsFiles } from "../work.ts";
import type { Row, RowSetting } from "./row.ts";

/** A pair of peers for small messages. */
export interface ExchangePeers {
  readonly name: string;
  readonly server: PeerName;
  readonly client: PeerName;
  /** Whether it is there where only few peers can be measured. */
  readonly essential?: boolean;
}

const peers: readonly ExchangePeers[] = [
  { name: "raw", server: "raw", client: "raw", essential: true },
  { name: "degu", server: "degu", client: "degu", essential: true },
  { name: "fetch + Deno.serve", server: "fetch", client: "fetch", essential: true },
  { name: "node:http", server: "node_http", client: "node_http", essential: true },
  { name: "undici + node:http", server: "node_http", client: "undici" },
  { name: "fetch + hono", server: "hono", client: "fetch" },
  { name: "node:http + fastify", server: "fastify", client: "node_http" },
];

const pythonPeers: ExchangePeers = {
  name: "Python degu",
  server: "python_degu",
  client: "python_degu",
};

/** What tells one group of small messages from another. */
export interface ExchangeGroup {
  readonly id: string;
  readonly title: string;
  readonly message: ExchangeWork["message"];
  readonly connections: number;
  /** Whether each message has a connection of its own. */
  readonly single?: boolean;
  readonly transport: Endpoint["transport"];
  readonly tls?: TlsFiles;
  readonly peers: readonly ExchangePeers[];
  readonly notes?: readonly string[];
}

/** Row 1. */
export const oneConnectionRow: Row = {
  number: 1,
  title: "POST 108 B → 108 B, one connection, in sequence",
  *groups(setting) {
    for (const transport of ["tcp", "unix"] as const) {
      yield makeExchangeGroup({
        id: `1-${transport}`,
        title: `POST 108 B → 108 B, one connection over ${nameTransport(transport)}`,
        message: "post",
        connections: 1,
        transport,
        peers: choosePeers(setting),
      }, setting);
    }
  },
};

/** Row 2. */
export const eightConnectionsRow: Row = {
  number: 2,
  title: "POST 108 B → 108 B, eight connections",
  *groups(setting) {
    for (const transport of ["tcp", "unix"] as const) {
      yield makeExchangeGroup({
        id: `2-${transport}`,
        title: `POST 108 B → 108 B, eight connections over ${nameTransport(transport)}`,
        message: "post",
        connections: 8,
        transport,
        peers: choosePeers(setting),
      }, setting);
    }
  },
};

/** Row 3. */
export const headersRow: Row = {
  number: 3,
  title: "GET with twelve headers each way",
  *groups(setting) {
    yield makeExchangeGroup({
      id: "3-tcp",
      title: "GET with twelve headers each way, one connection over TCP",
      message: "headers",
      connections: 1,
      transport: "tcp",
      peers: choosePeers(setting),
    }, setting);
  },
};

/** What a pair of peers does that exchange small messages, and where. */
export function makeExchangeEnds(
  { name, server, client }: ExchangePeers,
  work: ExchangeWork,
  placement: Placement,
) {
  const placements = { serverPlacement: placement, clientPlacement: placement };
  return { name, server, client, serverWork: work, clientWork: work, ...placements };
}

/** Makes a group of small messages, both ends on one core. */
export function makeExchangeGroup(group: ExchangeGroup, setting: RowSetting): Group {
  const { id, title, message, connections, single = false, transport, tls } = group;
  const work: ExchangeWork = { kind: "exchange", message, connections, single };
  // A connection takes at least ten times as long as a message.
  const amount = (setting.quick ? 2000 : 20_000) / (single ? 10 : 1);
  const contenders = group.peers.map((each): Contender => {
    const pair: Pair = {
      ...makeExchangeEnds(each, work, "one"),
      transport,
      tls,
      amount,
      // With ten thousand the first round was still a quarter slower, whoever ran it.
      warmUp: setting.quick ? amount : amount * 2.5,
    };
    return makePairContender(pair, setting);
  });
  return {
    id,
    title,
    unit: "requests/s",
    better: "higher",
    placement: setting.cores.describe("one"),
    references: ["raw", "fetch + Deno.serve", "node:http"].filter(
      (reference) => group.peers.some(({ name }) => name === reference),
    ),
    contenders,
    notes: [
      "Peers whose library adds headers of its own (date, connection, user-agent …) keep them.",
      ...(group.notes ?? []),
    ],
  };
}

function choosePeers(setting: RowSetting): readonly ExchangePeers[] {
  if (setting.quick) return peers.filter(({ essential }) => essential);
  return setting.hasPythonDegu ? [...peers, pythonPeers] : peers;
}

function nameTransport(transport: Endpoint["transport"]): string {
  return transport === "tcp" ? "TCP" : "a Unix socket";
}
