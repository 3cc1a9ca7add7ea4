/**
 * What `degu serve` reports about its peers.
 *
 * @module
 */

import { peerOf } from "../device.ts";
import { unescapeName } from "../files.ts";
import type { Exchange } from "../server.ts";
import { explain } from "./failure.ts";
import type { Output } from "./output.ts";

const VERBS = { GET: "has got", PUT: "has put", DELETE: "has removed" } as const;

/**
 * Makes what reports the files that peers have got, put and removed; it doesn't report listings and queries. If the output
 * fails, that is reported once, and serving continues.
 */
export function exchangeReporter(output: Output): (exchange: Exchange) => void {
  let isLost = false;
  return (exchange) => {
    try {
      reportExchange(output, exchange);
    } catch (error) {
      if (!isLost) output.warn(`what peers do can't be reported: ${explain(error)}`);
      isLost = true;
    }
  };
}

function reportExchange(output: Output, exchange: Exchange): void {
  const { session, method, status, requestBytes, responseBytes } = exchange;
  if (method !== "GET" && method !== "PUT" && method !== "DELETE") return;
  const path = pathOf(exchange.uri);
  if (path === null || path === "" || path.endsWith("/") || status === null || status >= 400) {
    return;
  }
  const peer = peerOf(session);
  const bytes = method === "PUT" ? requestBytes : responseBytes;
  const cut = exchange.error === null ? "" : ", cut off";
  const size = method === "DELETE" ? "" : ` (${bytes} bytes${cut})`;
  if (!output.json) return output.note(`${peer.name} ${VERBS[method]} ${path}${size}`);
  output.result("", {
    event: method.toLowerCase(),
    peer: peer.name,
    id: peer.id,
    path,
    status,
    bytes,
    complete: exchange.error === null,
  });
}

/** The path as the files are named; `null` if it has none. */
function pathOf(uri: string): string | null {
  try {
    return uri.slice(1).split("/").map((part) => part === "" ? "" : unescapeName(part)).join("/");
  } catch {
    return null;
  }
}
