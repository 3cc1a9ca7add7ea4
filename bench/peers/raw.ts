/**
 * The limit: bytes over `Deno.Conn` without a protocol. The same number of bytes per message as Degu,
 * the same size of writes, and no parsing.
 *
 * @module
 */

import { answerBody, requestPreamble, responsePreamble } from "../messages.ts";
import { PatternChecker, PatternSource } from "../pattern.ts";
import type { Endpoint, Exchange, ExchangeWork, ServerWork, TransferWork } from "../peer.ts";
import { runPeer } from "../peer.ts";

/** Bytes that a receiver of a large body asks for at once: larger buffers leave the cache and are slower. */
const readLength = 64 * 1024;
/** A transfer starts with the number of its bytes. */
const prefixLength = 8;
const accepted = 1;

type Handler = (conn: Deno.Conn) => Promise<void>;

function serve(endpoint: Endpoint, work: ServerWork): Promise<Endpoint> {
  const listener = endpoint.transport === "unix"
    ? Deno.listen({ transport: "unix", path: endpoint.path })
    : Deno.listen({ hostname: endpoint.hostname, port: endpoint.port });
  acceptAll(listener, makeHandler(work));
  return Promise.resolve(
    endpoint.transport === "tcp" && listener.addr.transport === "tcp"
      ? { ...endpoint, port: listener.addr.port }
      : endpoint,
  );
}

function makeHandler(work: ServerWork): Handler {
  switch (work.kind) {
    case "exchange":
      return (conn) => answerExchanges(conn, work);
    case "transfer":
      return (conn) => answerTransfer(conn, work);
    case "relay":
      return (conn) => relay(conn, work.upstream);
    case "answer":
      return answerRequests;
  }
}

async function connect(endpoint: Endpoint): Promise<Deno.Conn> {
  if (endpoint.transport === "unix") {
    return await Deno.connect({ transport: "unix", path: endpoint.path });
  }
  const conn = await Deno.connect({ hostname: endpoint.hostname, port: endpoint.port });
  conn.setNoDelay();
  return conn;
}

async function acceptAll(listener: Deno.Listener, handle: Handler): Promise<void> {
  for await (const conn of listener) {
    if ("setNoDelay" in conn) (conn as Deno.TcpConn).setNoDelay();
    handle(conn).catch((error) => {
      if (!(error instanceof Deno.errors.ConnectionReset)) throw error;
    }).finally(() => close(conn));
  }
}

function close(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

async function writeAll(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  let written = await conn.write(bytes);
  while (written < bytes.length) written += await conn.write(bytes.subarray(written));
}

/** Fills `into`; false where the peer closes before its first byte. */
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
  const bodyLength = work.message === "post" ? answerBody.length : 0;
  const preamble = responsePreamble(work.message);
  const request = new Uint8Array(requestPreamble(work.message).length + bodyLength);
  const response = new Uint8Array(preamble.length + bodyLength);
  response.set(preamble);
  const body = request.subarray(request.length - bodyLength);
  while (await readFull(conn, request)) {
    response.set(body, preamble.length);
    await writeAll(conn, response);
  }
}

async function exchange(endpoint: Endpoint, work: ExchangeWork): Promise<Exchange> {
  const conn = await connect(endpoint);
  const bodyLength = work.message === "post" ? answerBody.length : 0;
  const preamble = requestPreamble(work.message);
  const request = new Uint8Array(preamble.length + bodyLength);
  request.set(preamble);
  const response = new Uint8Array(responsePreamble(work.message).length + bodyLength);
  const body = response.subarray(response.length - bodyLength);
  return {
    async request(payload: Uint8Array | null): Promise<Uint8Array> {
      if (payload !== null) request.set(payload, preamble.length);
      await writeAll(conn, request);
      if (!await readFull(conn, response)) throw new Error("the server closed the connection");
      return body;
    },
    close: () => close(conn),
  };
}

/** Takes each read for one whole request, as a load generator without pipelining sends it. */
async function answerRequests(conn: Deno.Conn): Promise<void> {
  const preamble = responsePreamble("post");
  const response = new Uint8Array(preamble.length + answerBody.length);
  response.set(preamble);
  response.set(answerBody, preamble.length);
  const buffer = new Uint8Array(4096);
  while (await conn.read(buffer) !== null) await writeAll(conn, response);
}

function writePrefix(bytes: number): Uint8Array {
  const prefix = new Uint8Array(prefixLength);
  new DataView(prefix.buffer).setBigUint64(0, BigInt(bytes));
  return prefix;
}

async function readPrefix(conn: Deno.Conn): Promise<number> {
  const prefix = new Uint8Array(prefixLength);
  if (!await readFull(conn, prefix)) throw new Error("the client closed before its first byte");
  return Number(new DataView(prefix.buffer).getBigUint64(0));
}

async function answerTransfer(conn: Deno.Conn, work: TransferWork): Promise<void> {
  const bytes = await readPrefix(conn);
  if (work.direction === "download") {
    await send(conn, new PatternSource(bytes), work.pieceLength);
  } else {
    await receive(conn, bytes, new PatternChecker(bytes));
    await writeAll(conn, Uint8Array.of(accepted));
  }
}

async function transfer(endpoint: Endpoint, work: TransferWork, bytes: number): Promise<void> {
  const conn = await connect(endpoint);
  try {
    await writeAll(conn, writePrefix(bytes));
    if (work.direction === "download") {
      await receive(conn, bytes, new PatternChecker(bytes));
    } else {
      await send(conn, new PatternSource(bytes), work.pieceLength);
      const answer = new Uint8Array(1);
      if (!await readFull(conn, answer) || answer[0] !== accepted) {
        throw new Error("the server did not accept the upload");
      }
    }
  } finally {
    close(conn);
  }
}

async function send(conn: Deno.Conn, source: PatternSource, pieceLength: number): Promise<void> {
  const buffer = new Uint8Array(pieceLength);
  while (true) {
    const count = await source.read(buffer);
    if (count === null) return;
    await writeAll(conn, buffer.subarray(0, count));
  }
}

async function receive(conn: Deno.Conn, bytes: number, checker: PatternChecker): Promise<void> {
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
  const other = await connect(upstream);
  try {
    // Whichever side ends first ends both: a transfer has its last byte in the server's answer.
    await Promise.race([copy(conn, other), copy(other, conn)]);
  } finally {
    close(other);
  }
}

async function copy(from: Deno.Conn, to: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(readLength);
  while (true) {
    const count = await from.read(buffer);
    if (count === null) return;
    await writeAll(to, buffer.subarray(0, count));
  }
}

if (import.meta.main) await runPeer({ serve, exchange, transfer });
