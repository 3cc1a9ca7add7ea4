/**
 * `node:http` and, if the endpoint has certificates, `node:https`, with an agent that keeps its
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
import type {
  Address,
  CertificateFiles,
  Endpoint,
  Exchange,
  ExchangeWork,
  Handlers,
  TransferWork,
} from "../peer.ts";
import { hostname, runPeer } from "../peer.ts";

type Handler = (request: http.IncomingMessage, response: http.ServerResponse) => void;

export function readCertificates({ certFile, keyFile, caFile }: CertificateFiles) {
  return { cert: readFileSync(certFile), key: readFileSync(keyFile), ca: readFileSync(caFile) };
}

/** Returns the options with which a server requests certificates of its clients. */
export function serverCertificates(files: CertificateFiles) {
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
  const bound = server.address() as AddressInfo | string;
  return typeof bound === "string" ? bound : bound.port;
}

function serve(endpoint: Endpoint, handler: Handler): Promise<Address> {
  const server = endpoint.tls === undefined
    ? http.createServer(handler)
    : https.createServer(serverCertificates(endpoint.tls.server), handler);
  return listen(server, endpoint);
}

const handlers: Handlers<Handler> = {
  exchange: ({ message }) => message === "post" ? echo : answerHeaders,
  transfer: (work) => (request, response) => answerTransfer(request, response, work),
  answer: () => (_request, response) => answer(response, messages.answerBody),
};

function answer(response: http.ServerResponse, body: Uint8Array): void {
  response.writeHead(200, { "content-length": body.length }).end(body);
}

function echo(request: http.IncomingMessage, response: http.ServerResponse): void {
  collect(request, (body) => answer(response, body));
}

function collect(message: http.IncomingMessage, onBody: (body: Uint8Array) => void): void {
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
  const bytes = Number(request.url?.slice(1));
  if (work.direction === "download") {
    response.writeHead(200, work.framing === "length" ? { "content-length": bytes } : {});
    await send(response, bytes, work);
    response.end();
  } else {
    await take(request, bytes);
    response.writeHead(200, { "content-length": 0 }).end();
  }
}

/**
 * @param keepAlive Whether a connection is for several messages, and its session for several
 * connections.
 */
function makeOpener(endpoint: Endpoint, keepAlive = true) {
  const target = targetOf(endpoint);
  const options = { keepAlive, maxSockets: 1 };
  const agent = endpoint.tls === undefined ? new http.Agent(options) : new https.Agent({
    ...options,
    ...(keepAlive ? {} : { maxCachedSessions: 0 }),
    ...readCertificates(endpoint.tls.client),
    // The authority is private: its only server certificate belongs to the server.
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
  const opener = makeOpener(endpoint, !work.single);
  const [method, headers] = work.message === "headers"
    ? ["GET", messages.requestHeaders]
    : ["POST", { "content-length": messages.payloadLength }];
  return {
    request(payload: Uint8Array | null): Promise<Uint8Array> {
      const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
      const request = opener.request(method, "/", headers);
      request.on("error", reject);
      request.on("response", (response: http.IncomingMessage) => {
        try {
          messages.checkStatus(response.statusCode);
          if (payload === null) messages.checkHeader(response.headers[messages.checkedHeader]);
          response.on("error", reject);
          collect(response, resolve);
        } catch (error) {
          reject(error);
        }
      });
      request.end(payload ?? undefined);
      return promise;
    },
    close: opener.close,
  };
}

async function transfer(endpoint: Endpoint, work: TransferWork, bytes: number): Promise<void> {
  const opener = makeOpener(endpoint);
  try {
    const download = work.direction === "download";
    const headers = !download && work.framing === "length" ? { "content-length": bytes } : {};
    const request = opener.request(download ? "GET" : "POST", `/${bytes}`, headers);
    const answered = once(request, "response");
    if (!download) await send(request, bytes, work);
    request.end();
    const [response]: http.IncomingMessage[] = await answered;
    messages.checkStatus(response?.statusCode);
    await take(response!, download ? bytes : 0);
  } finally {
    opener.close();
  }
}

export async function send(to: Writable, bytes: number, work: TransferWork): Promise<void> {
  for (const piece of new PatternSource(bytes).pieces(work.pieceLength)) {
    if (!to.write(piece)) await once(to, "drain");
  }
}

async function take(message: http.IncomingMessage, bytes: number): Promise<void> {
  const checker = new PatternChecker(bytes);
  message.on("data", (piece: Uint8Array) => checker.check(piece));
  await once(message, "end");
  checker.finish();
}

if (import.meta.main) await runPeer({ serve, handlers, exchange, opensForEach: true, transfer });
