/** `{ signal }` of one request: how an abort affects it, its bodies and the connection. */
import { assert, assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
import {
  Body,
  BodyIter,
  type BodyOut,
  type Chunk,
  ChunkedBody,
  ChunkedBodyIter,
  type Response,
} from "@degu/degu/base";
import { Client, type Connection, type RequestOptions } from "@degu/degu/client";
import { connect } from "@degu/testing/connected.ts";
import { callWith, rejectionOf } from "@degu/testing/expectations.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { TrackedStream } from "@degu/testing/streams.ts";
import { assertReason, reason, reasons, withAbort } from "@degu/testing/aborts.ts";

type Make = (conn: Connection, options: RequestOptions) => Promise<Response>;

const ways: Readonly<Record<string, Make>> = {
  request: (conn, options) => conn.request("GET", "/", {}, null, options),
  put: (conn, options) => conn.put("/", {}, new Uint8Array(3), options),
  post: (conn, options) => conn.post("/", {}, new Uint8Array(70_000), options),
  get: (conn, options) => conn.get("/", {}, options),
  head: (conn, options) => conn.head("/", {}, options),
  delete: (conn, options) => conn.delete("/", {}, options),
  getRange: (conn, options) => conn.getRange("/", {}, 2, 5, options),
};

/** Asserts that nothing was sent, by a request that is. */
async function assertUntouched({ conn, peer }: Awaited<ReturnType<typeof connect>>) {
  assertEquals(conn.closed, false);
  const responding = conn.get("/next");
  assertEquals(await peer.readPreamble(), "GET /next HTTP/1.1\r\n\r\n");
  await peer.send("HTTP/1.1 200 OK\r\n\r\n");
  assertEquals((await responding).status, 200);
}

for (const [name, make] of Object.entries(ways)) {
  Deno.test(`${name}: aborted before the first byte, nothing is sent`, async () => {
    using connected = await connect();
    const { conn } = connected;
    for (const expected of reasons) {
      await assertReason(make(conn, { signal: AbortSignal.abort(expected) }), expected, "aborted");
      const aborter = new AbortController();
      const responding = make(conn, { signal: aborter.signal });
      aborter.abort(expected);
      await assertReason(responding, expected, "in the same turn");
    }
    await assertUntouched(connected);
  });

  Deno.test(`${name}: aborted while it waits for the response, the connection closes`, async () => {
    for (const expected of reasons) {
      using connected = await connect();
      const { conn, peer } = connected;
      const aborter = new AbortController();
      const responding = make(conn, { signal: aborter.signal });
      const rejecting = assertReason(responding, expected, name);
      await peer.readPreamble();
      aborter.abort(expected);
      assert(conn.closed);
      await rejecting;
      await peer.readToEnd();
    }
  });

  Deno.test(`${name}: an abort after the response has no effect`, async () => {
    await using serving = serve(async ({ method, body }) => {
      await body?.read();
      const answer = method === "HEAD" ? null : new Uint8Array(3);
      return [200, "OK", method === "HEAD" ? { "content-length": 3 } : {}, answer];
    });
    using conn = await serving.makeClient().connect();
    for (let i = 0; i < 3; i++) {
      const aborter = new AbortController();
      const response = await make(conn, { signal: aborter.signal });
      await response.body?.read();
      aborter.abort(reason);
    }
    assertEquals(conn.closed, false);
  });
}

Deno.test("the source of a body that is not sent is canceled", async () => {
  using connected = await connect();
  const { conn } = connected;
  for (const when of ["before", "in the same turn"]) {
    const tracked = new TrackedStream([new Uint8Array(5)]);
    const left: string[] = [];
    const items = {
      [Symbol.iterator]: () => ({
        next: () => ({ done: true, value: undefined } as const),
        return: (why: unknown) => {
          assertStrictEquals(why, reason);
          left.push("left");
          return { done: true, value: undefined } as const;
        },
      }),
    };
    for (const body of [new Body(tracked.stream, 5), new BodyIter(items, 5)]) {
      const aborter = new AbortController();
      if (when === "before") aborter.abort(reason);
      const responding = conn.put("/", {}, body, { signal: aborter.signal });
      aborter.abort(reason);
      await assertReason(responding, reason, when);
    }
    assertEquals(tracked.cancelled, [reason]);
    assertEquals(left, ["left"]);
  }
  await assertUntouched(connected);
});

Deno.test("aborted from inside the body's source, before its first byte", async (t) => {
  const sources: Readonly<Record<string, (abort: () => void) => BodyOut>> = {
    "an iterator": (abort) =>
      new BodyIter(
        (function* () {
          abort();
          yield new Uint8Array(5);
        })(),
        5,
      ),
    "an iterator of chunks": (abort) =>
      new ChunkedBodyIter((function* (): Generator<Chunk> {
        abort();
        yield [null, new Uint8Array(0)];
      })()),
    "a source of bytes": (abort) =>
      new Body({
        read: (into) => {
          abort();
          return Promise.resolve(into.length);
        },
      }, 5),
  };
  for (const [name, make] of Object.entries(sources)) {
    for (const expected of reasons) {
      await t.step(`${name}, ${expected}`, async () => {
        using connected = await connect();
        const aborter = new AbortController();
        const body = make(() => aborter.abort(expected));
        const { signal } = aborter;
        await assertReason(connected.conn.put("/", {}, body, { signal }), expected, name);
        await assertUntouched(connected);
      });
    }
  }
});

Deno.test("aborted from inside the body's source, later", async () => {
  using connected = await connect();
  const { conn, peer } = connected;
  const aborter = new AbortController();
  async function* items() {
    yield new Uint8Array(5);
    await peer.readPreamble();
    aborter.abort(reason);
    yield new Uint8Array(5);
  }
  const responding = conn.put("/", {}, new BodyIter(items(), 10), { signal: aborter.signal });
  await assertReason(responding, reason);
  assert(conn.closed);
  assert((await peer.readToEnd()).received.length < 10);
});

Deno.test("aborted while the body waits for its source", async (t) => {
  for (const chunked of [false, true]) {
    await t.step(chunked ? "chunked" : "of known length", async () => {
      using connected = await connect();
      const { conn, peer } = connected;
      const cancelled = Promise.withResolvers<unknown>();
      const stream = new ReadableStream<Uint8Array>({ cancel: cancelled.resolve });
      const body = chunked ? new ChunkedBody(stream) : new Body(stream, 5);
      const aborter = new AbortController();
      const responding = conn.put("/", {}, body, { signal: aborter.signal });
      const rejecting = assertReason(responding, reason);
      await peer.readPreamble();
      aborter.abort(reason);
      await rejecting;
      assertStrictEquals(await within(cancelled.promise, "the stream is canceled"), reason);
      await peer.assertClosedSilently();
    });
  }
});

Deno.test("aborted while the body waits for the peer", async () => {
  using connected = await connect();
  const { conn, peer } = connected;
  const aborter = new AbortController();
  const piece = new Uint8Array(1_000_000);
  const more = Promise.withResolvers<void>();
  let given = 0;
  let left = false;
  function* pieces() {
    try {
      for (;;) {
        if (++given === 3) more.resolve();
        yield piece;
      }
    } finally {
      left = true;
    }
  }
  const body = new BodyIter(pieces(), 1e12);
  const responding = conn.put("/", {}, body, { signal: aborter.signal });
  const rejecting = assertReason(responding, reason);
  await peer.readPreamble();
  await within(more.promise, "some pieces are taken");
  // Now whatever the kernel holds is full sooner or later; it doesn't matter which of both it is.
  aborter.abort(reason);
  await rejecting;
  assert(conn.closed && left);
});

Deno.test("invalid options are a TypeError, and nothing is sent", async () => {
  using connected = await connect();
  const { conn } = connected;
  const wrong: readonly unknown[] = [
    null,
    1,
    "signal",
    { signal: null },
    { signal: {} },
    { signal: new AbortController() },
    { sginal: new AbortController().signal },
    { timeout: 5 },
  ];
  // Nobody listens there: a client that began to connect would fail in another way.
  const client = new Client(["127.0.0.1", 1]);
  for (const options of wrong) {
    for (const target of [conn, client]) {
      const tracked = new TrackedStream([new Uint8Array(5)]);
      const body = new Body(tracked.stream, 5);
      const request = callWith(
        (given) => Reflect.apply(target.request, target, ["PUT", "/", {}, body, given]),
        options,
      );
      assertInstanceOf(await rejectionOf(request as Promise<unknown>, "wrong"), TypeError);
      assertEquals(tracked.cancelled.length, 1);
    }
    for (const [name, make] of Object.entries(ways)) {
      const request = callWith((given) => make(conn, given), options);
      assertInstanceOf(await rejectionOf(request as Promise<unknown>, name), TypeError, name);
    }
  }
  for (const options of [undefined, {}, { signal: undefined }]) {
    const responding = conn.get("/", {}, options);
    await connected.peer.readPreamble();
    await connected.peer.send("HTTP/1.1 200 OK\r\n\r\n");
    assertEquals((await responding).status, 200);
  }
});

Deno.test("aborting a failed request changes nothing", async () => {
  const { signal, abort } = withAbort();
  using connected = await connect();
  const responding = connected.conn.get("/", {}, { signal });
  const failing = rejectionOf(responding, "nonsense");
  await connected.peer.readPreamble();
  await connected.peer.send("nonsense\r\n\r\n");
  const error = await failing;
  abort(reason);
  assert(error !== reason && connected.conn.closed);
});

Deno.test("the next request detects what a peer had sent too early", async () => {
  using connected = await connect();
  const { conn, peer } = connected;
  await peer.send("HTTP/1.1 200 OK\r\n\r\n");
  const { signal, abort } = withAbort();
  const responding = conn.get("/", {}, { signal });
  abort(reason);
  await assertReason(responding, reason);
  const error = await rejectionOf(conn.get("/"), "bytes that nobody has asked for");
  assertEquals((error as { code?: string }).code, "EXCESS_BYTES");
});
