/** The signal of one request, at every moment of it. */
import { assert, assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
import {
  bodies,
  Body,
  BodyIter,
  type BodyOut,
  type Chunk,
  ChunkedBody,
  ChunkedBodyIter,
  type Response,
} from "@degu/degu/base";
import { Client, type Connection, type RequestOptions } from "@degu/degu/client";
import { assertReason, half, never, reason, reasons, withAbort } from "@degu/testing/aborts.ts";
import { connect } from "@degu/testing/connected.ts";
import { callWith, rejectionOf } from "@degu/testing/expectations.ts";
import { RawServer, within } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { TrackedStream } from "@degu/testing/streams.ts";

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
    await assertUntouched(connected);
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

const halfChunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";

/** What can be done with the body of a response: all of it has to fail with the reason. */
const reads: Readonly<Record<string, (body: Body | ChunkedBody) => Promise<unknown>>> = {
  read: (body) => body.read(),
  text: (body) => body.text(),
  json: (body) => body.json(),
  writeTo: (body) => body.writeTo({ write: () => Promise.resolve() }),
  "writeTo a sink that is blocked": (body) => body.writeTo({ write: never }),
  "writeTo a stream that is blocked": (body) => body.writeTo(new WritableStream({ write: never })),
  readable: async (body) => {
    const reader = body.readable.getReader();
    try {
      while (!(await reader.read()).done);
    } finally {
      reader.releaseLock();
    }
  },
  iterating: async (body) => {
    for await (const _ of body);
  },
  readChunk: async (body) => {
    if (!body.chunked) return await body.read();
    for (;;) await body.readChunk();
  },
};

class OtherBody {
  readonly chunked = false as const;
  readonly contentLength: number;
  constructor(readonly source: { read(into: Uint8Array): Promise<number | null> }, length: number) {
    this.contentLength = length;
  }
  async read(): Promise<unknown> {
    for (;;) await this.source.read(new Uint8Array(100));
  }
}

for (const [kind, answer] of Object.entries({ "known length": half, "chunked": halfChunked })) {
  for (const [name, read] of Object.entries(reads)) {
    Deno.test(`${kind}, ${name}: pending and later reads of the body reject with the reason`, async () => {
      for (const expected of reasons) {
        for (const early of [true, false]) {
          using connected = await connect();
          const { conn, peer } = connected;
          const aborter = new AbortController();
          const { body } = await connected.answer(answer, { signal: aborter.signal });
          assert(body !== null);
          const reading = early ? assertReason(read(body), expected, name) : null;
          // The body has taken what is there, and waits.
          if (early) await new Promise((resolve) => setTimeout(resolve));
          aborter.abort(expected);
          assert(conn.closed);
          await reading;
          await assertReason(read(body), expected, `${name}, later`);
          await assertReason(body.read(), expected, "read, again");
          await assertReason(body.read(1 as never), expected, "read a byte, again");
          await peer.readToEnd();
        }
      }
    });
  }
}

Deno.test("a foreign body rejects with the reason, too", async () => {
  const others = { ...bodies, Body: OtherBody as never };
  using connected = await connect({ bodies: others });
  const aborter = new AbortController();
  const { body } = await connected.answer(half, { signal: aborter.signal });
  const reading = assertReason(body!.read(), reason);
  aborter.abort(reason);
  await reading;
  await assertReason(body!.read(), reason, "later");
});

Deno.test("an abort while the last byte is passed on takes effect, and one after it does not", async () => {
  const whole = `${half}world`;
  {
    using connected = await connect();
    const aborter = new AbortController();
    const { body } = await connected.answer(whole, { signal: aborter.signal });
    const sink = {
      write: () => {
        aborter.abort(reason);
        return Promise.resolve();
      },
    };
    await assertReason(body!.writeTo(sink), reason);
    assert(connected.conn.closed);
  }
  {
    using connected = await connect();
    const aborter = new AbortController();
    const { body } = await connected.answer(whole, { signal: aborter.signal });
    const reading = body!.text();
    // All of it was there: the last byte is taken.
    aborter.abort(reason);
    assertEquals(await reading, "helloworld");
    assertEquals(connected.conn.closed, false);
  }
});

Deno.test("an abort in the same turn as the last byte yields the whole body, or the reason", async () => {
  let aborted = 0;
  for (let turns = 0; turns < 12; turns++) {
    using connected = await connect();
    const { conn, peer } = connected;
    const aborter = new AbortController();
    const { body } = await connected.answer(half, { signal: aborter.signal });
    const reading = body!.text().catch((error) => error);
    const sending = peer.send("world");
    for (let i = 0; i < turns; i++) await new Promise((resolve) => setTimeout(resolve));
    aborter.abort(reason);
    await sending.catch(() => {});
    const result = await within(reading, "reading ends");
    if (conn.closed) aborted++;
    assertStrictEquals(result, conn.closed ? reason : "helloworld");
  }
  assert(aborted > 0);
});

Deno.test("the first of two signals to be aborted counts", async (t) => {
  for (const first of ["client's", "request's"]) {
    for (const phase of ["waiting", "reading"]) {
      await t.step(`${first}, ${phase}`, async () => {
        const client = new AbortController();
        const request = new AbortController();
        using connected = await connect({ signal: client.signal });
        const { conn, peer } = connected;
        const responding = conn.get("/", {}, { signal: request.signal });
        responding.catch(() => {});
        await peer.readPreamble();
        if (phase === "reading") await peer.send(half);
        const failing = phase === "reading" ? (await responding).body!.text() : responding;
        const rejecting = assertReason(failing, reason);
        const [now, later] = first === "client's" ? [client, request] : [request, client];
        now.abort(reason);
        later.abort(new Error("too late"));
        await rejecting;
        assert(conn.closed);
      });
    }
  }
  await t.step("one and the same", async () => {
    const { signal, abort } = withAbort();
    using connected = await connect({ signal });
    const rejecting = assertReason(connected.conn.get("/", {}, { signal }), reason);
    await connected.peer.readPreamble();
    abort(reason);
    await rejecting;
  });
});

Deno.test("client request: aborted by either signal in onConnect, and while it waits", async (t) => {
  for (const phase of ["onConnect", "waiting", "reading"]) {
    for (const whose of ["client", "request"]) {
      await t.step(`${phase}, the ${whose}'s`, async () => {
        using server = new RawServer();
        const { signal, abort } = withAbort();
        const { signal: other } = withAbort();
        const connected = Promise.withResolvers<void>();
        const client = new Client(server.address, {
          signal: whose === "client" ? signal : other,
          onConnect: () => {
            connected.resolve();
            return phase === "onConnect" ? never() : true;
          },
        });
        const options = { signal: whose === "client" ? other : signal };
        const responding = client.request("GET", "/", {}, null, options);
        responding.catch(() => {});
        const peer = await server.accept();
        await connected.promise;
        if (phase !== "onConnect") await peer.readPreamble();
        if (phase === "reading") await peer.send(half);
        const failing = phase === "reading" ? (await responding).body!.text() : responding;
        const rejecting = assertReason(failing, reason);
        abort(reason);
        await rejecting;
        await peer.assertClosedSilently();
      });
    }
  }
});

/** A signal that counts who listens. */
function counted(signal: AbortSignal) {
  const count = { now: 0, most: 0 };
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...args: Parameters<typeof addEventListener>) => {
    count.most = Math.max(count.most, ++count.now);
    Reflect.apply(addEventListener, signal, args);
  };
  signal.removeEventListener = (...args: Parameters<typeof removeEventListener>) => {
    count.now--;
    Reflect.apply(removeEventListener, signal, args);
  };
  return count;
}

