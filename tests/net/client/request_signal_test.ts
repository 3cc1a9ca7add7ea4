/**
 * The signal of a request, aborted at every moment; and the signal of a session: a client that
 * leaves is detected, and no byte that it sends is lost.
 */
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import {
  Body,
  BodyIter,
  type BodyOut,
  type ChunkedBody,
  ConnectionClosedError,
  EmptyPreambleError,
  type Response,
} from "@degu/degu/base";
import { Client, type Connection, type RequestOptions } from "@degu/degu/client";
import {
  assertReason,
  CLOSING_ACTIONS,
  makeAbortController,
  makePendingPromise,
  reason,
  waitForAbort,
} from "@degu/testing/aborts.ts";
import { connect, type ConnectedClient, readSentRequest } from "./connected.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { RawServer, withTimeout } from "@degu/testing/raw_peer.ts";
import { connectRawPeer, serve } from "@degu/testing/serving.ts";
import { TrackedStream } from "@degu/testing/streams.ts";
import { setTimeout as delay } from "node:timers/promises";
import type { App, ResponseTuple } from "@degu/degu/server";
import { recordIntervals } from "@degu/testing/clock.ts";
import { endpointKinds } from "../endpoints.ts";
import { decodeLatin1, encodeLatin1 } from "@degu/testing/wire_grammar.ts";

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

Deno.test("a request that the getter of its header aborts sends no byte, and leaves the connection open", async () => {
  using pair = await connect();
  const { signal, abort } = makeAbortController();
  let requestSent: Promise<void> | undefined;
  const headers = {
    get "x-header"() {
      ({ requestSent } = pair.conn);
      abort(reason);
      return "value";
    },
  };
  await assertReason(pair.conn.get("/", headers, { signal }), reason);
  await withTimeout(requestSent!, "no more is sent");
  await assertUnsent(pair);
});

Deno.test("a request is aborted while its body waits for the peer", async () => {
  await using dir = await createTempDir();
  using pair = await connect({}, `${dir.path}/socket`);
  const { signal, abort } = makeAbortController();
  let hasReturned = false;
  function* makePieces() {
    try {
      for (;;) yield new Uint8Array(1_000_000);
    } finally {
      hasReturned = true;
    }
  }
  const responding = pair.conn.put("/", {}, new BodyIter(makePieces(), 1e12), { signal });
  const rejecting = assertReason(responding, reason);
  await pair.peer.readPreamble();
  await pair.peer.readExactly(1);
  // The rest of the first piece doesn't fit into the buffer of a Unix socket.
  abort(reason);
  await rejecting;
  assert(pair.conn.closed && hasReturned);
});

Deno.test("the source of a request's body is canceled with the reason for which its connection closes", async () => {
  for (const isAborted of [true, false]) {
    using pair = await connect();
    const { promise: canceled, resolve: cancel } = Promise.withResolvers<unknown>();
    const body = new Body(new ReadableStream({ cancel }), 5);
    const abortController = new AbortController();
    const { signal } = abortController;
    const requesting = catchRejection(pair.conn.put("/", {}, body, { signal }), "put");
    await pair.peer.readPreamble();
    if (isAborted) abortController.abort(reason);
    else pair.conn.close();
    if (isAborted) assert(await canceled === reason);
    else assertInstanceOf(await canceled, ConnectionClosedError);
    await requesting;
  }
});

