/** The signal of a request, aborted at every moment. */
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { Body, BodyIter, type ChunkedBody, type Response } from "@degu/degu/base";
import { Client, type Connection, type RequestOptions } from "@degu/degu/client";
import {
  assertReason,
  makeAbortController,
  makePendingPromise,
  reason,
} from "@degu/testing/aborts.ts";
import { connect, type ConnectedClient, readSentRequest } from "@degu/testing/connected.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { RawServer, withTimeout } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { TrackedStream } from "@degu/testing/streams.ts";

const HALF_RESPONSE = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello";

/** Reasons for `abort()`: an error, and values that are not errors. */
const reasons: readonly unknown[] = [reason, "text", null, 0];

type MakeRequest = (conn: Connection, options: RequestOptions) => Promise<Response>;

const ways: Readonly<Record<string, MakeRequest>> = {
  request: (conn, options) => conn.request("GET", "/", {}, null, options),
  put: (conn, options) => conn.put("/", {}, new Uint8Array(3), options),
  post: (conn, options) => conn.post("/", {}, new Uint8Array(70_000), options),
  get: (conn, options) => conn.get("/", {}, options),
  head: (conn, options) => conn.head("/", {}, options),
  delete: (conn, options) => conn.delete("/", {}, options),
  getRange: (conn, options) => conn.getRange("/", {}, 2, 5, options),
};

/** Asserts that no byte was sent, by making a request. */
async function assertUnsent(pair: ConnectedClient) {
  assertEquals(await readSentRequest(pair, pair.conn.get("/next")), "GET /next HTTP/1.1\r\n\r\n");
}

for (const [name, make] of Object.entries(ways)) {
  Deno.test(`${name}: an abort before the first byte sends no byte, and an abort while it waits closes the connection`, async () => {
    using pair = await connect();
    const { conn } = pair;
    await assertUnsent(pair);
    for (const expected of reasons) {
      await assertReason(make(conn, { signal: AbortSignal.abort(expected) }), expected, "aborted");
      const { signal, abort } = makeAbortController();
      const responding = make(conn, { signal });
      abort(expected);
      await assertReason(responding, expected, "in the same turn");
    }
    await assertUnsent(pair);
    for (const expected of reasons) {
      using waiting = await connect();
      const { signal, abort } = makeAbortController();
      const rejecting = assertReason(make(waiting.conn, { signal }), expected, name);
      await waiting.peer.readPreamble();
      abort(expected);
      assert(waiting.conn.closed);
      await rejecting;
      await waiting.peer.readToEnd();
    }
  });
}

Deno.test("a request is aborted while its body waits for the peer", async () => {
  using pair = await connect();
  const { signal, abort } = makeAbortController();
  const thirdPiece = Promise.withResolvers<void>();
  let hasReturned = false;
  function* makePieces() {
    try {
      for (let count = 1;; count++) {
        if (count === 3) thirdPiece.resolve();
        yield new Uint8Array(1_000_000);
      }
    } finally {
      hasReturned = true;
    }
  }
  const responding = pair.conn.put("/", {}, new BodyIter(makePieces(), 1e12), { signal });
  const rejecting = assertReason(responding, reason);
  await pair.peer.readPreamble();
  await withTimeout(thirdPiece.promise, "some pieces are taken");
  // A buffer of the kernel is full now; which one doesn't matter.
  abort(reason);
  await rejecting;
  assert(pair.conn.closed && hasReturned);
});

Deno.test("invalid options are a TypeError, and the request is not sent", async () => {
  using connected = await connect();
  const { conn } = connected;
  const invalidOptions: readonly unknown[] = [
    null,
    { signal: new AbortController() },
    { sginal: new AbortController().signal },
  ];
  // There is no listener, so a client that tries to connect fails with another error.
  const client = new Client(["127.0.0.1", 1]);
  for (const options of invalidOptions) {
    for (const target of [conn, client]) {
      const tracked = new TrackedStream([new Uint8Array(5)]);
      const body = new Body(tracked.stream, 5);
      const request = Reflect.apply(target.request, target, ["PUT", "/", {}, body, options]);
      assertInstanceOf(await catchRejection(request, "wrong"), TypeError);
      assertEquals(tracked.cancelReasons.length, 1);
    }
    for (const [name, make] of Object.entries(ways)) {
      const request = make(conn, options as RequestOptions);
      assertInstanceOf(await catchRejection(request, name), TypeError, name);
    }
  }
  for (const options of [undefined, {}, { signal: undefined }]) {
    assertEquals(
      await readSentRequest(connected, conn.get("/", {}, options)),
      "GET / HTTP/1.1\r\n\r\n",
    );
  }
});

const halfChunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";

/** The operations of a response's body: each must fail with the reason. */
const readers: Readonly<Record<string, (body: Body | ChunkedBody) => Promise<unknown>>> = {
  read: (body) => body.read(),
  "writeTo a sink that is blocked": (body) => body.writeTo({ write: makePendingPromise }),
  iterating: async (body) => {
    for await (const _ of body);
  },
};

