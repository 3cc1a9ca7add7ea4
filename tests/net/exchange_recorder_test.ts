/** The figures that onExchange gets, also of interrupted exchanges. */
import {
  Body,
  BodyIter,
  type BodyOut,
  type Chunk,
  ChunkedBodyIter,
  ProtocolError,
} from "@degu/degu/base";
import type { Connection } from "@degu/degu/client";
import type { App, Exchange, ServerOptions } from "@degu/degu/server";
import { exchange, RawPeer, withTimeout } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertStrictEquals,
} from "@std/assert";
import { someRequestRows } from "../base/wire/requests.rows.ts";

/** Buffers exchanges until a test reads them. */
function bufferExchanges() {
  /** The reported exchanges that the test has not read yet. */
  const exchanges: Exchange[] = [];
  let added = Promise.withResolvers<void>();
  const onExchange = (exchange: Exchange): void => {
    exchanges.push(exchange);
    added.resolve();
    added = Promise.withResolvers();
  };
  /** Resolves to the next exchange when it is reported. */
  const takeNext = async (): Promise<Exchange> => {
    while (exchanges.length === 0) await withTimeout(added.promise, "an exchange is reported");
    return exchanges.shift()!;
  };
  return { exchanges, next: takeNext, onExchange };
}

/** Starts a server whose exchanges are buffered. */
function serveWatched(app: App, options: ServerOptions = {}) {
  const { onExchange, ...recorder } = bufferExchanges();
  return Object.assign(serve(app, { onExchange, ...options }), recorder);
}

const echo: App = async (request) => {
  const data = request.body === null ? new Uint8Array() : await request.body.bytes();
  return [200, "OK", {}, data];
};
const largeArray = new Uint8Array(300_000).fill(7);
const BODIES: readonly (readonly [string, () => BodyOut, number])[] = [
  ["none", () => null, 0],
  ["a large array", () => largeArray, 300_000],
  ["pieces", () => new BodyIter([largeArray, largeArray], 600_000), 600_000],
  [
    "chunks",
    () =>
      new ChunkedBodyIter([[["key", "value"], largeArray] as const, [null, new Uint8Array(3)], [
        null,
        new Uint8Array(),
      ]]),
    300_003 + "493e0;key=value\r\n\r\n3\r\n\r\n0\r\n\r\n".length,
  ],
];

for (const [name, make, bytes] of BODIES) {
  Deno.test(`the bytes of bodies are counted in both directions: ${name}`, async () => {
    await using watched = serveWatched(async (request) => {
      await request.body?.writeTo(new WritableStream());
      return [200, "OK", {}, make()];
    });
    const startTime = performance.now();
    const response = await watched.makeClient().request("PUT", "/a?b", {}, make());
    await response.body?.writeTo(new WritableStream());
    const { method, uri, status, error, ...measured } = await watched.next();
    assertEquals([method, uri, status, error], ["PUT", "/a?b", 200, null]);
    const { requestBytes, responseBytes, firstByteSeconds, totalSeconds } = measured;
    assertEquals([requestBytes, responseBytes], [bytes, bytes]);
    assert(firstByteSeconds !== null && firstByteSeconds >= 0 && firstByteSeconds <= totalSeconds);
    assert(totalSeconds * 1000 < performance.now() - startTime);
  });
}

const get = "GET / HTTP/1.1\r\n\r\n";
const head = "HEAD / HTTP/1.1\r\n\r\n";
const put = "PUT / HTTP/1.1\r\ncontent-length: 10\r\n\r\n1234567";
const failure = new Error("no more");

async function* makeBrokenChunks(): AsyncGenerator<Chunk> {
  yield [null, new Uint8Array(4)];
  await Promise.resolve();
  throw failure;
}

/**
 * The figures of a request: the status, the bytes in both directions, and the error or its class.
 */
type Row = readonly [string, request: string, figures: readonly unknown[], error: unknown, App];

