/**
 * The limit: bytes over `Deno.Conn` without a protocol. The same number of bytes per message as Degu,
 * the same size of writes, and no parsing.
 *
 * @module
 */

import { answerBody, requestPreamble, responsePreamble } from "../messages.ts";
import { PatternChecker, PatternSource } from "../pattern.ts";
import type { Exchange, Transfer } from "../peer.ts";
import { runPeer } from "../peer.ts";
import type { Endpoint, ExchangeWork, ServerWork, TransferWork } from "../work.ts";

/** Bytes that a receiver of a large body asks for at once: larger buffers leave the cache and are slower. */
const readLength = 64 * 1024;
/** A transfer starts with its direction in one byte and the number of bytes in eight. */
const prefixLength = 9;
const accepted = 1;

async function serve(endpoint: Endpoint, work: ServerWork): Promise<Endpoint> {
  const handle = await makeHandler(work);
  const listener = listen(endpoint);
  acceptAll(listener, handle);
  return endpoint.transport === "tcp" && listener.addr.transport === "tcp"
    ? { ...endpoint, port: listener.addr.port }
    : endpoint;
}

type Handler = (conn: Deno.Conn) => Promise<void>;

async function makeHandler(work: ServerWork): Promise<Handler> {
  switch (work.kind) {
    case "exchange":
      return (conn) => answerExchanges(conn, work);
    case "transfer":
      return (conn) => answerTransfer(conn, work);
    case "file": {
      const path = `${work.directory}/${work.name}`;
      const { size } = await Deno.stat(path);
      return (conn) => sendFile(conn, path, size, work.pieceLength);
    }
    case "relay":
      return (conn) => relay(conn, work.upstream);
    case "answer":
      return answerRequests;
  }
}

function listen(endpoint: Endpoint): Deno.Listener {
  if (endpoint.transport === "unix") {
    return Deno.listen({ transport: "unix", path: endpoint.path });
  }
  const { hostname, port, tls } = endpoint;
  if (tls === undefined) return Deno.listen({ hostname, port });
  const cert = Deno.readTextFileSync(tls.server.certFile);
  const key = Deno.readTextFileSync(tls.server.keyFile);
  return Deno.listenTls({ hostname, port, cert, key });
}

async function connect(endpoint: Endpoint): Promise<Deno.Conn> {
  if (endpoint.transport === "unix") {
    return await Deno.connect({ transport: "unix", path: endpoint.path });
  }
  const { hostname, port, tls } = endpoint;
  if (tls === undefined) {
    const conn = await Deno.connect({ hostname, port });
    conn.setNoDelay();
    return conn;
  }
  const caCerts = [Deno.readTextFileSync(tls.client.caFile)];
  return await Deno.connectTls({
    hostname,
    port,
    caCerts,
    unsafelyDisableHostnameVerification: true,
  });
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

function writePrefix(direction: TransferWork["direction"], bytes: number): Uint8Array {
  const prefix = new Uint8Array(prefixLength);
  prefix[0] = direction === "upload" ? 0 : 1;
  new DataView(prefix.buffer).setBigUint64(1, BigInt(bytes));
  return prefix;
}

async function readPrefix(conn: Deno.Conn): Promise<number> {
  const prefix = new Uint8Array(prefixLength);
  if (!await readFull(conn, prefix)) throw new Error("the client closed before its first byte");
  return Number(new DataView(prefix.buffer).getBigUint64(1));
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

async function transfer(endpoint: Endpoint, work: Transfer): Promise<void> {
  const conn = await connect(endpoint);
  try {
    await writeAll(conn, writePrefix(work.direction, work.bytes));
    if (work.direction === "download") {
      await receive(conn, work.bytes, new PatternChecker(work.bytes, work.progress));
    } else {
      await send(conn, new PatternSource(work.bytes, work.progress), work.pieceLength);
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

async function sendFile(
  conn: Deno.Conn,
  path: string,
  size: number,
  pieceLength: number,
): Promise<void> {
  const bytes = await readPrefix(conn);
  if (bytes !== size) throw new Error(`the file has ${size} bytes, not ${bytes}`);
  using file = await Deno.open(path);
  const buffer = new Uint8Array(pieceLength);
  while (true) {
    const count = await file.read(buffer);
    if (count === null) return;
    await writeAll(conn, buffer.subarray(0, count));
  }
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
