/**
 * Clients and servers that are broken, slow, hostile or gone. No fault may affect another
 * connection.
 */

import {
  BodyError,
  BodyIter,
  type BodyOut,
  ChunkedBodyIter,
  type Client,
  type Connection,
  type Socket,
} from "@degu/degu";
import type { Chunk } from "@degu/degu/base";
import type { Random } from "../fuzz/random.ts";
import { findErrorResponse, formatErrorResponse } from "../net/server/error_answers.ts";
import { isBroken } from "../support/raw_peer.ts";
import { Checksum, serverFaults } from "./app.ts";
import { pause, type Run } from "./traffic.ts";

const encoder = new TextEncoder();

async function send(socket: Socket, text: string): Promise<void> {
  let bytes = encoder.encode(text);
  while (bytes.length > 0) bytes = bytes.subarray(await socket.write(bytes));
}

/** Reads to the end or a reset, or up to a number of bytes; resolves to the number of bytes. */
async function readUpTo(socket: Socket, maxBytes: number): Promise<number> {
  const buffer = new Uint8Array(16384);
  let total = 0;
  try {
    while (total < maxBytes) {
      const count = await socket.read(buffer);
      if (count === null) break;
      total += count;
    }
  } catch {
    // The server may reset the connection of a hostile client.
  }
  return total;
}

/** A fault on a socket; resolves to a violation, or to none. */
type SocketFault = (socket: Socket, random: Random) => Promise<string | null | void>;

const CHUNKED = "PUT / HTTP/1.1\r\nchecksum: x\r\ntransfer-encoding: chunked\r\n\r\n";

function get(query: string): string {
  return `GET /data?${query} HTTP/1.1\r\nchecksum: 0-0\r\n\r\n`;
}

/** Faults that clients of this package never cause. */
const socketFaults: Readonly<Record<string, SocketFault>> = {
  "connects and goes": () => Promise.resolve(),
  "sends garbage": async (socket, random) => {
    const bytes = Array.from({ length: 1 + random.below(300) }, () => random.below(128));
    const garbage = `${String.fromCharCode(...bytes)}\r\n\r\n`;
    await send(socket, garbage);
    // Bytes that start like a method get a response.
    const { length } = findErrorResponse(garbage);
    const receivedBytes = await readUpTo(socket, length + 1);
    return receivedBytes === length ? null : `${receivedBytes} bytes in answer to garbage`;
  },
  "stops in a preamble": async (socket, random) => {
    const preamble =
      "PUT /data?seed=1&size=1 HTTP/1.1\r\nchecksum: 0-0\r\ncontent-length: 10\r\n\r\n";
    await send(socket, preamble.slice(0, 1 + random.below(preamble.length - 4)));
  },
  "stops in a body": async (socket, random) => {
    await send(socket, `PUT / HTTP/1.1\r\nchecksum: x\r\ncontent-length: 100000\r\n\r\n`);
    await send(socket, "x".repeat(random.below(70000)));
  },
  "stops in a chunk": async (socket, random) => {
    const chunks = "10;a=b\r\n0123456789abcdef\r\n5\r\nhello\r\n";
    await send(socket, CHUNKED + chunks.slice(0, random.below(chunks.length)));
  },
  "breaks a chunk": async (socket) => {
    await send(socket, `${CHUNKED}5\nhello\r\n0\r\n\r\n`);
    const receivedBytes = await readUpTo(socket, 1000);
    const response = formatErrorResponse(400).length;
    return receivedBytes === response ? null : `${receivedBytes} bytes in answer to a broken chunk`;
  },
  "goes while a body is sent to it": async (socket, random) => {
    await send(socket, get("seed=5&size=3000000&kind=iter"));
    await readUpTo(socket, 1 + random.below(200000));
  },
  "does not read for a while": async (socket, random) => {
    await send(socket, get("seed=6&size=3000000&kind=chunked"));
    await pause(random.below(100));
  },
  "drips": async (socket, random) => {
    for (const byte of "GET /fault/slow HTTP/1.1\r\nx: y\r\n".slice(0, 1 + random.below(30))) {
      await send(socket, byte);
      await pause(random.below(5));
    }
  },
  "pipelines": async (socket) => {
    const response = "HTTP/1.1 200 OK\r\nchecksum: 0-0\r\ncontent-length: 0\r\n\r\n";
    const count = 40;
    await send(socket, get("seed=0&size=0").repeat(count));
    const received = await readUpTo(socket, response.length * count);
    return received === response.length * count ? null : `${received} bytes in answer to ${count}`;
  },
  "sends another request behind its last one": async (socket) => {
    const response =
      "HTTP/1.1 200 OK\r\nchecksum: 0-0\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    const request = get("seed=0&size=0");
    const last = request.replace("\r\n", "\r\nconnection: close\r\n");
    await send(socket, last + request);
    const received = await readUpTo(socket, 2 * response.length);
    return received === response.length ? null : `${received} bytes in answer to a last request`;
  },
  "sends more than one request, the second wrong": async (socket) => {
    await send(socket, `${get("seed=0&size=0")}GET / HTTP/2.0\r\n\r\n`);
    await readUpTo(socket, 1000);
  },
};

/** A fault over a client's connection; resolves to a violation, or to `null`. */
type ConnectionFault = (connection: Connection, random: Random) => Promise<string | null>;

