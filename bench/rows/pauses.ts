/**
 * Row 19: how long a request takes on a kept connection after a pause. Devices make requests like
 * this, and no other row does: there the next request follows at once.
 */

import type { Contender, Group } from "../measure.ts";
import type { Pair, PeerName, Row, RowSetting } from "../pair.ts";
import { describePlacement, peers, startPair } from "../pair.ts";
import type { ExchangeWork } from "../peer.ts";
import { tlsNote } from "./bulk.ts";

/** A contender: which peer, and whether through a pool of connections or a relay. */
type Way = Partial<Pick<ExchangeWork, "pooled">> & Pick<Pair, "peer" | "isRelayed">;

const direct: Readonly<Record<string, Way>> = {
  ...Object.fromEntries(
    Object.entries(peers).map(([name, peer]): [string, Way] => [name, { peer }]),
  ),
  "degu, ConnectionPool": { peer: "degu", pooled: true },
};
const { "fetch + Deno.serve": _, ...mutual } = direct;

const relayed: Readonly<Record<string, Way>> = {
  "raw, relayed": { peer: "raw", isRelayed: true },
  "degu, relayed by ProxyApp": { peer: "degu", isRelayed: true },
  "fetch + Deno.serve, relayed": { peer: "fetch", isRelayed: true },
};

type Kind = readonly [
  id: string,
  over: string,
  ways: Readonly<Record<string, Way>>,
  how: { readonly isUnix?: boolean; readonly isTls?: boolean },
];

const kinds: readonly Kind[] = [
  ["tcp", "over TCP", direct, {}],
  ["unix", "over a Unix socket", mutual, { isUnix: true }],
  ["tls", "over TLS with certificates on both ends", direct, { isTls: true }],
  ["relay", "over TCP through a relay", relayed, {}],
];

/** The pauses in milliseconds, and how many of them a measurement has. */
const pauses = [[20, 100], [100, 40]] as const;

export const pausesRow: Row = {
  number: 19,
  title: "A POST each 20 ms and each 100 ms on a kept connection",
  *groups(setting) {
    for (const [pause, amount] of pauses) {
      for (const kind of kinds) yield makeGroup(kind, pause, amount, setting);
    }
  },
};

function makeGroup(
  [id, over, ways, { isUnix = false, isTls = false }]: Kind,
  pause: number,
  most: number,
  setting: RowSetting,
): Group {
  const amount = setting.quick ? most / 4 : most;
  return {
    id: `19-${id}-${pause}`,
    title: `POST 108 B → 108 B each ${pause} ms ${over}, median`,
    unit: "µs",
    placement: describePlacement("two", setting),
    references: Object.keys(ways).filter((name) => !name.startsWith("degu")),
    contenders: Object.entries(ways).map(([name, { peer, isRelayed, pooled }]): Contender => ({
      name,
      async start(running) {
        const tls = isTls ? setting.tls : undefined;
        const message = "post" as const;
        const work: ExchangeWork = { kind: "exchange", message, connections: 1, pause, pooled };
        const pair: Pair = {
          peer: peer as PeerName,
          work,
          isUnix,
          tls,
          isRelayed,
          placement: "two",
        };
        const { client } = await startPair(pair, setting, running);
        return async () => await client.ask({ command: "pace", amount }) * 1e6;
      },
    })),
    notes: ["From the call to the whole response.", ...(isTls ? [tlsNote] : [])],
  };
}
