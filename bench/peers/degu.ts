/**
 * This project's client and server.
 *
 * @module
 */

import type { Address, BodyOut, Chunk } from "../../base.ts";
import { Body, BodyIter, ChunkedBody, ChunkedBodyIter } from "../../base.ts";
import { Client } from "../../client.ts";
import type { App, Request, ResponseTuple, ServerOptions } from "../../server.ts";
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
import type { Progress } from "../pattern.ts";
import type { Exchange, Transfer } from "../peer.ts";
import { runPeer } from "../peer.ts";
import type { Endpoint, ExchangeWork, ServerWork, TransferWork } from "../work.ts";

const serverOptions = { maxConnections: 2048, maxRequests: Infinity, timeout: 30 };

async function serve(endpoint: Endpoint, work: ServerWork): Promise<Endpoint> {
  const address = toAddress(endpoint);
  const app = await makeApp(work);
  const options = { ...serverOptions, onExchange: await makeObserver(work) };
  const server = endpoint.tls === undefined
    ? new Server(address, app, options)
    : (await import("./degu_tls.ts")).makeServer(endpoint.tls, address, app, options);
  await server.ready;
  server.serveForever();
  return fromAddress(server.address, endpoint);
}

async function makeObserver(work: ServerWork): Promise<ServerOptions["onExchange"]> {
  const observer = "observer" in work ? work.observer : undefined;
  if (observer === undefined) return undefined;
  let observed = 0;
  if (observer === "onExchange") {
    return ({ status, requestBytes, responseBytes }) => {
      observed += (status ?? 0) + requestBytes + responseBytes;
      if (Number.isNaN(observed)) throw new Error("an exchange without figures");
    };
  }
  const { accessLog } = await import("../../apps/access_log.ts");
  return accessLog((line) => {
    observed += line.length;
  });
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
    case "file": {
      const { FilesApp } = await import("../../files.ts");
      return new FilesApp(work.directory);
    }
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
  const progress = { position: 0 };
  if (work.direction === "download") {
    return [200, "OK", {}, makeBody(new PatternSource(bytes, progress), work)];
  }
  await take(request.body, work, bytes, progress);
  return [200, "OK", {}, null];
}

async function transfer(endpoint: Endpoint, work: Transfer): Promise<void> {
  using conn = await (await makeClient(endpoint)).connect();
  if (work.direction === "download") {
    const response = await conn.get(work.uri);
    checkStatus(response.status);
    await take(response.body, work, work.bytes, work.progress);
  } else {
    const source = new PatternSource(work.bytes, work.progress);
    const response = await conn.post(work.uri, {}, makeBody(source, work));
    checkStatus(response.status);
  }
}

function makeBody(source: PatternSource, work: TransferWork): BodyOut {
  if (work.framing === "chunked") return new ChunkedBodyIter(makeChunks(source, work.pieceLength));
  return work.origin === "source"
    ? new Body(source, source.total)
    : new BodyIter(source.pieces(work.pieceLength), source.total);
}

function* makeChunks(source: PatternSource, length: number): Generator<Chunk, void, undefined> {
  for (const piece of source.pieces(length)) yield [null, piece];
  yield [null, new Uint8Array()];
}

async function take(
  body: BodyOut,
  work: TransferWork,
  bytes: number,
  progress: Progress,
): Promise<void> {
  if (!(body instanceof Body || body instanceof ChunkedBody)) {
    throw new Error("a message without a body to stream");
  }
  if (work.taking === "writeTo") {
    // A chunked body writes itself as it was encoded.
    const checker = body.chunked
      ? makeEncodedChecker(bytes, work.pieceLength, progress)
      : new PatternChecker(bytes, progress);
    await body.writeTo(checker);
    checker.finish();
    return;
  }
  const checker = new PatternChecker(bytes, progress);
  switch (work.taking) {
    case "byob":
      await checkByReader(body.readable, checker);
      break;
    case "stream":
      for await (const piece of body.readable) checker.check(piece);
      break;
    case "iterate":
      if (body.chunked) { for await (const [, data] of body) checker.check(data); }
      else for await (const piece of body) checker.check(piece);
      break;
  }
  checker.finish();
}

if (import.meta.main) await runPeer({ serve, exchange, single, transfer });
