/**
 * This project's client and server.
 *
 * @module
 */

import type { Address, BodyOut, Chunk } from "../../base.ts";
import { Body, ChunkedBody, ChunkedBodyIter } from "../../base.ts";
import { Client } from "../../client.ts";
import type { App, Request, ResponseTuple } from "../../server.ts";
import { Server } from "../../server.ts";
import {
  answerBody,
  checkedHeader,
  checkHeader,
  checkStatus,
  requestHeaders,
  responseHeaders,
} from "../messages.ts";
import { checkByReader, makeEncodedChecker, PatternChecker, PatternSource } from "../pattern.ts";
import type { Endpoint, Exchange, ExchangeWork, ServerWork, TransferWork } from "../peer.ts";
import { runPeer } from "../peer.ts";

const serverOptions = { maxConnections: 2048, maxRequests: Infinity, timeout: 30 };

async function serve(endpoint: Endpoint, work: ServerWork): Promise<Endpoint> {
  const address = toAddress(endpoint);
  const app = await makeApp(work);
  const server = endpoint.tls === undefined
    ? new Server(address, app, serverOptions)
    : (await import("./degu_tls.ts")).makeServer(endpoint.tls, address, app, serverOptions);
  await server.ready;
  server.serveForever();
  return fromAddress(server.address, endpoint);
}

function toAddress(endpoint: Endpoint): Address {
  return endpoint.transport === "tcp" ? [endpoint.hostname, endpoint.port] : endpoint.path;
}

function fromAddress(address: Address, endpoint: Endpoint): Endpoint {
  if (endpoint.transport === "unix") return endpoint;
  if (typeof address === "string" || address instanceof Uint8Array) {
    throw new Error("the server listens on an address of another kind");
  }
  return { ...endpoint, port: address[1] };
}

async function makeClient(endpoint: Endpoint): Promise<Client> {
  const address = toAddress(endpoint);
  if (endpoint.tls === undefined) return new Client(address);
  // Loaded on demand: a plain connection's memory and start-up are measured without it.
  return (await import("./degu_tls.ts")).makeClient(endpoint.tls, address);
}

async function makeApp(work: ServerWork): Promise<App> {
  switch (work.kind) {
    case "exchange":
      return work.message === "post" ? echo : answerHeaders;
    case "transfer":
      return (request) => answerTransfer(request, work);
    case "relay": {
      const { ProxyApp } = await import("../../apps/proxy.ts");
      return new ProxyApp(await makeClient(work.upstream));
    }
    case "answer":
      return () => [200, "OK", {}, answerBody];
  }
}

async function echo(request: Request): Promise<ResponseTuple> {
  if (request.body === null) throw new Error("a request without body");
  return [200, "OK", {}, await request.body.bytes()];
}

function answerHeaders(request: Request): ResponseTuple {
  checkHeader(request.headers[checkedHeader]);
  return [200, "OK", responseHeaders, null];
}

/** Kept, as a program keeps its client: one holds what the certificates are made into. */
let client: Client | null = null;

async function exchange(endpoint: Endpoint, work: ExchangeWork): Promise<Exchange> {
  client ??= await makeClient(endpoint);
  const conn = await client.connect();
  const none = new Uint8Array();
  return {
    async request(payload: Uint8Array | null): Promise<Uint8Array> {
      if (work.message === "headers") {
        const response = await conn.get("/", requestHeaders);
        checkStatus(response.status);
        checkHeader(response.headers[checkedHeader]);
        return none;
      }
      const response = await conn.post("/", {}, payload);
      checkStatus(response.status);
      if (response.body === null) throw new Error("a response without body");
      return await response.body.bytes();
    },
    close: () => conn.close(),
  };
}

async function single(endpoint: Endpoint): Promise<Exchange> {
  const own = await makeClient(endpoint);
  return {
    async request(payload: Uint8Array | null): Promise<Uint8Array> {
      const response = await own.request("POST", "/", {}, payload);
      checkStatus(response.status);
      if (response.body === null) throw new Error("a response without body");
      return await response.body.bytes();
    },
    close: () => {},
  };
}

async function answerTransfer(request: Request, work: TransferWork): Promise<ResponseTuple> {
  const bytes = Number(request.path[0]);
  if (work.direction === "download") return [200, "OK", {}, makeBody(bytes, work)];
  await take(request.body, work, bytes);
  return [200, "OK", {}, null];
}

async function transfer(endpoint: Endpoint, work: TransferWork, bytes: number): Promise<void> {
  using conn = await (await makeClient(endpoint)).connect();
  if (work.direction === "download") {
    const response = await conn.get(`/${bytes}`);
    checkStatus(response.status);
    await take(response.body, work, bytes);
  } else {
    checkStatus((await conn.post(`/${bytes}`, {}, makeBody(bytes, work))).status);
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
  // A chunked body writes itself as it was encoded.
  const checker = body.chunked && work.taking === "writeTo"
    ? makeEncodedChecker(bytes, work.pieceLength)
    : new PatternChecker(bytes);
  if (work.taking === "writeTo") await body.writeTo(checker);
  else if (work.taking === "byob") await checkByReader(body.readable, checker);
  else if (work.taking === "stream") {
    for await (const piece of body.readable) checker.check(piece);
  } else if (body.chunked) {
    for await (const [, data] of body) checker.check(data);
  } else {
    for await (const piece of body) checker.check(piece);
  }
  checker.finish();
}

if (import.meta.main) await runPeer({ serve, exchange, single, transfer });
