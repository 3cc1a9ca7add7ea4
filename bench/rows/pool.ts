/**
 * Row 22: what a pool costs beside a connection of the same client: the first request, the second
 * one right after the response, and one after a pause; also by `createFetch` over a pool, and
 * through a proxy that has just been made. The figure is the time of a request, without the pause
 * before it.
 */

import type { Group } from "../measure.ts";
import { describePlacement, type Pair, type Row, startPair } from "../pair.ts";
import type { Command, ExchangeWork } from "../peer.ts";

const requests: readonly (readonly [id: string, title: string, command: Command])[] = [
  ["first", "the first one, with the connection", { command: "run-openings" }],
  ["second", "right after the first one", { command: "run-paced", amount: 0 }],
  ["20", "20 ms after the last one", { command: "run-paced", amount: 20 }],
];

interface PoolContender
  extends Pick<Pair, "relaysEachBy">, Pick<ExchangeWork, "requester" | "usesFetch"> {
  readonly name: string;
}

/** Pairs: without and with a pool. */
const contenders: readonly PoolContender[] = [
  { name: "a connection" },
  { name: "a pool", requester: "pool" },
  { name: "createFetch over a connection", usesFetch: true },
  { name: "createFetch over a pool", usesFetch: true, requester: "pool" },
  { name: "an app that relays by a connection", relaysEachBy: "connection" },
  { name: "a fresh ProxyApp", relaysEachBy: "proxy" },
];

export const poolRow: Row = {
  number: 22,
  title: "A POST 108 B → 108 B of a pool, a fetch over it and a fresh proxy, beside a connection",
  *groups(setting) {
    const { trees = { "": undefined } } = setting;
    for (const [id, title, command] of requests) {
      const group: Group = {
        id: `22-${id}`,
        title: `POST 108 B → 108 B over TCP, ${title}`,
        unit: "µs",
        placement: describePlacement("first core", setting),
        references: contenders.filter((_, index) => index % 2 === 0).map(({ name }) => name),
        contenders: Object.entries(trees).flatMap(([treeName, tree]) =>
          contenders.map(({ name, relaysEachBy, ...work }) => ({
            name: treeName === Object.keys(trees)[0] ? name : `${name}, ${treeName}`,
            async start(programStack) {
              const pair: Pair = {
                peer: "degu",
                tree,
                work: { kind: "exchange", message: "post", connections: 1, ...work },
                relaysEachBy,
                placement: "first core",
              };
              const { client } = await startPair(pair, setting, programStack);
              // Let V8 optimize the code, as in a program that has run for a while.
              await client.request({ command: "run", amount: 2000 });
              return async () => await client.request(command) * 1e6;
            },
          }))
        ),
      };
      yield group;
    }
  },
};