for (
  const [kind, response] of Object.entries({
    "known length": HALF_RESPONSE,
    "chunked": halfChunked,
  })
) {
  for (const [name, read] of Object.entries(readers)) {
    Deno.test(`${kind}, ${name}: pending and later reads of the body reject with the reason`, async () => {
      for (const expected of name === "read" ? reasons : [reason]) {
        for (const isEarly of [true, false]) {
          using pair = await connect();
          const { signal, abort } = makeAbortController();
          const { body } = await pair.answer(response, { signal });
          assert(body !== null);
          const reading = isEarly ? assertReason(read(body), expected, name) : null;
          // The body has read the buffered bytes, and waits.
          if (isEarly) await new Promise((resolve) => setTimeout(resolve));
          abort(expected);
          assert(pair.conn.closed);
          await reading;
          await assertReason(read(body), expected, `${name}, later`);
          await assertReason(body.read(), expected, "read, again");
          await assertReason(body.read(1 as never), expected, "read a byte, again");
        }
      }
    });
  }
}

Deno.test("an abort while the last byte is passed on takes effect, and a later abort does not", async () => {
  for (const isLate of [false, true]) {
    using pair = await connect();
    const { signal, abort } = makeAbortController();
    const { body } = await pair.answer(`${HALF_RESPONSE}world`, { signal });
    const write = () => Promise.resolve(abort(reason));
    // All bytes are buffered, so text() reads the last byte at once.
    const reading = isLate ? body!.text() : body!.writeTo({ write });
    if (isLate) abort(reason);
    if (isLate) assertEquals(await reading, "helloworld");
    else await assertReason(reading, reason);
    assertEquals(pair.conn.closed, !isLate);
  }
});

for (const phase of ["in onConnect", "waiting", "reading"]) {
  for (const first of ["the client's", "the request's", "one and the same"]) {
    Deno.test(`the first of two signals to be aborted counts: ${first}, ${phase}`, async () => {
      const [firstController, secondController] = [new AbortController(), new AbortController()];
      const [client, request] = first === "the request's"
        ? [secondController, firstController]
        : [firstController, secondController];
      const options = { signal: first === "one and the same" ? client.signal : request.signal };
      using server = new RawServer();
      const connected = Promise.withResolvers<void>();
      const maker = new Client(server.address, {
        signal: client.signal,
        onConnect:
          () => (connected.resolve(), phase === "in onConnect" ? makePendingPromise() : true),
      });
      const responding = maker.request("GET", "/", {}, null, options);
      responding.catch(() => {});
      const peer = await server.accept();
      await withTimeout(connected.promise, "onConnect is called");
      if (phase !== "in onConnect") await peer.readPreamble();
      if (phase === "reading") await peer.send(HALF_RESPONSE);
      const rejection = phase === "reading" ? (await responding).body!.text() : responding;
      const rejecting = assertReason(rejection, reason);
      firstController.abort(reason);
      secondController.abort(new Error("too late"));
      await rejecting;
      await peer.assertClosedSilently();
    });
  }
}

/** Makes a signal count its listeners. */
function countListeners(signal: AbortSignal) {
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

Deno.test("no listener remains on a signal after hundreds of requests", async () => {
  await using serving = serve(async ({ path, body }) => {
    await body?.read();
    const length = Number(path[0]);
    return [200, "OK", {}, length < 0 ? null : new Uint8Array(length)];
  }, { maxRequests: Infinity });
  const { signal } = new AbortController();
  const count = countListeners(signal);
  const options = { signal };
  const clientSignal = new AbortController().signal;
  const countOfClient = countListeners(clientSignal);
  const client = serving.makeClient({ signal: clientSignal, onConnect: () => true });
  using conn = await serving.makeClient().connect();
  for (let i = 0; i < 300; i++) {
    const length = [-1, 0, 5][i % 3]!;
    const { body } = await conn.put(`/${length}`, {}, new Uint8Array(i % 2), options);
    await body?.read();
    assertEquals(count.now, 0);
  }
  for (let i = 0; i < 9; i++) {
    // Bodies are read, canceled, or unread when the connection closes.
    const { body } = await client.request("GET", "/5", {}, null, options);
    if (i % 3 === 0) await body!.text();
    else if (i % 3 === 1) await body!.cancel();
    else await body!.read(3).then(() => body!.cancel());
    assertEquals([count.now, countOfClient.now], [0, 0]);
    using otherConn = await client.connect(undefined, options);
    await otherConn.get("/5", {}, options);
    otherConn.close();
    (await client.connect()).close();
    await catchRejection(conn.get("bad uri", {}, options), "a mistake");
    assertEquals([count.now, countOfClient.now], [0, 0]);
  }
  assert(countOfClient.most > 0);
  using server = new RawServer();
  const failing = new Client(server.address).request("GET", "/", {}, null, options);
  const rejection = catchRejection(failing, "a peer that closes");
  (await server.accept()).close();
  await rejection;
  assertEquals(count.now, 0);
  assert(count.most <= 2, `${count.most} at a time`);
});