Deno.test("no listener remains on a signal after thousands of requests", async () => {
  await using serving = serve(async ({ path, body }) => {
    await body?.read();
    const length = Number(path[0]);
    return [200, "OK", {}, length < 0 ? null : new Uint8Array(length)];
  }, { maxRequests: Infinity });
  const { signal } = new AbortController();
  const count = counted(signal);
  const options = { signal };
  const ofClient = new AbortController().signal;
  const countOfClient = counted(ofClient);
  const client = serving.makeClient({ signal: ofClient, onConnect: () => true });
  using conn = await serving.makeClient().connect();
  for (let i = 0; i < 2000; i++) {
    const length = [-1, 0, 5][i % 3]!;
    const { body } = await conn.put(`/${length}`, {}, new Uint8Array(i % 2), options);
    await body?.read();
    assertEquals(count.now, 0);
  }
  for (let i = 0; i < 30; i++) {
    // Read, cancelled, and left when the connection closes.
    const { body } = await client.request("GET", "/5", {}, null, options);
    if (i % 3 === 0) await body!.text();
    else if (i % 3 === 1) await body!.cancel();
    else await body!.read(3).then(() => body!.cancel());
    assertEquals([count.now, countOfClient.now], [0, 0]);
    using other = await client.connect(undefined, options);
    await other.get("/5", {}, options);
    other.close();
    (await client.connect()).close();
    await rejectionOf(conn.get("bad uri", {}, options), "a mistake");
    assertEquals([count.now, countOfClient.now], [0, 0]);
  }
  assert(countOfClient.most > 0);
  using server = new RawServer();
  const failing = new Client(server.address).request("GET", "/", {}, null, options);
  const rejection = rejectionOf(failing, "a peer that closes");
  (await server.accept()).close();
  await rejection;
  assertEquals(count.now, 0);
  assert(count.most <= 2, `${count.most} at a time`);
});
