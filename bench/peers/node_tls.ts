/**
 * The limit for encrypted connections: bytes over `node:tls` with certificates on both ends and no
 * protocol. The same number of bytes per message as Degu, the same size of writes, and no parsing.
 *
 * @module
 */

import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import * as tls from "node:tls";
import { answerBody, requestPreamble, responsePreamble } from "../messages.ts";
import { PatternChecker, PatternSource } from "../pattern.ts";
import type { Endpoint, Exchange, ExchangeWork, ServerWork, TransferWork } from "../peer.ts";
import { runPeer } from "../peer.ts";

/** A transfer starts with the number of its bytes. */
const prefixLength = 8;
const accepted = 1;

async function serve(endpoint: Endpoint, work: ServerWork): Promise<Endpoint> {
  if (endpoint.tls === undefined) throw new Error("an endpoint without certificates");
  const server = tls.createServer({
    cert: readFileSync(endpoint.tls.server.certFile),
    key: readFileSync(endpoint.tls.server.keyFile),
    ca: readFileSync(endpoint.tls.server.caFile),
    requestCert: true,
    rejectUnauthorized: true,
  }, makeHandler(work));
  if (endpoint.transport === "unix") {
    server.listen(endpoint.path);
    await once(server, "listening");
    return endpoint;
  }
  server.listen(endpoint.port, endpoint.hostname);
  await once(server, "listening");
  return { ...endpoint, port: (server.address() as AddressInfo).port };
}

function makeHandler(work: ServerWork): (socket: tls.TLSSocket) => void {
  switch (work.kind) {
    case "exchange":
      return (socket) => answerExchanges(socket, work);
    case "transfer":
      return (socket) => answerTransfer(socket, work);
    default:
      throw new Error(`raw TLS is not measured with ${work.kind}`);
  }
}

/** Kept for every connection, as a program does that makes many. */
let secureContext: tls.SecureContext | null = null;

async function connect(endpoint: Endpoint): Promise<tls.TLSSocket> {
  if (endpoint.tls === undefined) throw new Error("an endpoint without certificates");
  secureContext ??= tls.createSecureContext({
    cert: readFileSync(endpoint.tls.client.certFile),
    key: readFileSync(endpoint.tls.client.keyFile),
    ca: readFileSync(endpoint.tls.client.caFile),
  });
  const target = endpoint.transport === "unix"
    ? { path: endpoint.path }
    : { host: endpoint.hostname, port: endpoint.port };
  const socket = tls.connect({
    ...target,
    secureContext,
    // The authority is private: whoever has a certificate of it is the server.
    checkServerIdentity: () => undefined,
  });
  await once(socket, "secureConnect");
  socket.setNoDelay();
  return socket;
}

/** Calls `handle` with every run of `into.length` bytes that arrives, in `into`. */
function onMessages(socket: tls.TLSSocket, into: Uint8Array, handle: () => void): void {
  let filled = 0;
  socket.on("data", (piece: Uint8Array) => {
    while (piece.length > 0) {
      const part = piece.subarray(0, into.length - filled);
      into.set(part, filled);
      filled += part.length;
      piece = piece.subarray(part.length);
      if (filled < into.length) return;
      filled = 0;
      handle();
    }
  });
}

function answerExchanges(socket: tls.TLSSocket, work: ExchangeWork): void {
  const bodyLength = work.message === "post" ? answerBody.length : 0;
  const preamble = responsePreamble(work.message);
  const request = new Uint8Array(requestPreamble(work.message).length + bodyLength);
  const body = request.subarray(request.length - bodyLength);
  socket.setNoDelay();
  socket.on("error", ignoreReset);
  onMessages(socket, request, () => {
    // A fresh buffer: the socket keeps what it is given until it is written.
    const response = new Uint8Array(preamble.length + bodyLength);
    response.set(preamble);
    response.set(body, preamble.length);
    socket.write(response);
  });
}

function ignoreReset(error: Error): void {
  if (!("code" in error && error.code === "ECONNRESET")) throw error;
}

async function exchange(endpoint: Endpoint, work: ExchangeWork): Promise<Exchange> {
  const socket = await connect(endpoint);
  const bodyLength = work.message === "post" ? answerBody.length : 0;
  const preamble = requestPreamble(work.message);
  const response = new Uint8Array(responsePreamble(work.message).length + bodyLength);
  const body = response.subarray(response.length - bodyLength);
  let waiting = Promise.withResolvers<Uint8Array>();
  socket.on("error", (error) => waiting.reject(error));
  socket.on("close", () => waiting.reject(new Error("the server closed the connection")));
  onMessages(socket, response, () => waiting.resolve(body));
  return {
    request(payload: Uint8Array | null): Promise<Uint8Array> {
      waiting = Promise.withResolvers();
      const request = new Uint8Array(preamble.length + bodyLength);
      request.set(preamble);
      if (payload !== null) request.set(payload, preamble.length);
      socket.write(request);
      return waiting.promise;
    },
    close: () => void socket.destroy(),
  };
}

function answerTransfer(socket: tls.TLSSocket, work: TransferWork): void {
  socket.on("error", ignoreReset);
  // A record arrives whole, so the first piece holds the prefix, and perhaps bytes of the body.
  socket.once("data", async (piece: Uint8Array) => {
    const view = new DataView(piece.buffer, piece.byteOffset, prefixLength);
    const bytes = Number(view.getBigUint64(0));
    if (work.direction === "download") {
      await send(socket, new PatternSource(bytes), work.pieceLength);
    } else {
      await receive(socket, piece.subarray(prefixLength), bytes, new PatternChecker(bytes));
      socket.write(Uint8Array.of(accepted));
    }
  });
}

async function transfer(endpoint: Endpoint, work: TransferWork, bytes: number): Promise<void> {
  const socket = await connect(endpoint);
  try {
    const prefix = new Uint8Array(prefixLength);
    new DataView(prefix.buffer).setBigUint64(0, BigInt(bytes));
    socket.write(prefix);
    if (work.direction === "download") {
      await receive(socket, new Uint8Array(), bytes, new PatternChecker(bytes));
    } else {
      const answered = once(socket, "data");
      await send(socket, new PatternSource(bytes), work.pieceLength);
      const [answer]: Uint8Array[] = await answered;
      if (answer?.[0] !== accepted) throw new Error("the server did not accept the upload");
    }
  } finally {
    socket.destroy();
  }
}

async function send(
  socket: tls.TLSSocket,
  source: PatternSource,
  pieceLength: number,
): Promise<void> {
  for (const piece of source.pieces(pieceLength)) {
    if (!socket.write(piece)) await once(socket, "drain");
  }
}

/** Checks `first` and then what arrives, until `bytes` have come. */
function receive(
  socket: tls.TLSSocket,
  first: Uint8Array,
  bytes: number,
  checker: PatternChecker,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let received = 0;
  const take = (piece: Uint8Array) => {
    try {
      checker.check(piece);
      received += piece.length;
      if (received < bytes) return;
      socket.off("data", take);
      checker.finish();
      resolve();
    } catch (error) {
      reject(error);
    }
  };
  socket.on("error", reject);
  socket.on("close", () => reject(new Error("the peer closed inside a transfer")));
  socket.on("data", take);
  take(first);
  return promise;
}

if (import.meta.main) await runPeer({ serve, exchange, transfer });
