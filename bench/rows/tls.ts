/**
 * Row 6: rows 1 and 4 over TLS with certificates on both ends.
 *
 * @module
 */

import type { TlsFiles } from "../work.ts";
import type { TransferPeers } from "./bulk.ts";
import { makeTransferGroups } from "./bulk.ts";
import type { Row } from "./row.ts";
import { makeSkippedGroup } from "./row.ts";
import type { ExchangePeers } from "./sequential.ts";
import { makeExchangeGroup } from "./sequential.ts";

const notes = [
  "“raw” is `node:tls` with certificates on both ends, the limit here. “Deno.listenTls” can't ask a client for a certificate: its connections are authenticated on one side only.",
];

const exchangePeers: readonly ExchangePeers[] = [
  { name: "raw", server: "node_tls", client: "node_tls", essential: true },
  { name: "degu", server: "degu", client: "degu", essential: true },
  { name: "node:http", server: "node_http", client: "node_http", essential: true },
  { name: "undici + node:http", server: "node_http", client: "undici" },
];

/** Peers that have TLS over TCP only. */
const tcpPeers: readonly ExchangePeers[] = [
  { name: "Deno.listenTls", server: "raw", client: "raw" },
  { name: "fetch + Deno.serve", server: "fetch", client: "fetch", essential: true },
];

const degu = { server: "degu", client: "degu" } as const;

const transferPeers: readonly TransferPeers[] = [
  { name: "raw", server: "node_tls", client: "node_tls", essential: true },
  { name: "degu, writeTo", ...degu, taking: "writeTo", essential: true },
  { name: "degu, BYOB reader", ...degu, taking: "byob" },
  { name: "degu, default stream", ...degu, taking: "stream" },
  { name: "degu, iterated", ...degu, taking: "iterate" },
  { name: "degu, relayed by ProxyApp", ...degu, relay: "degu", taking: "writeTo" },
  { name: "Deno.listenTls", server: "raw", client: "raw" },
  { name: "fetch + Deno.serve", server: "fetch", client: "fetch", essential: true },
  { name: "node:http", server: "node_http", client: "node_http" },
];

/** Row 6. */
export const tlsRow: Row = {
  number: 6,
  title: "Rows 1 and 4 over TLS with certificates on both ends",
  *groups(setting) {
    const { tls } = setting;
    if ("problem" in tls) {
      yield makeSkippedGroup("6", "TLS with certificates on both ends", tls.problem);
      return;
    }
    for (const transport of ["tcp", "unix"] as const) {
      const all = transport === "tcp" ? [...exchangePeers, ...tcpPeers] : exchangePeers;
      yield makeExchangeGroup({
        id: `6-sequence-${transport}`,
        title: `POST 108 B → 108 B over TLS on ${transport === "tcp" ? "TCP" : "a Unix socket"}`,
        message: "post",
        connections: 1,
        transport,
        tls: tls satisfies TlsFiles,
        peers: all.filter(({ essential }) => !setting.quick || essential),
        notes,
      }, setting);
    }
    yield* makeTransferGroups(6, transferPeers, setting, tls);
  },
};
