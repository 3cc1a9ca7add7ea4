/**
 * The client of `npm:undici`, without pipelining. It has no server: `node:http` is its other end.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { Readable } from "node:stream";
import { Client } from "npm:undici@^8.12.4";
import { checkedHeader, checkHeader, checkStatus, requestHeaders } from "../messages.ts";
import { PatternChecker, PatternSource } from "../pattern.ts";
import type { Exchange, Transfer } from "../peer.ts";
import { runPeer } from "../peer.ts";
import type { Endpoint, ExchangeWork } from "../work.ts";

function makeClient(endpoint: Endpoint): Client {
  const scheme = endpoint.tls === undefined ? "http" : "https";
  const origin = endpoint.transport === "tcp"
    ? `${scheme}://${endpoint.hostname}:${endpoint.port}`
    : `${scheme}://localhost`;
  const connect = {
    ...(endpoint.transport === "unix" ? { socketPath: endpoint.path } : {}),
    ...(endpoint.tls === undefined ? {} : {
      cert: readFileSync(endpoint.tls.client.certFile),
      key: readFileSync(endpoint.tls.client.keyFile),
      ca: readFileSync(endpoint.tls.client.caFile),
      checkServerIdentity: () => undefined,
    }),
  };
  return new Client(origin, { connect, pipelining: 1, allowH2: false });
}

function exchange(endpoint: Endpoint, work: ExchangeWork): Promise<Exchange> {
  const client = makeClient(endpoint);
  const none = new Uint8Array();
  return Promise.resolve({
    async request(payload: Uint8Array | null): Promise<Uint8Array> {
      if (work.message === "headers") {
        const response = await client.request({
          path: "/",
          method: "GET",
          headers: requestHeaders,
        });
        checkStatus(response.statusCode);
        checkHeader(response.headers[checkedHeader]);
        await response.body.bytes();
        return none;
      }
      const response = await client.request({ path: "/", method: "POST", body: payload });
      checkStatus(response.statusCode);
      return await response.body.bytes();
    },
    close: () => client.destroy(),
  });
}

async function transfer(endpoint: Endpoint, work: Transfer): Promise<void> {
  const client = makeClient(endpoint);
  try {
    const download = work.direction === "download";
    const source = new PatternSource(work.bytes, work.progress);
    const response = await client.request({
      path: work.uri,
      method: download ? "GET" : "POST",
      body: download ? null : Readable.from(source.pieces(work.pieceLength), { objectMode: false }),
      headers: !download && work.framing === "length"
        ? { "content-length": String(work.bytes) }
        : {},
    });
    checkStatus(response.statusCode);
    const checker = new PatternChecker(
      download ? work.bytes : 0,
      download ? work.progress : undefined,
    );
    for await (const piece of response.body) checker.check(piece);
    checker.finish();
  } finally {
    await client.destroy();
  }
}

if (import.meta.main) await runPeer({ exchange, transfer });
