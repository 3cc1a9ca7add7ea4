/** `node:http` and, if the endpoint has certificates, `node:https`, with an agent that keeps its connection. */

import { once } from "node:events";
import * as http from "node:http";
import * as https from "node:https";
import { readFileSync } from "node:fs";
import type { AddressInfo, Server } from "node:net";
import { Buffer } from "node:buffer";
import * as messages from "../messages.ts";
import { PatternChecker, PatternSource } from "../pattern.ts";
import type {
  CertificateFiles,
  Endpoint,
  Exchange,
  ExchangeWork,
  ServerWork,
  TransferWork,
} from "../peer.ts";
import { hostname, runPeer } from "../peer.ts";

type Handler = (request: http.IncomingMessage, response: http.ServerResponse) => void;

export function readCertificates({ certFile, keyFile, caFile }: CertificateFiles) {
  return { cert: readFileSync(certFile), key: readFileSync(keyFile), ca: readFileSync(caFile) };
}

/** What a server needs to ask its clients for a certificate. */
export function serverCertificates(files: CertificateFiles) {
  return { ...readCertificates(files), requestCert: true, rejectUnauthorized: true };
}

export function targetOf({ address }: Endpoint) {
  return typeof address === "string"
    ? { path: address, socketPath: address }
    : { host: hostname, port: address };
}

export async function listen(server: Server, endpoint: Endpoint): Promise<Endpoint> {
  server.listen(targetOf(endpoint));
  await once(server, "listening");
  const bound = server.address() as AddressInfo | string;
  return { ...endpoint, address: typeof bound === "string" ? bound : bound.port };
}

function serve(endpoint: Endpoint, work: ServerWork): Promise<Endpoint> {
  const handler = makeHandler(work);
  const server = endpoint.tls === undefined
    ? http.createServer(handler)
    : https.createServer(serverCertificates(endpoint.tls.server), handler);
  return listen(server, endpoint);
}

function makeHandler(work: ServerWork): Handler {
  switch (work.kind) {
    case "exchange":
      return work.message === "post" ? echo : answerHeaders;
    case "transfer":
      return (request, response) => answerTransfer(request, response, work);
    case "answer":
      return (_request, response) => {
        const { answerBody } = messages;
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
  } else {
    await take(request, bytes);
    response.writeHead(200, { "content-length": 0 }).end();
  }
}

/** @param keepAlive Whether a connection is for more than one message, and its session for more than one connection. */
function makeOpener(endpoint: Endpoint, keepAlive = true) {
  const target = targetOf(endpoint);
  const agent = endpoint.tls === undefined
    ? new http.Agent({ keepAlive, maxSockets: 1 })
    : new https.Agent({
      keepAlive,
      ...(keepAlive ? {} : { maxCachedSessions: 0 }),
      maxSockets: 1,
      ...readCertificates(endpoint.tls.client),
      // The authority is private: whoever has a certificate of it is the server.
      checkServerIdentity: () => undefined,
    });
  const { request } = endpoint.tls === undefined ? http : https;
  return {
    request: (method: string, path: string, headers: http.OutgoingHttpHeaders) =>
      request({ ...target, agent, method, path, headers }),
    close: () => agent.destroy(),
  };
}

function exchange(endpoint: Endpoint, work: ExchangeWork): Promise<Exchange> {
  const opener = makeOpener(endpoint, !work.single);
  const [method, headers] = work.message === "headers"
    ? ["GET", messages.requestHeaders]
    : ["POST", { "content-length": messages.payloadLength }];
  return Promise.resolve({
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
    else await send(request, bytes, work);
    const [response]: http.IncomingMessage[] = await answered;
    messages.checkStatus(response?.statusCode);
    await take(response!, download ? bytes : 0);
  } finally {
    opener.close();
  }
}

async function send(
  message: http.OutgoingMessage,
  bytes: number,
  { pieceLength }: TransferWork,
): Promise<void> {
  for (const piece of new PatternSource(bytes).pieces(pieceLength)) {
    if (!message.write(piece)) await once(message, "drain");
  }
  message.end();
}

async function take(message: http.IncomingMessage, bytes: number): Promise<void> {
  const checker = new PatternChecker(bytes);
  message.on("data", (piece: Uint8Array) => checker.check(piece));
  await once(message, "end");
  checker.finish();
}

if (import.meta.main) await runPeer({ serve, exchange, opensForEach: true, transfer });
