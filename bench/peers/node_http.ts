/**
 * `node:http` and, if the endpoint has certificates, `node:https`, with an agent that keeps its connection.
 *
 * @module
 */

import { once } from "node:events";
import * as http from "node:http";
import * as https from "node:https";
import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { Buffer } from "node:buffer";
import {
  answerBody,
  checkedHeader,
  checkHeader,
  checkStatus,
  requestHeaders,
  responseHeaders,
} from "../messages.ts";
import { PatternChecker, PatternSource } from "../pattern.ts";
import type { Endpoint, Exchange, ExchangeWork, ServerWork, TransferWork } from "../peer.ts";
import { runPeer } from "../peer.ts";

type Handler = (request: http.IncomingMessage, response: http.ServerResponse) => void;

async function serve(endpoint: Endpoint, work: ServerWork): Promise<Endpoint> {
  const handler = makeHandler(work);
  const server = endpoint.tls === undefined ? http.createServer(handler) : https.createServer({
    cert: readFileSync(endpoint.tls.server.certFile),
    key: readFileSync(endpoint.tls.server.keyFile),
    ca: readFileSync(endpoint.tls.server.caFile),
    requestCert: true,
    rejectUnauthorized: true,
  }, handler);
  if (endpoint.transport === "unix") {
    server.listen(endpoint.path);
    await once(server, "listening");
    return endpoint;
  }
  server.listen(endpoint.port, endpoint.hostname);
  await once(server, "listening");
  return { ...endpoint, port: (server.address() as AddressInfo).port };
}

function makeHandler(work: ServerWork): Handler {
  switch (work.kind) {
    case "exchange":
      return work.message === "post" ? echo : answerHeaders;
    case "transfer":
      return (request, response) => answerTransfer(request, response, work);
    case "answer":
      return (_request, response) => {
        response.writeHead(200, { "content-length": answerBody.length }).end(answerBody);
      };
    default:
      throw new Error(`node:http is not measured with ${work.kind}`);
  }
}

function echo(request: http.IncomingMessage, response: http.ServerResponse): void {
  collect(request, (body) => response.writeHead(200, { "content-length": body.length }).end(body));
}

function collect(message: http.IncomingMessage, done: (body: Uint8Array) => void): void {
  const pieces: Buffer[] = [];
  message.on("data", (piece: Buffer) => pieces.push(piece));
  message.on("end", () => {
    const [first] = pieces;
    done(pieces.length === 1 && first !== undefined ? first : Buffer.concat(pieces));
  });
}

function answerHeaders(request: http.IncomingMessage, response: http.ServerResponse): void {
  checkHeader(request.headers[checkedHeader]);
  response.writeHead(200, { ...responseHeaders, "content-length": 0 }).end();
}

async function answerTransfer(
  request: http.IncomingMessage,
  response: http.ServerResponse,
  work: TransferWork,
): Promise<void> {
  const bytes = Number(request.url?.slice(1));
  if (work.direction === "download") {
    response.writeHead(200, work.framing === "length" ? { "content-length": bytes } : {});
    await send(response, new PatternSource(bytes), work.pieceLength);
  } else {
    await take(request, new PatternChecker(bytes));
    response.writeHead(200, { "content-length": 0 }).end();
  }
}

interface Opener {
  request(method: string, path: string, headers: http.OutgoingHttpHeaders): http.ClientRequest;
  close(): void;
}

/** @param keepAlive Whether a connection is for more than one message, and its session for more than one connection. */
function makeOpener(endpoint: Endpoint, keepAlive = true): Opener {
  const target = endpoint.transport === "unix"
    ? { socketPath: endpoint.path }
    : { host: endpoint.hostname, port: endpoint.port };
  const agent = endpoint.tls === undefined
    ? new http.Agent({ keepAlive, maxSockets: 1 })
    : new https.Agent({
      keepAlive,
      ...(keepAlive ? {} : { maxCachedSessions: 0 }),
      maxSockets: 1,
      cert: readFileSync(endpoint.tls.client.certFile),
      key: readFileSync(endpoint.tls.client.keyFile),
      ca: readFileSync(endpoint.tls.client.caFile),
      // The authority is private: whoever has a certificate of it is the server.
      checkServerIdentity: () => undefined,
    });
  const { request } = endpoint.tls === undefined ? http : https;
  return {
    request: (method, path, headers) => request({ ...target, agent, method, path, headers }),
    close: () => agent.destroy(),
  };
}

function exchange(endpoint: Endpoint, work: ExchangeWork): Promise<Exchange> {
  const opener = makeOpener(endpoint, work.single !== true);
  const headers = work.message === "headers" ? requestHeaders : { "content-length": 108 };
  const method = work.message === "headers" ? "GET" : "POST";
  return Promise.resolve({
    request(payload: Uint8Array | null): Promise<Uint8Array> {
      const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
      const request = opener.request(method, "/", headers);
      request.on("error", reject);
      request.on("response", (response: http.IncomingMessage) => {
        try {
          checkStatus(response.statusCode ?? 0);
          if (work.message === "headers") checkHeader(response.headers[checkedHeader]);
          response.on("error", reject);
          collect(response, resolve);
        } catch (error) {
          reject(error);
        }
      });
      request.end(payload ?? undefined);
      return promise;
    },
    close: () => opener.close(),
  });
}

async function transfer(endpoint: Endpoint, work: TransferWork, bytes: number): Promise<void> {
  const opener = makeOpener(endpoint);
  try {
    const download = work.direction === "download";
    const headers = !download && work.framing === "length" ? { "content-length": bytes } : {};
    const request = opener.request(download ? "GET" : "POST", `/${bytes}`, headers);
    const answered = once(request, "response");
    if (download) request.end();
    else await send(request, new PatternSource(bytes), work.pieceLength);
    const [response]: http.IncomingMessage[] = await answered;
    if (response === undefined) throw new Error("no response");
    checkStatus(response.statusCode ?? 0);
    await take(response, new PatternChecker(download ? bytes : 0));
  } finally {
    opener.close();
  }
}

async function send(
  message: http.OutgoingMessage,
  source: PatternSource,
  length: number,
): Promise<void> {
  for (const piece of source.pieces(length)) {
    if (!message.write(piece)) await once(message, "drain");
  }
  message.end();
}

async function take(message: http.IncomingMessage, checker: PatternChecker): Promise<void> {
  message.on("data", (piece: Uint8Array) => checker.check(piece));
  await once(message, "end");
  checker.finish();
}

if (import.meta.main) await runPeer({ serve, exchange, single: exchange, transfer });