/** Yields some pieces, and then waits forever. */
async function* makeWaitingPieces(pieces: number): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < pieces; i++) yield new Uint8Array(80000);
  await new Promise(() => {});
}

function* makeFailingPieces(): Generator<Uint8Array> {
  yield new Uint8Array(80000);
  throw new Error("the source of a body failed");
}

function isRejected(promise: Promise<unknown>): Promise<boolean> {
  return promise.then(() => false, () => true);
}

/** Sends a broken body, which must fail the request and close the connection. */
async function sendBroken(connection: Connection, body: BodyOut): Promise<string | null> {
  const hasFailed = await isRejected(connection.put("/data", { checksum: "x" }, body));
  return hasFailed && connection.closed ? null : "a broken body was taken for whole";
}

const connectionFaults: Readonly<Record<string, ConnectionFault>> = {
  "its body fails": (connection) =>
    sendBroken(connection, new BodyIter(makeFailingPieces(), 200000)),
  "its body is too short": (connection) =>
    sendBroken(connection, new BodyIter([new Uint8Array(10)], 20)),
  "its body is canceled": async (connection, random) => {
    const reason = new Error("cancelled");
    const body = new BodyIter(makeWaitingPieces(random.below(4)), 400000);
    const putting = connection.put("/data", { checksum: "x" }, body).catch((error) => error);
    setTimeout(() => body.cancel(reason), random.below(10));
    const error = await putting;
    // A body that was canceled before its use fails with the reason as its cause.
    const hasReason = error === reason || (error instanceof BodyError && error.cause === reason);
    return hasReason && connection.closed ? null : `a canceled body: ${error}`;
  },
  "its array is transferred while it is sent": async (connection, random) => {
    const bytes = new Uint8Array(100000 + random.below(2000000));
    const checksum = new Checksum();
    checksum.add(bytes);
    const headers = { checksum: String(checksum) };
    const putting = connection.put("/data?seed=0&size=0", headers, bytes).catch((error) => error);
    for (let microtask = random.below(8); microtask > 0; microtask--) await null;
    bytes.buffer.transfer();
    const outcome = await putting;
    // A body that the kernel had taken completely isn't a fault any more.
    const sent = !(outcome instanceof Error) && outcome.status === 200;
    const wasCut = outcome instanceof BodyError && connection.closed;
    if (sent) await outcome.body?.read();
    return sent || wasCut ? null : `a transferred array: ${outcome}`;
  },
  "its body comes in tiny chunks": async (connection, random) => {
    const count = 1000 + random.below(4000);
    const data = new Uint8Array(1);
    const makeTinyChunks = function* (): Generator<Chunk> {
      for (let i = 0; i < count; i++) yield [null, data];
      yield [null, new Uint8Array(0)];
    };
    const response = await connection.put(
      "/fault/collects",
      {},
      new ChunkedBodyIter(makeTinyChunks()),
    );
    const text = await response.body?.text();
    return text === `${count}` ? null : `${text} of ${count} bytes in tiny chunks`;
  },
  "it leaves a body unread": async (connection) => {
    const uri = "/data?seed=7&size=2000000&kind=chunked";
    const { body } = await connection.get(uri, { checksum: "0-0" });
    await (body?.chunked ? body.readChunk() : null);
    return null;
  },
  "it closes while it waits": async (connection, random) => {
    const rejected = isRejected(connection.get("/fault/slow"));
    setTimeout(() => connection.close(), random.below(20));
    return await rejected ? null : "a closed connection was answered";
  },
};

async function requestFault(
  connection: Connection,
  name: string,
  expected: number | null,
): Promise<string | null> {
  const body = name.endsWith("unread") ? new Uint8Array(100) : new Uint8Array(0);
  try {
    const response = await connection.request("POST", `/fault/${name}`, {}, body);
    await response.body?.read();
    if (response.status === expected) return null;
    // A proxy reports with 502 that its upstream broke off.
    return expected === null && (response.status === 502 || response.status === 503)
      ? null
      : `status ${response.status}`;
  } catch (error) {
    return expected === null ? null : String(error);
  }
}

export async function runFaulty(
  name: string,
  client: Client,
  { random, tally, signal }: Run,
): Promise<void> {
  while (!signal.aborted) {
    const [fault, problem] = await injectOne(client, random)
      .catch((error) => ["no fault", Deno.inspect(error)] as const);
    tally.count(fault);
    if (problem !== null) tally.fail(`${name}: ${fault}: ${problem}`);
    await pause(random.below(10));
  }
}

async function injectOne(client: Client, random: Random): Promise<[string, string | null]> {
  const dice = random.below(3);
  if (dice === 0) {
    const [name, fault] = random.pick(Object.entries(socketFaults));
    const socket = await client.createSocket();
    try {
      return [`client: ${name}`, await fault(socket, random) ?? null];
    } catch (error) {
      // A server may close before the client has sent all bytes.
      return [`client: ${name}`, isBroken(error) ? null : Deno.inspect(error)];
    } finally {
      socket.close();
    }
  }
  using connection = await client.connect();
  if (dice === 1) {
    const [name, fault] = random.pick(Object.entries(connectionFaults));
    return [`client: ${name}`, await fault(connection, random)];
  }
  const [name, [expected]] = random.pick(Object.entries(serverFaults));
  return [`server: ${name}`, await requestFault(connection, name, expected)];
}
