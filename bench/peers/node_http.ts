/**
 * `node:http` or, if the endpoint has certificates, `node:https`, with an agent that reuses its
 * connection.
 */

import { once } from "node:events";
import * as http from "node:http";
import * as https from "node:https";
import { readFileSync } from "node:fs";
import type { AddressInfo, Server } from "node:net";
import type { Writable } from "node:stream";
import { Buffer } from "node:buffer";
import * as messages from "../messages.ts";
import { PatternChecker, PatternSource } from "../pattern.ts";
import {
  type Address,
  type CertificateFiles,
  type Endpoint,
  type Exchange,
  type ExchangeWork,
  type Handlers,
  hostname,
  runPeer,
  type TransferWork,
} from "../peer.ts";
type Handler = (request: http.IncomingMessage, response: http.ServerResponse) => void;

export function readCertificates({ certFile, keyFile, caFile }: CertificateFiles) {
  return { cert: readFileSync(certFile), key: readFileSync(keyFile), ca: readFileSync(caFile) };
}

/** Returns the options of a server that requests client certificates. */
export function readServerCertificates(files: CertificateFiles) {
  return { ...readCertificates(files), requestCert: true, rejectUnauthorized: true };
}

export function targetOf({ address }: Endpoint) {
  return typeof address === "string"
    ? { path: address, socketPath: address }
    : { host: hostname, port: address };
}

export async function listen(server: Server, endpoint: Endpoint): Promise<Address> {
  server.listen(targetOf(endpoint));
  await once(server, "listening");
  const boundAddress = server.address() as AddressInfo | string;
  return typeof boundAddress === "string" ? boundAddress : boundAddress.port;
}

function serve(endpoint: Endpoint, handler: Handler): Promise<Address> {
  const server = endpoint.tls === undefined
    ? http.createServer(handler)
    : https.createServer(readServerCertificates(endpoint.tls.server), handler);
  return listen(server, endpoint);
}

const handlers: Handlers<Handler> = {
  exchange: ({ message }) => message === "post" ? echo : answerHeaders,
  transfer: (work) => (request, response) => answerTransfer(request, response, work),
  hello: () => (_request, response) => {
    response.writeHead(200, { "content-type": "text/plain" }).end(messages.helloText);
  },
};

function respond(response: http.ServerResponse, body: Uint8Array): void {
  response.writeHead(200, { "content-length": body.length }).end(body);
}

function echo(request: http.IncomingMessage, response: http.ServerResponse): void {
  collectBody(request, (body) => respond(response, body));
}

function collectBody(message: http.IncomingMessage, onBody: (body: Uint8Array) => void): void {
  const pieces: Buffer[] = [];
  message.on("data", (piece: Buffer) => pieces.push(piece));
  message.on("end", () => {
    onBody(pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces));
  });
}

function answerHeaders(request: http.IncomingMessage, response: http.ServerResponse): void {
  messages.checkHeader(request.headers[messages.checkedHeader]);
  response.writeHead(200, { ...messages.responseHeaders, "content-length": 0 }).end();
}

async function answerTransfer(
  request: http.IncomingMessage,
  response: http.ServerResponse,
  work: TransferWork,
): Promise<void> {
  const bodyLength = Number(request.url?.slice(1));
  if (work.direction === "download") {
    response.writeHead(200, work.framing === "length" ? { "content-length": bodyLength } : {});
    await sendBody(response, bodyLength, work);
    response.end();
  } else {
    await checkBody(request, bodyLength);
    response.writeHead(200, { "content-length": 0 }).end();
  }
}

/**
 * Makes a client with one connection at a time.
 *
 * @param keepAlive Whether a connection is reused for several messages, and a TLS session for
 * several connections.
 */
function makeRequester(endpoint: Endpoint, keepAlive = true) {
  const target = targetOf(endpoint);
  const options = { keepAlive, maxSockets: 1 };
  const agent = endpoint.tls === undefined ? new http.Agent(options) : new https.Agent({
    ...options,
    ...(keepAlive ? {} : { maxCachedSessions: 0 }),
    ...readCertificates(endpoint.tls.client),
    // Don't check the name: the private authority has issued only one server certificate.
    checkServerIdentity: () => undefined,
  });
  const { request } = endpoint.tls === undefined ? http : https;
  return {
    request: (method: string, path: string, headers: http.OutgoingHttpHeaders) =>
      request({ ...target, agent, method, path, headers }),
    close: () => agent.destroy(),
  };
}

function exchange(endpoint: Endpoint, work: ExchangeWork): Exchange {
  const requester = makeRequester(endpoint, !work.connectsPerMessage);
  const [method, headers] = work.message === "headers"
    ? ["GET", messages.requestHeaders]
    : ["POST", { "content-length": messages.payloadLength }];
  return {
    request(payload: Uint8Array | null): Promise<Uint8Array> {
      const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
      const request = requester.request(method, "/", headers);
      request.on("error", reject);
      request.on("response", (response: http.IncomingMessage) => {
        try {
          messages.checkStatus(response.statusCode);
          if (payload === null) messages.checkHeader(response.headers[messages.checkedHeader]);
          response.on("error", reject);
          collectBody(response, resolve);
        } catch (error) {
          reject(error);
        }
      });
      request.end(payload ?? undefined);
      return promise;
    },
    close: requester.close,
  };
}

async function transfer(endpoint: Endpoint, work: TransferWork, bodyLength: number): Promise<void> {
  const requester = makeRequester(endpoint);
  try {
    const isDownload = work.direction === "download";
    const headers = !isDownload && work.framing === "length"
      ? { "content-length": bodyLength }
      : {};
    const request = requester.request(isDownload ? "GET" : "POST", `/${bodyLength}`, headers);
    const responseReceived = once(request, "response");
    if (!isDownload) await sendBody(request, bodyLength, work);
    request.end();
    const [response]: http.IncomingMessage[] = await responseReceived;
    messages.checkStatus(response?.statusCode);
    await checkBody(response!, isDownload ? bodyLength : 0);
  } finally {
    requester.close();
  }
}

export async function sendBody(
  stream: Writable,
  bodyLength: number,
  work: TransferWork,
): Promise<void> {
  for (const piece of new PatternSource(bodyLength).pieces(work.pieceLength)) {
    if (!stream.write(piece)) await once(stream, "drain");
  }
}

async function checkBody(message: http.IncomingMessage, bodyLength: number): Promise<void> {
  const checker = new PatternChecker(bodyLength);
  message.on("data", (piece: Uint8Array) => checker.check(piece));
  await once(message, "end");
  checker.checkLength();
}

if (import.meta.main) {
  await runPeer({ serve, handlers, exchange, supportsConnectPerMessage: true, transfer });
}
