/**
 * The limit: bytes over `Deno.Conn` without a protocol. Messages have as many bytes as Degu's,
 * writes the same size, and are not parsed.
 */

import { answerBody, makeRawRequest, makeRawResponse } from "../messages.ts";
import { formatAmount, parseAmount, PatternChecker, PatternSource } from "../pattern.ts";
import type { Address, Endpoint, Exchange, ExchangeWork, Handlers, TransferWork } from "../peer.ts";
import { hostname, runPeer } from "../peer.ts";

/**
 * The bytes that a receiver of a large body asks for at once: larger buffers leave the cache and
 * are slower.
 */
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
  answer: () => answerRequests,
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
  let written = await conn.write(bytes);
  while (written < bytes.length) written += await conn.write(bytes.subarray(written));
}

/** Fills `into`; false if the peer closes before its first byte. */
async function readFull(conn: Deno.Conn, into: Uint8Array): Promise<boolean> {
  let filled = 0;
  while (filled < into.length) {
    const count = await conn.read(filled === 0 ? into : into.subarray(filled));
    if (count === null) {
      if (filled === 0) return false;
      throw new Error("the peer closed inside a message");
    }
    filled += count;
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
      if (!await readFull(conn, response.bytes)) throw new Error("the server has closed");
      return response.body;
    },
    close: () => conn.close(),
  };
}

/**
 * Takes each read for a whole request, because load generators without pipelining send it at once.
 */
async function answerRequests(conn: Deno.Conn): Promise<void> {
  const response = makeRawResponse("post");
  response.body.set(answerBody);
  const buffer = new Uint8Array(4096);
  while (await conn.read(buffer) !== null) await writeAll(conn, response.bytes);
}

async function answerTransfer(conn: Deno.Conn, work: TransferWork): Promise<void> {
  const amount = formatAmount(0);
  if (!await readFull(conn, amount)) throw new Error("the client has closed");
  const bytes = parseAmount(amount);
  if (work.direction === "download") {
    return await copy(new PatternSource(bytes), conn, work.pieceLength);
  }
  await receive(conn, bytes);
  // The byte confirms the upload; a failed upload gets no answer.
  await writeAll(conn, new Uint8Array(1));
}

async function transfer(endpoint: Endpoint, work: TransferWork, bytes: number): Promise<void> {
  using conn = await connect(endpoint);
  await writeAll(conn, formatAmount(bytes));
  if (work.direction === "download") return await receive(conn, bytes);
  await copy(new PatternSource(bytes), conn, work.pieceLength);
  if (!await readFull(conn, new Uint8Array(1))) throw new Error("the upload was not accepted");
}

async function receive(conn: Deno.Conn, bytes: number): Promise<void> {
  const checker = new PatternChecker(bytes);
  const buffer = new Uint8Array(readLength);
  let received = 0;
  while (received < bytes) {
    const count = await conn.read(buffer);
    if (count === null) break;
    await checker.write(buffer.subarray(0, count));
    received += count;
  }
  checker.finish();
}

async function relay(conn: Deno.Conn, upstream: Endpoint): Promise<void> {
  using other = await connect(upstream);
  // The end of either side ends both: the last byte of a transfer is in the server's answer.
  await Promise.race([copy(conn, other, readLength), copy(other, conn, readLength)]);
}

async function copy(
  from: Pick<Deno.Conn, "read">,
  to: Deno.Conn,
  bufferLength: number,
): Promise<void> {
  const buffer = new Uint8Array(bufferLength);
  while (true) {
    const count = await from.read(buffer);
    if (count === null) return;
    await writeAll(to, buffer.subarray(0, count));
  }
}

if (import.meta.main) await runPeer({ serve, handlers, exchange, transfer });
