/** Bodies of responses: every way to read them, and the close of the connection. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { toText } from "@std/streams";
import {
  type Body,
  BodyError,
  type Chunk,
  type ChunkedBody,
  ConnectionClosedError,
} from "@degu/degu/base";
import { Connection } from "@degu/degu/client";
import { connect, type ConnectedClient } from "@degu/testing/connected.ts";
import { assertProtocolRejection, catchRejection } from "@degu/testing/expectations.ts";
import { waitForTick } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { concat, cutBytes } from "@degu/testing/streams.ts";

const kinds: readonly (readonly [kind: string, preamble: string, half: string, rest: string])[] = [
  ["a length body", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", "hello", "world"],
  [
    "a chunked body",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    "5\r\nhello\r\n",
    "5\r\nworld\r\n0\r\n\r\n",
  ],
];

type AnyBody = Body | ChunkedBody;

/** Returns the body of a response of which half has arrived. */
async function receiveHalf(
  pair: ConnectedClient,
  preamble: string,
  half: string,
): Promise<AnyBody> {
  const { body } = await pair.answer(preamble + half);
  assert(body !== null);
  return body;
}

const failure = new Error("not wanted");

/** The ways in which a response's body ends early, after a part of it has arrived. */
const endings: Readonly<
  Record<string, (body: AnyBody, ends: ConnectedClient) => Promise<unknown>>
> = {
  "close()": async (body, { conn }) => {
    const reading = catchRejection(body.read(), "a read that waits");
    await waitForTick();
    conn.close();
    assertInstanceOf(await reading, ConnectionClosedError);
  },
  "an abandoned iteration": async (body) => {
    for await (const _ of body as AsyncIterable<unknown>) break;
  },
  "a canceled stream": (body) => body.readable.cancel("no longer wanted"),
  "a failing sink": async (body) => {
    const writing = body.writeTo({ write: () => Promise.reject(failure) });
    assertStrictEquals(await catchRejection(writing, "writeTo"), failure);
  },
  "a peer that cuts it": async (body, { peer }) => {
    await peer.closeWrite();
    await assertProtocolRejection(body.read(), ["BODY_INCOMPLETE"], "a cut body");
  },
};

for (const [kind, preamble, half, rest] of kinds) {
  Deno.test(`${kind}: ending a body early closes the connection, and later reads reject`, async (t) => {
    for (const [label, end] of Object.entries(endings)) {
      // close() also ends a body that has arrived whole.
      for (const arrived of label.startsWith("close() after") ? [half, half + rest] : [half]) {
        await t.step(`${label}, ${arrived.length} bytes`, async () => {
          using pair = await connect();
          const body = await receiveHalf(pair, preamble, arrived);
          await end(body, pair);
          assertEquals(pair.conn.closed, true);
          for (const read of [() => body.read(), () => body.text(), () => pair.conn.get("/")]) {
            await assertRejects(async () => await read());
          }
          await pair.peer.assertClosedSilently();
        });
      }
    }
  });

  Deno.test(`${kind}: every way to read to the end leaves the connection usable`, async () => {
    const ways: readonly ((body: AnyBody) => Promise<unknown>)[] = [
      (body) => body.read(),
      (body) => body.bytes(),
      (body) => body.text(),
      (body) => Array.fromAsync<unknown>(body),
      (body) => toText(body.readable),
      (body) => body.readable.pipeTo(new WritableStream()),
      (body) => body.writeTo(new WritableStream()),
      (body) => body.writeTo({ write: () => Promise.resolve() }),
      (body) => assertRejects(() => body.json(), SyntaxError),
    ];
    using pair = await connect();
    for (const consume of ways) {
      const consuming = consume(await receiveHalf(pair, preamble, half));
      await waitForTick();
      await pair.peer.send(rest);
      await consuming;
      assertEquals(pair.conn.closed, false);
    }
    assertEquals((await pair.answer("HTTP/1.1 204 No Content\r\n\r\n")).status, 204);
  });
}

/** The length of each body: many pieces, the last of which is short. */
const LENGTH = 1_000_003;
/** The lengths of writes, shorter and longer than a piece. */
const WRITES = [70_000, 30_001, 200_000];

