/**
 * Row 4: a large body in one direction, with each framing and each way to read it, all programs on
 * two cores. Row 6 repeats the groups of a `Body` over TLS.
 */

import type { Group } from "../measure.ts";
import {
  chooseReferences,
  describePlacement,
  makePairContender,
  type Pair,
  type Row,
  type RowSetting,
} from "../pair.ts";
import type { ReadMethod, TlsFiles, TransferWork } from "../peer.ts";

const mebibyte = 1 << 20;
const kibibyte = 1024;
/** The length of a write of Degu's `Body`. Raw writes have the same length. */
const writeLength = 512 * kibibyte;

/** The note below every group over TLS. */
export const tlsNote =
  "“raw” is `node:tls` with certificates on both ends. `Deno.serve` can't request client certificates.";

/** A client and a server of one peer, optionally with a relay between them. */
interface TransferPeers extends Pick<Pair, "peer" | "isRelayed"> {
  readonly name: string;
  readonly readMethod?: ReadMethod;
  readonly onlyDirection?: TransferWork["direction"];
  /** Whether the pair runs only without TLS. */
  readonly isOnlyPlain?: boolean;
}

const peers: readonly TransferPeers[] = [
  { name: "raw", peer: "raw" },
  { name: "degu, writeTo", peer: "degu", readMethod: "writeTo" },
  { name: "degu, BYOB reader", peer: "degu", readMethod: "byob" },
  { name: "degu, default stream", peer: "degu", readMethod: "stream" },
  { name: "degu, iterated", peer: "degu", readMethod: "iterate" },
  { name: "degu, relayed by ProxyApp", peer: "degu", isRelayed: true, readMethod: "writeTo" },
  { name: "raw, relayed", peer: "raw", isRelayed: true, isOnlyPlain: true },
  { name: "fetch + Deno.serve", peer: "fetch" },
  // The time of an upload through `fetch` grows with the square of its length: 256 MiB take 15 s.
  {
    ...{ name: "fetch + Deno.serve, relayed", peer: "fetch", isRelayed: true },
    ...{ onlyDirection: "download", isOnlyPlain: true },
  },
  { name: "node:http", peer: "node_http" },
];

export const bulkRow: Row = {
  number: 4,
  title: "1 GiB each way: as Body, in chunks of 1 MiB and of 16 KiB",
  groups: (setting) => makeTransferGroups(4, setting),
};

/**
 * Makes the six groups: both directions, as `Body`, in chunks of 1 MiB and in chunks of 16 KiB;
 * over TLS, only as `Body`. If versions are compared, makes a group for each way in which Degu reads.
 */
export function* makeTransferGroups(
  row: number,
  setting: RowSetting,
  tls?: TlsFiles,
): Generator<Group, void, undefined> {
  const framings = [
    { framing: "length", pieceLength: writeLength, id: "body", description: "Body" },
    {
      framing: "chunked",
      pieceLength: mebibyte,
      id: "chunked-1024k",
      description: "chunks of 1024 KiB",
    },
    {
      framing: "chunked",
      pieceLength: 16 * kibibyte,
      id: "chunked-16k",
      description: "chunks of 16 KiB",
    },
  ] as const;
  const amount = (setting.isQuick ? 64 : 1024) * mebibyte;
  const amounts = { amount, warmUp: null, unit: mebibyte };
  for (const { framing, pieceLength, id, description } of framings) {
    if (tls !== undefined && framing === "chunked") continue;
    // Chunks of 1 MiB take about as long as a Body.
    if (setting.isQuick && id === "chunked-1024k") continue;
    for (const direction of ["upload", "download"] as const) {
      const selectedPeers = peers.filter(({ onlyDirection = direction, isOnlyPlain }) =>
        onlyDirection === direction && !(isOnlyPlain && tls !== undefined)
      );
      const makeContender = (
        name: string,
        { peer, isRelayed, readMethod = "stream" }: TransferPeers,
        tree?: string,
      ) => {
        const work = { kind: "transfer", direction, framing, pieceLength, readMethod } as const;
        const pair: Pair = { peer, tree, isRelayed, work, tls, placement: "both cores" };
        return makePairContender(name, pair, setting, amounts);
      };
      const title = `${amount / mebibyte} MiB ${direction} as ${description}`;
      const placement = describePlacement("both cores", setting);
      if (setting.trees !== undefined) {
        const trees = Object.entries(setting.trees);
        for (const [index, peer] of peers.filter(({ peer }) => peer === "degu").entries()) {
          yield {
            id: `${row}-${direction}-${id}-${index}`,
            title: `${title}, ${peer.name}`,
            unit: "µs of processor time per MiB",
            placement,
            references: chooseReferences(trees, setting),
            contenders: trees.map(([name, tree]) => makeContender(name, peer, tree)),
          };
        }
        continue;
      }
      yield {
        id: `${row}-${direction}-${id}`,
        title,
        unit: "MiB/s",
        placement,
        references: ["raw", "fetch + Deno.serve"],
        contenders: selectedPeers.map((peer) => makeContender(peer.name, peer)),
        notes: [
          `Raw writes ${pieceLength / kibibyte} KiB at once.`,
          ...(tls === undefined ? [] : [tlsNote]),
        ],
      };
    }
  }
}
