/**
 * Row 19: single requests with pauses over an open connection, as devices send them, and second
 * requests right after the first response. The figure is the time of a request, without the pause
 * before it.
 */

import type { Group } from "../measure.ts";
import type { ExchangeWork } from "../peer.ts";
import {
  chooseContenders,
  chooseReferences,
  describePlacement,
  type Pair,
  type PeerName,
  peers,
  type Row,
  startPair,
} from "../pair.ts";
import { tlsNote } from "./bulk.ts";

/** The times between a response and the next request; 0 for the second request of a connection. */
const pausesMilliseconds = [0, 20];

type PairSettings = Pick<Pair, "isRelayed"> & Pick<ExchangeWork, "requester">;

const variants: readonly (readonly [
  id: string,
  title: string,
  settings: PairSettings,
  excludedPeers?: PeerName[],
])[] = [
  ["tcp", "over TCP", {}],
  ["tls", "over TLS with certificates on both ends", {}],
  ["pool", "over TCP, through a pool", { requester: "pool" }],
  ["proxy", "over TCP, through a proxy", { isRelayed: true }, ["node_http"]],
];

export const pacedRow: Row = {
  number: 19,
  title: "A POST 108 B → 108 B after a pause, over a kept connection",
  *groups(setting) {
    for (const milliseconds of pausesMilliseconds) {
      for (
        const [id, title, { requester = "connection", ...settings }, excludedPeers = []] of variants
      ) {
        const tls = id === "tls" ? setting.tls : undefined;
        const selectedPeers = chooseContenders(peers, setting)
          .filter(([, { peer }]) => !excludedPeers.includes(peer));
        const group: Group = {
          id: `19-${id}-${milliseconds}`,
          title: `POST 108 B → 108 B ${title}, ` +
            (milliseconds === 0
              ? "right after the first one"
              : `${milliseconds} ms after the last one`),
          unit: "µs",
          placement: describePlacement("first core", setting),
          references: chooseReferences(selectedPeers, setting),
          contenders: selectedPeers.map(([name, implementation]) => ({
            name,
            async start(programStack) {
              const work = {
                kind: "exchange",
                message: "post",
                connections: 1,
                requester,
              } as const;
              const pair: Pair = {
                ...implementation,
                work,
                tls,
                placement: "first core",
                ...settings,
              };
              const { client } = await startPair(pair, setting, programStack);
              // Let V8 optimize the code, as in a program that has run for a while.
              await client.request({ command: "run", amount: 2000 });
              return async () =>
                await client.request({ command: "run-paced", amount: milliseconds }) * 1e6;
            },
          })),
          notes: tls === undefined ? [] : [tlsNote],
        };
        yield group;
      }
    }
  },
};
