/** The client and the server of Degu. */

import type { Address, BodyOut, Chunk } from "../../base.ts";
import { Body, ChunkedBody, ChunkedBodyIter } from "../../base.ts";
import { Client, ConnectionPool, SSLClient } from "../../client.ts";
import type { App, Request, ResponseTuple, ServerOptions } from "../../server.ts";
import { Server, SSLServer } from "../../server.ts";
import * as messages from "../messages.ts";
import { makeEncodedChecker, PatternChecker, PatternSource } from "../pattern.ts";
import type { Endpoint, Exchange, ExchangeWork, Handlers, TransferWork } from "../peer.ts";
import { hostname, runPeer } from "../peer.ts";

/** Bytes of the buffer that a BYOB reader passes around. */
const readerLength = 64 * 1024;

export async function serve(
  endpoint: Endpoint,
  app: App,
  options: ServerOptions = { maxConnections: 2048, maxRequests: Infinity, timeout: 30 },
): Promise<string | number> {
  const address = toAddress(endpoint);
  const server = endpoint.tls === undefined
    ? new Server(address, app, options)
    : new SSLServer(endpoint.tls.server, address, app, options);
  await server.ready;
  server.serveForever();
  const bound = server.address;
  return typeof bound === "string" ? bound : Number(bound[1]);
}

function toAddress({ address }: Endpoint): Address {
  return typeof address === "number" ? [hostname, address] : address;
}

function makeClient(endpoint: Endpoint): Client {
  const address = toAddress(endpoint);
  if (endpoint.tls === undefined) return new Client(address);
  // The authority is private: its only server certificate belongs to the server.
  return new SSLClient({ ...endpoint.tls.client, checkHostname: false }, address);
}

const handlers: Handlers<App> = {
  exchange: ({ message }) => message === "post" ? echo : answerHeaders,
  transfer: (work) => (request) => answerTransfer(request, work),
  async relay({ upstream }) {
    const { ProxyApp } = await import("../../apps/proxy.ts");
    return new ProxyApp(makeClient(upstream));
  },
  answer: () => () => [200, "OK", {}, messages.answerBody],
};

async function echo(request: Request): Promise<ResponseTuple> {
  return [200, "OK", {}, await request.body!.bytes()];
}

function answerHeaders(request: Request): ResponseTuple {
  messages.checkHeader(request.headers[messages.checkedHeader]);
  return [200, "OK", messages.responseHeaders, null];
}

/** One client for all connections, as in programs, because it has the TLS context. */
let client: Client | null = null;

async function exchange(endpoint: Endpoint, work: ExchangeWork): Promise<Exchange> {
  client ??= makeClient(endpoint);
  const conn = work.single || work.pooled ? null : await client.connect();
  const pool = work.pooled ? new ConnectionPool(client) : null;
  const requester = pool ?? conn ?? client;
  const empty = new Uint8Array();
  return {
    async request(payload: Uint8Array | null): Promise<Uint8Array> {
      if (payload === null) {
        const response = await requester.request("GET", "/", messages.requestHeaders, null);
        messages.checkStatus(response.status);
        messages.checkHeader(response.headers[messages.checkedHeader]);
        return empty;
      }
      const response = await requester.request("POST", "/", {}, payload);
      messages.checkStatus(response.status);
      return await response.body!.bytes();
    },
    close: () => (pool ?? conn)?.close(),
  };
}

async function answerTransfer(request: Request, work: TransferWork): Promise<ResponseTuple> {
  const bytes = Number(request.path[0]);
  if (work.direction === "download") return [200, "OK", {}, makeBody(bytes, work)];
  await take(request.body, work, bytes);
  return [200, "OK", {}, null];
}

async function transfer(endpoint: Endpoint, work: TransferWork, bytes: number): Promise<void> {
  using conn = await makeClient(endpoint).connect();
  if (work.direction === "download") {
    const response = await conn.get(`/${bytes}`);
    messages.checkStatus(response.status);
    await take(response.body, work, bytes);
  } else {
    messages.checkStatus((await conn.post(`/${bytes}`, {}, makeBody(bytes, work))).status);
  }
}

function makeBody(bytes: number, { framing, pieceLength }: TransferWork): BodyOut {
  const source = new PatternSource(bytes);
  return framing === "chunked"
    ? new ChunkedBodyIter(makeChunks(source, pieceLength))
    : new Body(source, bytes);
}

function* makeChunks(source: PatternSource, length: number): Generator<Chunk, void, undefined> {
  for (const piece of source.pieces(length)) yield [null, piece];
  yield [null, new Uint8Array()];
}

async function take(body: BodyOut, work: TransferWork, bytes: number): Promise<void> {
  if (!(body instanceof Body || body instanceof ChunkedBody)) {
    throw new Error("a message without a body to stream");
  }
  // A chunked body writes its encoded chunks unchanged.
  const checker = body.chunked && work.taking === "writeTo"
    ? makeEncodedChecker(bytes, work.pieceLength)
    : new PatternChecker(bytes);
  if (work.taking === "writeTo") await body.writeTo(checker);
  else if (work.taking === "byob") {
    const reader = body.readable.getReader({ mode: "byob" });
    let read = await reader.read(new Uint8Array(readerLength));
    while (!read.done) {
      checker.check(read.value);
      read = await reader.read(new Uint8Array(read.value.buffer));
    }
  } else if (work.taking === "stream") {
    for await (const piece of body.readable) checker.check(piece);
  } else if (body.chunked) {
    for await (const [, data] of body) checker.check(data);
  } else {
    for await (const piece of body) checker.check(piece);
  }
  checker.finish();
}

if (import.meta.main) await runPeer({ serve, handlers, exchange, opensForEach: true, transfer });
