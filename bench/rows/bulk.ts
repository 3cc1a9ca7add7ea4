/**
 * Row 4: one large body in one direction, sent and read in every way, all programs on two cores.
 *
 * @module
 */

import type { Contender, Group } from "../interleave.ts";
import type { Pair, PeerName } from "../pair.ts";
import { makePairContender } from "../pair.ts";
import type { Taking, TlsFiles, TransferWork } from "../work.ts";
import type { Row, RowSetting } from "./row.ts";

const mebibyte = 1 << 20;

/** A pair of peers, or three, for a large body. */
export interface TransferPeers {
  readonly name: string;
  readonly server: PeerName;
  readonly client: PeerName;
  readonly relay?: PeerName;
  readonly taking?: Taking;
  readonly origin?: TransferWork["origin"];
  /** Bytes per write, where it isn't the group's. */
  readonly pieceLength?: number;
  readonly essential?: boolean;
  /** Only where the framing is this one. */
  readonly framing?: TransferWork["framing"];
  /** Only in this direction. */
  readonly direction?: TransferWork["direction"];
}

const degu = { server: "degu", client: "degu" } as const;

/** All peers over plain connections. */
const peers: readonly TransferPeers[] = [
  { name: "raw", server: "raw", client: "raw", essential: true },
  { name: "degu, writeTo", ...degu, taking: "writeTo", essential: true },
  {
    name: "degu, writeTo from BodyIter",
    ...degu,
    taking: "writeTo",
    origin: "pieces",
    framing: "length",
  },
  { name: "degu, BYOB reader", ...degu, taking: "byob", essential: true },
  { name: "degu, default stream", ...degu, taking: "stream" },
  { name: "degu, iterated", ...degu, taking: "iterate" },
  { name: "degu, relayed by ProxyApp", ...degu, relay: "degu", taking: "writeTo", essential: true },
  { name: "raw, relayed", server: "raw", client: "raw", relay: "raw" },
  { name: "fetch + Deno.serve", server: "fetch", client: "fetch", essential: true },
  { name: "fetch + Deno.serve, BYOB reader", server: "fetch", client: "fetch", taking: "byob" },
  {
    name: "fetch + Deno.serve, relayed",
    server: "fetch",
    client: "fetch",
    relay: "fetch",
    // An upload handed on by `fetch` takes time that grows with the square of its length: 256 MiB 15 s.
    direction: "download",
  },
  { name: "node:http", server: "node_http", client: "node_http" },
  { name: "undici + node:http", server: "node_http", client: "undici" },
];

/** What tells one group of large bodies from another. */
export interface TransferGroup {
  readonly row: number;
  readonly direction: TransferWork["direction"];
  readonly framing: TransferWork["framing"];
  readonly pieceLength: number;
  readonly peers: readonly TransferPeers[];
  readonly tls?: TlsFiles;
  readonly notes?: readonly string[];
}

/** Row 4. */
export const bulkRow: Row = {
  number: 4,
  title: "1 GiB each way, as Body and chunked",
  *groups(setting) {
    yield* makeTransferGroups(4, peers, setting);
  },
};

/** The six groups: both directions, as `Body`, in chunks of 1 MiB and in chunks of 16 KiB. */
export function* makeTransferGroups(
  row: number,
  all: readonly TransferPeers[],
  setting: RowSetting,
  tls?: TlsFiles,
): Generator<Group, void, undefined> {
  const extra = tls === undefined ? {} : { tls };
  const framings = [
    { framing: "length", pieceLength: setting.writeLength },
    { framing: "chunked", pieceLength: mebibyte },
    { framing: "chunked", pieceLength: 16 * 1024 },
  ] as const;
  for (const { framing, pieceLength } of framings) {
    // A quick run names what it leaves out: chunks of 1 MiB are close to a Body.
    if (setting.quick && framing === "chunked" && pieceLength === mebibyte) continue;
    for (const direction of ["upload", "download"] as const) {
      const peers = all.filter((each) => (each.framing ?? framing) === framing)
        .filter((each) => (each.direction ?? direction) === direction)
        .filter((each) => !setting.quick || each.essential);
      const small = framing === "chunked" && pieceLength < mebibyte && tls === undefined;
      const reference: TransferPeers[] = small
        ? [{ name: "raw, writes of 1 MiB", server: "raw", client: "raw", pieceLength: mebibyte }]
        : [];
      const group = { row, direction, framing, pieceLength, peers: [...peers, ...reference] };
      yield makeTransferGroup({ ...group, ...extra }, setting);
    }
  }
}

/** Makes a group of large bodies. */
export function makeTransferGroup(group: TransferGroup, setting: RowSetting): Group {
  const { row, direction, framing, pieceLength } = group;
  const framingName = framing === "length" ? "Body" : `chunks of ${pieceLength / 1024} KiB`;
  const amount = setting.quick ? 64 * mebibyte : 1024 * mebibyte;
  return {
    id: `${row}-${direction}-${framing === "length" ? "body" : `chunked-${pieceLength / 1024}k`}`,
    title: `${amount / mebibyte} MiB ${direction} as ${framingName}`,
    unit: "MiB/s",
    better: "higher",
    placement: setting.cores.describe("two"),
    references: ["raw", "raw, writes of 1 MiB", "fetch + Deno.serve"].filter(
      (reference) => group.peers.some(({ name }) => name === reference),
    ),
    contenders: group.peers.map((each) => makeTransferContender(each, group, amount, setting)),
    notes: [
      `Raw writes ${pieceLength / 1024} KiB at once.`,
      ...(group.notes ?? []),
    ],
  };
}

function makeTransferContender(
  peers: TransferPeers,
  group: TransferGroup,
  amount: number,
  setting: RowSetting,
): Contender {
  const work: TransferWork = {
    kind: "transfer",
    direction: group.direction,
    framing: group.framing,
    pieceLength: peers.pieceLength ?? group.pieceLength,
    taking: peers.taking ?? "stream",
    origin: peers.origin ?? "source",
  };
  const pair: Pair = {
    name: peers.name,
    server: peers.server,
    client: peers.client,
    relay: peers.relay,
    serverWork: work,
    clientWork: work,
    transport: "tcp",
    tls: group.tls,
    serverPlacement: "two",
    clientPlacement: "two",
    amount,
    warmUp: Math.min(amount, 256 * mebibyte),
  };
  return makePairContender(pair, setting, 1 / mebibyte);
}