Deno.test("invalid options are a TypeError, and the request is not sent", async () => {
  using connected = await connect();
  const { conn } = connected;
  const invalidOptions: readonly unknown[] = [
    null,
    { signal: new AbortController() },
    // It has the members of a signal that is aborted.
    { signal: { aborted: true, throwIfAborted: () => assert(false) } },
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

// ───────────────────────── signals of a server

const get = "GET / HTTP/1.1\r\n\r\n";
const ok: ResponseTuple = [200, "OK", {}, null];
const OK = "HTTP/1.1 200 OK\r\n";

/** Runs the rows concurrently, because each waits for a part of a second. */
function runConcurrently<T>(
  rows: Readonly<Record<string, T>>,
  run: (label: string, row: T) => unknown,
) {
  return Promise.all(Object.entries(rows).map(([label, row]) => run(label, row)));
}

const put = (length: number, bytes: string) =>
  `PUT / HTTP/1.1\r\ncontent-length: ${length}\r\n\r\n${bytes}`;
const requests: Readonly<Record<string, string>> = {
  "no body": get,
  "an unread body": put(5, "hello"),
  "a body that was cut": put(500, "hello"),
  "the next request after it": get + get,
};

for (const [closing, leave] of Object.entries(CLOSING_ACTIONS)) {
  Deno.test(`the signal is aborted when a client ${closing} while an app is pending`, async () => {
    using _intervals = recordIntervals(10);
    await runConcurrently(requests, async (label, request) => {
      await using pair = await connectRawPeer(async ({ body }, session) => {
        await waitForAbort(session.signal);
        await body?.cancel();
        return [400, "Bad Request", {}, null];
      }, request);
      await pair.appCalled;
      const signalAborted = waitForAbort(pair.session.signal);
      await leave(pair.peer);
      assertInstanceOf(await signalAborted, ConnectionClosedError, label);
    });
  });
}

Deno.test("an app that fails because its client has left causes no line of level error, also if the reason is only the cause of its error", async () => {
  using _intervals = recordIntervals(10);
  const failures: Readonly<Record<string, (reason: unknown) => unknown>> = {
    "the reason": (reason) => reason,
    "an error that it causes": (cause) => new Error("the work has stopped", { cause }),
  };
  await runConcurrently(failures, async (label, fail) => {
    await using pair = await connectRawPeer(async (_request, session) => {
      await waitForAbort(session.signal);
      throw fail(session.signal.reason);
    }, get);
    await pair.appCalled;
    await pair.peer.closeWrite();
    await pair.peer.assertClosedSilently();
    const levels = pair.logger.lines.map(([level]) => level);
    assertEquals(levels, ["debug"], label);
  });
});

Deno.test("the signal is aborted when a client leaves while onConnect is pending", async () => {
  using _intervals = recordIntervals(10);
  await runConcurrently(CLOSING_ACTIONS, async (closing, leave) => {
    let handled = 0;
    await using pair = await connectRawPeer({
      onConnect: async (session) => await waitForAbort(session.signal) === null,
      handle: () => (handled++, ok),
    }, get);
    const signalAborted = waitForAbort(pair.session.signal);
    await leave(pair.peer);
    assertInstanceOf(await signalAborted, ConnectionClosedError, closing);
    await pair.logger.waitFor("info");
    assertEquals(handled, 0);
  });
});

Deno.test("the signal is aborted when a client leaves while a response is idle", async () => {
  using _intervals = recordIntervals(10);
  using intervals = recordIntervals();
  await runConcurrently(CLOSING_ACTIONS, async (closing, leave) => {
    await using pair = await connectRawPeer((_request, session) => {
      async function* makePieces() {
        yield encodeLatin1("hello");
        await waitForAbort(session.signal);
        yield encodeLatin1("world");
      }
      return [200, "OK", {}, new BodyIter(makePieces(), 10)];
    }, get);
    await pair.peer.readUntil("hello");
    const signalAborted = waitForAbort(pair.session.signal);
    await leave(pair.peer);
    assertInstanceOf(await signalAborted, ConnectionClosedError);
    // A peer that has closed only its write side receives the rest.
    if (closing !== "closes") await pair.peer.readUntil("world");
  });
  assert(intervals.started.includes(300), "how often it is looked for");
});

/**
 * Bodies of unknown length that send a word and then wait forever, and how each is notified of its
 * end.
 */
const endless: Readonly<Record<string, (canceled: (reason?: unknown) => void) => BodyOut>> = {
  "a stream": (cancel) =>
    new ReadableStream({
      start: (controller) => controller.enqueue(encodeLatin1("frame")),
      cancel,
    }),
  "an iterable": (canceled) => {
    const steps = [Promise.resolve({ done: false, value: encodeLatin1("frame") })];
    const takeStep = () => steps.pop() ?? new Promise<never>(() => {});
    const stop = () => (canceled(), Promise.resolve({ done: true as const, value: undefined }));
    return { [Symbol.asyncIterator]: () => ({ next: takeStep, return: stop }) };
  },
};

Deno.test("a body of unknown length is canceled when its client leaves, and its slot is freed, even if the app doesn't read the signal", async () => {
  using _intervals = recordIntervals(10);
  await runConcurrently(CLOSING_ACTIONS, async (closing, leave) => {
    await runConcurrently(endless, async (label, makeBody) => {
      const canceled = Promise.withResolvers<unknown>();
      await using pair = await connectRawPeer(
        () => [200, "OK", {}, makeBody(canceled.resolve)],
        get,
      );
      await pair.peer.readUntil("frame");
      await leave(pair.peer);
      await withTimeout(canceled.promise, `${label}: the client ${closing}`);
      await withTimeout(pair.sessionEnded, `${label}: the end of the session`);
      assertEquals(pair.logger.lines.filter(([level]) => level !== "debug"), [], label);
    });
  });
});

Deno.test("the reason of the signal is that the server was closed, even while an app is pending", async () => {
  using _intervals = recordIntervals(10);
  for (const handle of [() => new Promise<never>(() => {}), () => ok]) {
    const pair = await connectRawPeer(handle, get);
    if (handle() === ok) await pair.peer.readPreamble();
    else await pair.appCalled;
    const sessionAborted = waitForAbort(pair.session.signal);
    await pair[Symbol.asyncDispose]();
    const reason = await sessionAborted;
    assertInstanceOf(reason, ConnectionClosedError);
    assertEquals(reason.message, "the session has ended: closed by the server");
    assertEquals(pair.session.message, "closed by the server");
  }
});

Deno.test("the signal is already aborted if it is first read after the session has ended", async () => {
  using _intervals = recordIntervals(10);
  await using pair = await connectRawPeer(() => [500, "Internal Server Error", {}, null], get);
  await pair.peer.readPreamble();
  pair.peer.close();
  await pair.sessionEnded;
  assert(pair.session.signal.aborted);
});

Deno.test("the reason of the signal is an EmptyPreambleError if the client left between two requests", async () => {
  using _intervals = recordIntervals(10);
  for (const isReadBefore of [true, false]) {
    await using pair = await connectRawPeer(() => ok, get);
    const { peer, session, logger } = pair;
    await peer.readPreamble();
    const earlyAbort = isReadBefore ? waitForAbort(session.signal) : null;
    peer.close();
    const { message } = new EmptyPreambleError();
    assertEquals(await logger.waitFor("debug"), [`${session}: ended: ${message}`]);
    assertEquals(session.message, `EmptyPreambleError: ${message}`);
    const reason = await waitForAbort(session.signal);
    assertInstanceOf(reason, EmptyPreambleError);
    assert(earlyAbort === null || await earlyAbort === reason);
    assert(session.signal.reason === reason);
  }
});

for (const { name, available, start } of endpointKinds) {
  Deno.test(
    `${name}: client and server detect that the other ends a request, a session or all sessions`,
    { ignore: !available },
    async () => {
      using _intervals = recordIntervals(10);
      const appCalled = Promise.withResolvers<void>();
      const signalReason = Promise.withResolvers<unknown>();
      await using endpoint = await start(async ({ uri }, session) => {
        if (uri !== "/slow") return ok;
        appCalled.resolve();
        signalReason.resolve(await waitForAbort(session.signal));
        return ok;
      });
      const { server, client } = endpoint;
      const aborter = new AbortController();
      using first = await client.connect();
      const response = catchRejection(
        first.get("/slow", {}, { signal: aborter.signal }),
        "the request",
      );
      await withTimeout(appCalled.promise, "the app works");
      aborter.abort();
      assertInstanceOf(
        await withTimeout(signalReason.promise, "the signal is aborted"),
        ConnectionClosedError,
      );
      assert(await response === aborter.signal.reason && first.closed);

      for (const close of ["session", "shutdown"] as const) {
        using second = await client.connect();
        assertEquals((await second.get("/")).status, 200);
        const session = [...server.sessions].at(-1)!;
        if (close === "session") session.close();
        else await server.shutdown();
        await catchRejection(second.get("/"), close);
        assertEquals([server.sessions.has(session), session.signal.aborted], [false, true]);
      }
    },
  );
}

// ───────────────────────── responses that fail after the client has left

Deno.test("a mistake of an app is an error of the app, even after the client has left", async () => {
  using _intervals = recordIntervals(10);
  const mistakes: Readonly<Record<string, () => ResponseTuple>> = {
    "an app that throws": () => {
      throw new Error("a mistake");
    },
    "an app that returns a body with 204": () => [204, "No Content", {}, new Uint8Array(1)],
  };
  await runConcurrently(mistakes, async (_label, response) => {
    await using pair = await connectRawPeer(async (_request, session) => {
      await waitForAbort(session.signal);
      return response();
    }, get);
    await pair.peer.closeWrite();
    await pair.logger.waitFor("error");
  });
  // The body fails while the client is connected.
  await using connectedPair = await connectRawPeer((_request, session) => {
    assert(!session.signal.aborted);
    return [200, "OK", {}, new BodyIter([encodeLatin1("frame")], 1000)];
  }, get);
  await connectedPair.logger.waitFor("error");
});

Deno.test("watching a client loses none of the bytes that the client sends", async () => {
  using _intervals = recordIntervals(10);
  const watched = new Set(["IPv4", "Unix path", "TLS over IPv4", "TLS over a Unix path"]);
  const kinds = endpointKinds.filter(({ name, available }) => available && watched.has(name));
  assertEquals(kinds.length, watched.size);
  await Promise.all(kinds.map(async (kind) => {
    await using endpoint = await kind.start(async ({ uri, body }, session) => {
      // The connection is probed after this.
      assert(!session.signal.aborted);
      if (uri === "/slow") await delay(WATCHED_MILLISECONDS);
      return [200, "OK", {}, encodeLatin1(uri + (await body?.text() ?? ""))];
    });
    using conn = await endpoint.client.connect();
    for (const [uri, text] of [["/1", "x"], ["/slow", "hello ".repeat(5_000)], ["/2", "y"]]) {
      const response = await conn.post(uri!, {}, encodeLatin1(text!));
      assertEquals(await response.body?.text(), `${uri}${text}`);
    }
  }));
});

// ───────────────────────── watching a client loses no bytes

/** Enough for a few probes of a connection, which occur every 30 ms. */
const WATCHED_MILLISECONDS = 90;

const request = (uri: string, text: string) =>
  `PUT ${uri} HTTP/1.1\r\ncontent-length: ${text.length}\r\n\r\n${text}`;
const formatOk = (uri: string, text: string) =>
  `${OK}content-length: ${text.length}\r\nuri: ${uri}\r\n\r\n${text}`;
const MEBIBYTE = `100000\r\n${"x".repeat(1048576)}\r\n`;
const LARGE = `PUT /large HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n${MEBIBYTE}${MEBIBYTE}`;

/** An app that reads the body of the first request late, while the client is watched. */
const slowApp: App = async ({ uri, body }, { signal, requests }) => {
  assert(!signal.aborted);
  if (requests === 0) await delay(WATCHED_MILLISECONDS);
  return [200, "OK", { uri }, await body?.bytes() ?? null];
};
/** An app that is slow at the end of a large body, while the client is watched. */
const slowAtEndApp: App = async ({ uri, body }, { signal }) => {
  assert(!signal.aborted);
  let remainingBytes = 2 * 1048576;
  await body?.writeTo({
    pieceBytes: 1048576,
    async write(bytes) {
      remainingBytes -= bytes.length;
      if (remainingBytes <= 0) await delay(WATCHED_MILLISECONDS);
    },
  });
  return [200, "OK", { uri }, null];
};
/**
 * The bytes that a client sends while it is probed, its response, and the bytes of the next
 * exchange.
 */
const watching: Readonly<Record<string, readonly [App, ...string[]]>> = {
  "requests, whole and in part": [
    slowApp,
    `${request("/1", "one")}${request("/2", "two")}PUT /3 HTTP/1.1\r\n`,
    formatOk("/1", "one") + formatOk("/2", "two"),
    "content-length: 5\r\n\r\nthree",
    formatOk("/3", "three"),
  ],
  // The large request has grown the buffer, which must not shrink during a pending read.
  "a large body, and a request after it": [
    slowAtEndApp,
    `${LARGE}0\r\n\r\n`,
    `${OK}content-length: 0\r\nuri: /large\r\n\r\n`,
    "GET /next HTTP/1.1\r\n\r\n",
    `${OK}content-length: 0\r\nuri: /next\r\n\r\n`,
  ],
};

Deno.test("requests that arrive while a client is watched, or later, get responses in order", async () => {
  using _intervals = recordIntervals(10);
  await runConcurrently(watching, async (label, [app, ...texts]) => {
    await using pair = await connectRawPeer(app);
    for (let i = 0; i < texts.length; i += 2) {
      await pair.peer.send(texts[i]!);
      const expected = texts[i + 1]!;
      assertEquals(await pair.peer.readExactly(expected.length), expected, label);
    }
  });
});

Deno.test("watching a client changes no byte that the sink of a body has not written yet", async () => {
  using _intervals = recordIntervals(10);
  // The later bytes are as many as the buffered ones, so they could overwrite them.
  const [x, y] = ["x".repeat(256), "y".repeat(256)];
  const framings = {
    "content-length: 512": [x, y],
    "transfer-encoding: chunked": [`100\r\n${x}\r\n`, `100\r\n${y}\r\n0\r\n\r\n`],
  };
  await runConcurrently(framings, async (framing, [first, rest]) => {
    const writeStarted = Promise.withResolvers<void>();
    await using pair = await connectRawPeer(async ({ body }, { signal }) => {
      assert(!signal.aborted);
      let text = "";
      await body?.writeTo({
        async write(bytes) {
          writeStarted.resolve();
          if (text === "") await delay(WATCHED_MILLISECONDS);
          text += decodeLatin1(bytes);
        },
      });
      return [200, "OK", { uri: "/" }, encodeLatin1(text)];
    }, `PUT / HTTP/1.1\r\n${framing}\r\n\r\n${first}`);
    await writeStarted.promise;
    await pair.peer.send(rest!);
    const expected = formatOk("/", `${first}${rest}`);
    assertEquals(await pair.peer.readExactly(expected.length), expected, framing);
  });
});

Deno.test("reading ahead keeps the time limit of the wait for a body", async () => {
  using _intervals = recordIntervals(10);
  const framings = { "content-length: 5": "", "transfer-encoding: chunked": "" };
  await runConcurrently(framings, async (framing) => {
    await using pair = await connectRawPeer(
      async ({ body }, session) => {
        assert(!session.signal.aborted);
        await delay(WATCHED_MILLISECONDS);
        await body?.bytes();
        return ok;
      },
      `PUT / HTTP/1.1\r\n${framing}\r\n\r\n`,
      { timeout: 0.5 },
    );
    await pair.peer.assertClosedSilently(framing);
    const [message] = await pair.logger.waitFor("info");
    assert(message?.includes("ConnectionError: the peer kept"), `${framing}: ${message}`);
  });
});
