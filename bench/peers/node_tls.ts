/**
 * The upper limit for encrypted connections: bytes over `node:tls` with certificates on both ends,
 * without a protocol. Messages and writes have the same length as Degu's. Messages are not parsed.
 */

import { once } from "node:events";
import * as tls from "node:tls";
import { makeRawRequest, makeRawResponse } from "../messages.ts";
import { formatAmount, parseAmount, PatternChecker } from "../pattern.ts";
import {
  type Address,
  type Endpoint,
  type Exchange,
  type ExchangeWork,
  type Handlers,
  runPeer,
  type TransferWork,
} from "../peer.ts";
import {
  listen,
  readCertificates,
  readServerCertificates,
  sendBody,
  targetOf,
} from "./node_http.ts";

type Handler = (socket: tls.TLSSocket) => void;

function serve(endpoint: Endpoint, handle: Handler): Promise<Address> {
  const server = tls.createServer(readServerCertificates(endpoint.tls!.server), (socket) => {
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

/** The context of all connections, as in a program that opens many connections. */
let secureContext: tls.SecureContext | null = null;

async function connect(endpoint: Endpoint): Promise<tls.TLSSocket> {
  secureContext ??= tls.createSecureContext(readCertificates(endpoint.tls!.client));
  const socket = tls.connect({
    ...targetOf(endpoint),
    secureContext,
    // Don't check the name: the private authority has issued only one server certificate.
    checkServerIdentity: () => undefined,
  });
  await once(socket, "secureConnect");
  socket.setNoDelay();
  return socket;
}

/** Fills `message` with arriving bytes, and calls `onMessage` each time that it is full. */
function onMessages(socket: tls.TLSSocket, message: Uint8Array, onMessage: () => void): void {
  let filledLength = 0;
  socket.on("data", (piece: Uint8Array) => {
    while (piece.length > 0) {
      const part = piece.subarray(0, message.length - filledLength);
      message.set(part, filledLength);
      filledLength += part.length;
      piece = piece.subarray(part.length);
      if (filledLength < message.length) return;
      filledLength = 0;
      onMessage();
    }
  });
}

function answerExchanges(socket: tls.TLSSocket, work: ExchangeWork): void {
  const request = makeRawRequest(work.message), response = makeRawResponse(work.message);
  socket.setNoDelay();
  onMessages(socket, request.bytes, () => {
    response.body.set(request.body);
    // Copy the bytes, because the socket uses them until they are written.
    socket.write(response.bytes.slice());
  });
}

async function exchange(endpoint: Endpoint, work: ExchangeWork): Promise<Exchange> {
  const socket = await connect(endpoint);
  const request = makeRawRequest(work.message), response = makeRawResponse(work.message);
  let pendingResponse = Promise.withResolvers<Uint8Array>();
  socket.on("error", (error) => pendingResponse.reject(error));
  socket.on("close", () => pendingResponse.reject(new Error("the server closed the connection")));
  onMessages(socket, response.bytes, () => pendingResponse.resolve(response.body));
  return {
    request(payload: Uint8Array | null): Promise<Uint8Array> {
      pendingResponse = Promise.withResolvers();
      if (payload !== null) request.body.set(payload);
      socket.write(request.bytes.slice());
      return pendingResponse.promise;
    },
    close: () => void socket.destroy(),
  };
}

function answerTransfer(socket: tls.TLSSocket, work: TransferWork): void {
  // A TLS record arrives whole, so the first piece contains the number of bytes, and may contain
  // bytes of the body.
  socket.once("data", async (piece: Uint8Array) => {
    const bodyLength = parseAmount(piece);
    if (work.direction === "download") return await sendBody(socket, bodyLength, work);
    await receive(socket, piece.subarray(formatAmount(bodyLength).length), bodyLength);
    // Confirm the upload with a byte. A failed upload isn't confirmed.
    socket.write(new Uint8Array(1));
  });
}

async function transfer(endpoint: Endpoint, work: TransferWork, bodyLength: number): Promise<void> {
  const socket = await connect(endpoint);
  try {
    socket.write(formatAmount(bodyLength));
    if (work.direction === "download") {
      await receive(socket, new Uint8Array(), bodyLength);
    } else {
      const uploadConfirmed = once(socket, "data");
      await sendBody(socket, bodyLength, work);
      await uploadConfirmed;
    }
  } finally {
    socket.destroy();
  }
}

/** Checks `prefix` and the pieces that arrive, until the whole body is received. */
function receive(socket: tls.TLSSocket, prefix: Uint8Array, bodyLength: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const checker = new PatternChecker(bodyLength);
  let receivedLength = 0;
  const onData = (piece: Uint8Array) => {
    try {
      checker.check(piece);
      receivedLength += piece.length;
      if (receivedLength < bodyLength) return;
      socket.off("data", onData);
      checker.checkLength();
      resolve();
    } catch (error) {
      reject(error);
    }
  };
  socket.on("error", reject);
  socket.on("close", () => reject(new Error("the peer closed the connection during a transfer")));
  socket.on("data", onData);
  onData(prefix);
  return promise;
}

if (import.meta.main) await runPeer({ serve, handlers, exchange, transfer });
