/**
 * The upper limit: bytes over `Deno.Conn` without a protocol. Messages and writes have the same
 * length as Degu's. Messages are not parsed.
 */

import { helloText, makeRawMessage, makeRawRequest, makeRawResponse } from "../messages.ts";
import { formatAmount, parseAmount, PatternChecker, PatternSource } from "../pattern.ts";
import {
  type Address,
  type Endpoint,
  type Exchange,
  type ExchangeWork,
  type Handlers,
  hostname,
  runPeer,
  type TransferWork,
} from "../peer.ts";
/** The length of a read of a large body. Larger buffers don't fit the cache, and are slower. */
const readLength = 64 * 1024;

type Handler = (conn: Deno.Conn) => Promise<void>;

function serve({ address }: Endpoint, handle: Handler): Address {
  if (typeof address === "string") {
    acceptAll(Deno.listen({ transport: "unix", path: address }), handle);
    return address;
  }
  const listener = Deno.listen({ hostname, port: address });
  acceptAll(listener, handle);
  return listener.addr.port;
}

const handlers: Handlers<Handler> = {
  exchange: (work) => (conn) => answerExchanges(conn, work),
  transfer: (work) => (conn) => answerTransfer(conn, work),
  relay: ({ upstream }) => (conn) => relay(conn, upstream),
  hello: () => answerRequests,
};

async function connect({ address }: Endpoint): Promise<Deno.Conn> {
  if (typeof address === "string") return await Deno.connect({ transport: "unix", path: address });
  const conn = await Deno.connect({ hostname, port: address });
  conn.setNoDelay();
  return conn;
}

async function acceptAll(listener: AsyncIterable<Deno.Conn>, handle: Handler): Promise<void> {
  for await (const conn of listener) {
    if ("setNoDelay" in conn) (conn as Deno.TcpConn).setNoDelay();
    handle(conn).catch((error) => {
      if (!(error instanceof Deno.errors.ConnectionReset)) throw error;
    }).finally(() => conn[Symbol.dispose]());
  }
}

async function writeAll(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  let writtenLength = await conn.write(bytes);
  while (writtenLength < bytes.length) {
    writtenLength += await conn.write(bytes.subarray(writtenLength));
  }
}

/** Fills `buffer`; returns false if the peer closes the connection before the first byte. */
async function readFull(conn: Deno.Conn, buffer: Uint8Array): Promise<boolean> {
  let filledLength = 0;
  while (filledLength < buffer.length) {
    const count = await conn.read(filledLength === 0 ? buffer : buffer.subarray(filledLength));
    if (count === null) {
      if (filledLength === 0) return false;
      throw new Error("the peer closed the connection during a message");
    }
    filledLength += count;
  }
  return true;
}

async function answerExchanges(conn: Deno.Conn, work: ExchangeWork): Promise<void> {
  const request = makeRawRequest(work.message), response = makeRawResponse(work.message);
  while (await readFull(conn, request.bytes)) {
    response.body.set(request.body);
    await writeAll(conn, response.bytes);
  }
}

async function exchange(endpoint: Endpoint, work: ExchangeWork): Promise<Exchange> {
  const conn = await connect(endpoint);
  const request = makeRawRequest(work.message), response = makeRawResponse(work.message);
  return {
    async request(payload: Uint8Array | null): Promise<Uint8Array> {
      if (payload !== null) request.body.set(payload);
      await writeAll(conn, request.bytes);
      if (!await readFull(conn, response.bytes)) {
        throw new Error("the server closed the connection");
      }
      return response.body;
    },
    close: () => conn.close(),
  };
}

/**
 * Responds to each read as to one request, because load generators without pipelining send each
 * request in one write.
 */
async function answerRequests(conn: Deno.Conn): Promise<void> {
  const body = new TextEncoder().encode(helloText);
  const headers = { "content-length": `${body.length}` };
  const response = makeRawMessage("HTTP/1.1 200 OK", headers, body.length);
  response.body.set(body);
  const buffer = new Uint8Array(4096);
  while (await conn.read(buffer) !== null) await writeAll(conn, response.bytes);
}

async function answerTransfer(conn: Deno.Conn, work: TransferWork): Promise<void> {
  const amount = formatAmount(0);
  if (!await readFull(conn, amount)) throw new Error("the client closed the connection");
  const bodyLength = parseAmount(amount);
  if (work.direction === "download") {
    return await copy(new PatternSource(bodyLength), conn, work.pieceLength);
  }
  await receive(conn, bodyLength);
  // Confirm the upload with a byte. A failed upload isn't confirmed.
  await writeAll(conn, new Uint8Array(1));
}

async function transfer(endpoint: Endpoint, work: TransferWork, bodyLength: number): Promise<void> {
  using conn = await connect(endpoint);
  await writeAll(conn, formatAmount(bodyLength));
  if (work.direction === "download") return await receive(conn, bodyLength);
  await copy(new PatternSource(bodyLength), conn, work.pieceLength);
  if (!await readFull(conn, new Uint8Array(1))) {
    throw new Error("the server didn't confirm the upload");
  }
}

async function receive(conn: Deno.Conn, bodyLength: number): Promise<void> {
  const checker = new PatternChecker(bodyLength);
  const buffer = new Uint8Array(readLength);
  let receivedLength = 0;
  while (receivedLength < bodyLength) {
    const count = await conn.read(buffer);
    if (count === null) break;
    await checker.write(buffer.subarray(0, count));
    receivedLength += count;
  }
  checker.checkLength();
}

async function relay(conn: Deno.Conn, upstream: Endpoint): Promise<void> {
  using upstreamConn = await connect(upstream);
  // Every transfer ends with a byte from the server, so the transfer is complete if either side
  // closes.
  await Promise.race([copy(conn, upstreamConn, readLength), copy(upstreamConn, conn, readLength)]);
}

async function copy(
  source: Pick<Deno.Conn, "read">,
  target: Deno.Conn,
  bufferLength: number,
): Promise<void> {
  const buffer = new Uint8Array(bufferLength);
  while (true) {
    const count = await source.read(buffer);
    if (count === null) return;
    await writeAll(target, buffer.subarray(0, count));
  }
}

if (import.meta.main) await runPeer({ serve, handlers, exchange, transfer });