const REPORTED: readonly Row[] = [
  ["a response to HEAD with a body has no bytes", head, [200, 0, 0], null, () => {
    return [200, "OK", {}, new Uint8Array(12)];
  }],
  [
    "only the bytes that the app has read of a body are counted",
    put,
    [200, 3, 2],
    null,
    async ({ body }) => {
      await (body as Body).read(3);
      return [200, "OK", {}, new Uint8Array(2)];
    },
  ],
  ["204 has no bytes", get, [204, 0, 0], null, () => [204, "No Content", {}, null]],
  ["the app throws", get, [500, 0, 0], failure, () => Promise.reject(failure)],
  ["the response breaks off", get, [200, 0, "4\r\n0000\r\n".length], failure, () => {
    return [200, "OK", {}, new ChunkedBodyIter(makeBrokenChunks())];
  }],
  ["the peer pauses for too long", put, [null, 7, 0], Deno.errors.TimedOut, echo],
  [
    "the session is closed during an upload",
    put,
    [null, 6, 0],
    failure,
    async ({ body }, session) => {
      await (body as Body).read(6);
      session.close(failure);
      return [200, "OK", {}, null];
    },
  ],
];

for (const [label, request, figures, expected, app] of REPORTED) {
  Deno.test(`an exchange is reported once, with its figures: ${label}`, async () => {
    await using watched = serveWatched(
      app,
      expected === Deno.errors.TimedOut ? { timeout: 0.3 } : {},
    );
    using peer = await RawPeer.connect(watched.address, request);
    const { method, status, requestBytes, responseBytes, error } = await watched.next();
    assert(request.startsWith(`${method} `));
    assertEquals([status, requestBytes, responseBytes], figures);
    if (typeof expected === "function") assertInstanceOf(error, expected as typeof Error);
    else assertStrictEquals(error, expected);
    peer.close();
    await watched[Symbol.asyncDispose]();
    assertEquals(watched.exchanges, []);
  });
}

Deno.test("an onExchange that throws, rejects or never resolves is logged and has no other effect", async () => {
  const failingCallbacks: readonly (() => unknown)[] = [
    () => {
      throw new Error("log is full");
    },
    () => Promise.reject(new Error("log is full")),
    () => new Promise(() => {}),
  ];
  for (const onExchange of failingCallbacks) {
    await using serving = serve(echo, { onExchange });
    using connection = await serving.makeClient().connect();
    for (let i = 0; i < 3; i++) assertEquals((await connection.get("/")).status, 200);
    if (onExchange !== failingCallbacks[2]) {
      assertMatch((await serving.logger.waitFor("error"))[0]!, /onExchange: Error: log is full/);
    }
  }
});

const drain: App = async (request) => {
  await request.body?.writeTo(new WritableStream());
  return [200, "OK", {}, null];
};

Deno.test("only a request with a valid preamble is an exchange", async () => {
  await using watched = serveWatched(drain);
  const silent = { name: "nothing", bytes: "", accepted: [], broken: undefined };
  for (const { name, bytes, accepted, broken } of [silent, ...someRequestRows]) {
    await exchange(watched.address, bytes);
    for (const { uri } of accepted) {
      const exchange = await watched.next();
      assertEquals([exchange.uri, exchange.status, exchange.error], [uri, 200, null], name);
    }
    if (broken !== undefined) {
      const { uri, status, error } = await watched.next();
      assertEquals([uri, status === null || status === 400], [broken, true], name);
      assertInstanceOf(error, ProtocolError, name);
    }
    assertEquals(watched.exchanges, [], name);
  }
});

// ───────────────────────── interrupted exchanges

const MiB = 1048576;
const TOTAL = 1024 * MiB;

function* makeEndlessPieces() {
  const piece = new Uint8Array(MiB);
  for (let i = 0; i < TOTAL / MiB; i++) yield piece;
}

/** Reads this many bytes of a response's body. */
async function readPart(connection: Connection, bytes: number): Promise<void> {
  const { body } = await connection.get("/");
  assertInstanceOf(body, Body);
  let missing = bytes;
  while (missing > 0) missing -= (await body.read(missing)).length;
}

Deno.test("a peer that disconnects during a download is reported with an error", async () => {
  await using watched = serveWatched(
    () => [200, "OK", {}, new BodyIter(makeEndlessPieces(), TOTAL)],
  );
  const connection = await watched.makeClient().connect();
  await readPart(connection, 3 * MiB);
  connection.close();
  const { status, responseBytes, firstByteSeconds, totalSeconds, error } = await watched.next();
  assertEquals(status, 200);
  assert(responseBytes >= 3 * MiB && responseBytes < TOTAL, `${responseBytes} bytes`);
  assert(firstByteSeconds !== null && firstByteSeconds <= totalSeconds);
  assertInstanceOf(error, Error);
});
