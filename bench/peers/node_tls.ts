/**
 * The limit for encrypted connections: bytes over `node:tls` with certificates on both ends and no
 * protocol. Messages have as many bytes as Degu's, writes the same size, and are not parsed.
 */

import { once } from "node:events";
import * as tls from "node:tls";
import { makeRawRequest, makeRawResponse } from "../messages.ts";
import { formatAmount, parseAmount, PatternChecker } from "../pattern.ts";
import type { Address, Endpoint, Exchange, ExchangeWork, Handlers, TransferWork } from "../peer.ts";
import { runPeer } from "../peer.ts";
import { listen, readCertificates, send, serverCertificates, targetOf } from "./node_http.ts";

type Handler = (socket: tls.TLSSocket) => void;

function serve(endpoint: Endpoint, handle: Handler): Promise<Address> {
  const server = tls.createServer(serverCertificates(endpoint.tls!.server), (socket) => {
    socket.on("error", (error) => {
      if (!("code" in error && error.code === "ECONNRESET")) throw error;
    });
    handle(socket);
  });
  return listen(server, endpoint);
}

const handlers: Handlers<Handler> = {
  exchange: (work) => (socket) => answerExchanges(socket, work),
  transfer: (work) => (socket) => answerTransfer(socket, work),
};

/** The context of all connections, as in a program that opens many. */
let secureContext: tls.SecureContext | null = null;

async function connect(endpoint: Endpoint): Promise<tls.TLSSocket> {
  secureContext ??= tls.createSecureContext(readCertificates(endpoint.tls!.client));
  const socket = tls.connect({
    ...targetOf(endpoint),
    secureContext,
    // The authority is private: its only server certificate belongs to the server.
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
  const request = makeRawRequest(work.message), response = makeRawResponse(work.message);
  socket.setNoDelay();
  onMessages(socket, request.bytes, () => {
    response.body.set(request.body);
    // The socket keeps the given bytes until they are written, so they are copied.
    socket.write(response.bytes.slice());
  });
}

async function exchange(endpoint: Endpoint, work: ExchangeWork): Promise<Exchange> {
  const socket = await connect(endpoint);
  const request = makeRawRequest(work.message), response = makeRawResponse(work.message);
  let waiting = Promise.withResolvers<Uint8Array>();
  socket.on("error", (error) => waiting.reject(error));
  socket.on("close", () => waiting.reject(new Error("the server closed the connection")));
  onMessages(socket, response.bytes, () => waiting.resolve(response.body));
  return {
    request(payload: Uint8Array | null): Promise<Uint8Array> {
      waiting = Promise.withResolvers();
      if (payload !== null) request.body.set(payload);
      socket.write(request.bytes.slice());
      return waiting.promise;
    },
    close: () => void socket.destroy(),
  };
}

function answerTransfer(socket: tls.TLSSocket, work: TransferWork): void {
  // A record arrives whole, so the first piece holds the amount, and perhaps bytes of the body.
  socket.once("data", async (piece: Uint8Array) => {
    const bytes = parseAmount(piece);
    if (work.direction === "download") return await send(socket, bytes, work);
    await receive(socket, piece.subarray(formatAmount(bytes).length), bytes);
    // The byte confirms the upload; a failed upload gets no answer.
    socket.write(new Uint8Array(1));
  });
}

async function transfer(endpoint: Endpoint, work: TransferWork, bytes: number): Promise<void> {
  const socket = await connect(endpoint);
  try {
    socket.write(formatAmount(bytes));
    if (work.direction === "download") {
      await receive(socket, new Uint8Array(), bytes);
    } else {
      const answered = once(socket, "data");
      await send(socket, bytes, work);
      await answered;
    }
  } finally {
    socket.destroy();
  }
}

/** Checks `first` and the pieces that arrive, until `bytes` have come. */
function receive(socket: tls.TLSSocket, first: Uint8Array, bytes: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const checker = new PatternChecker(bytes);
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

if (import.meta.main) await runPeer({ serve, handlers, exchange, transfer });