type Piece = Uint8Array<ArrayBuffer>;

/** Returns bytes that differ by position and by message. */
function makePattern(message: number): Piece {
  const bytes = new Uint8Array(LENGTH);
  for (let at = 0; at < LENGTH; at++) bytes[at] = at * 31 + (at >> 8) * 7 + message * 101;
  return bytes;
}

async function* readData(chunks: AsyncIterable<Chunk>): AsyncGenerator<Piece> {
  for await (const [, data] of chunks) yield data as Piece;
}

/** A way to read the bodies at a path, which determines their class. */
type Way = readonly [path: "/length" | "/chunked", take: (body: never) => AsyncIterable<Piece>];

const ways: Record<string, Way> = {
  "an iterated Body": ["/length", (body: Body) => body],
  "the stream of a Body": ["/length", (body: Body) => body.readable],
  "an iterated ChunkedBody": ["/chunked", (body: ChunkedBody) => readData(body)],
  "the stream of a ChunkedBody": ["/chunked", (body: ChunkedBody) => body.readable],
};

/** Of each three pieces, transfers one and overwrites one; yields functions that return the pieces. */
async function* readAndChange(pieces: AsyncIterable<Piece>): AsyncGenerator<() => Piece> {
  let index = 0;
  for await (const piece of pieces) {
    const remainder = index++ % 3;
    if (remainder === 0) {
      const transferred = structuredClone(piece, { transfer: [piece.buffer] });
      assertEquals(piece.length, 0);
      yield () => transferred;
    } else if (remainder === 1) {
      const copy = piece.slice();
      new Uint8Array(piece.buffer).fill(255);
      yield () => copy;
    } else {
      yield () => piece;
    }
  }
  assert(index > 3, `${index} pieces`);
}

for (const [name, [path, take]] of Object.entries(ways)) {
  Deno.test(`pieces from ${name} keep their bytes when other pieces change`, async () => {
    await using served = serve(({ uri }, _session, { BodyIter, ChunkedBodyIter }) => {
      const [, , message] = uri.split("/");
      const pieces = cutBytes(makePattern(Number(message)), ...WRITES);
      if (path === "/length") return [200, "OK", {}, new BodyIter(pieces, LENGTH)];
      const chunks = [...pieces, new Uint8Array(0)].map((data): Chunk => [null, data]);
      return [200, "OK", {}, new ChunkedBodyIter(chunks)];
    });
    using conn = await served.makeClient().connect();
    const copies: (() => Piece)[][] = [];
    // The next message goes through the same connection, and so through the same buffers.
    for (const message of [1, 2, 3]) {
      const { body } = await conn.get(`${path}/${message}`);
      copies.push(await Array.fromAsync(readAndChange(take(body as never))));
    }
    for (const [index, pieces] of copies.entries()) {
      const receivedBytes = concat(pieces.map((piece) => piece()));
      assertEquals(receivedBytes.length, LENGTH);
      const expected = makePattern(index + 1);
      assertEquals(receivedBytes.findIndex((byte, at) => byte !== expected[at]), -1);
    }
  });
}

Deno.test("a socket that returns no piece of bytes is blamed, and not its peer", async (t) => {
  const preamble = new TextEncoder().encode(
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
  );
  const rows: readonly (readonly [string, unknown])[] = [
    ["number", 5],
    ["undefined", undefined],
    ["an empty one", new Uint8Array(0)],
  ];
  await testEachRow(t, rows, async (label, piece) => {
    const requestSent = Promise.withResolvers<void>();
    const socket = {
      async read(into: Uint8Array) {
        await requestSent.promise;
        into.set(preamble);
        return preamble.length;
      },
      readPiece: () => Promise.resolve(piece as Uint8Array<ArrayBuffer>),
      write(bytes: Uint8Array) {
        requestSent.resolve();
        return Promise.resolve(bytes.length);
      },
      close() {},
    };
    using conn = new Connection(socket, null);
    const { body } = await conn.get("/");
    const problem = `the source must return a piece of bytes, or null; got ${label}`;
    await assertRejects(() => body!.text(), BodyError, problem);
    assert(conn.closed);
  });
});
