/** The signal of a session: a client that leaves is detected, and no byte that it sends is lost. */
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { setTimeout as delay } from "node:timers/promises";
import { BodyIter, type BodyOut, ConnectionClosedError, EmptyPreambleError } from "@degu/degu/base";
import type { App, ResponseTuple } from "@degu/degu/server";
import { CLOSING_ACTIONS, waitForAbort } from "@degu/testing/aborts.ts";
import { recordIntervals } from "@degu/testing/clock.ts";
import { endpointKinds } from "@degu/testing/endpoints.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { connectRawPeer } from "@degu/testing/serving.ts";
import { decodeLatin1, encodeLatin1 } from "@degu/testing/wire_grammar.ts";

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
  await pair.peer.readToEnd();
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
    assert(message?.includes("TimedOut"), `${framing}: ${message}`);
  });
});
