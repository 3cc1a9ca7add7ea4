/** The signal of a session: a client that leaves is noticed, and nothing that it sends is lost. */
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { setTimeout as delay } from "node:timers/promises";
import {
  Body,
  BodyIter,
  type BodyOut,
  type Chunk,
  ChunkedBody,
  ChunkedBodyIter,
  ConnectionClosedError,
  EmptyPreambleError,
} from "@degu/degu/base";
import type { ResponseTuple, Session } from "@degu/degu/server";
import { endpointKinds } from "@degu/testing/endpoints.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { RawPeer, within } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

const get = "GET / HTTP/1.1\r\n\r\n";

/** Resolves when the signal is aborted, to its reason. */
function aborted({ signal }: Session): Promise<unknown> {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  if (signal.aborted) resolve(signal.reason);
  signal.addEventListener("abort", () => resolve(signal.reason));
  return within(promise, "the signal is aborted", 5);
}

const leaving: Readonly<Record<string, (peer: RawPeer) => unknown>> = {
  "closes": (peer) => peer.close(),
  "ends its writing side": (peer) => peer.closeWrite(),
};

const requests: Readonly<Record<string, string>> = {
  "no body": get,
  "an unread body": "PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello",
  "an unread body of 60,000 bytes": `PUT / HTTP/1.1\r\ncontent-length: 60000\r\n\r\n${
    "x".repeat(60_000)
  }`,
  "a body that was cut": "PUT / HTTP/1.1\r\ncontent-length: 500\r\n\r\nhello",
  "the next request behind it": get + get,
};

/** What can be side by side takes no longer than one of it, of which each takes a part of a second. */
for (const [how, leave] of Object.entries(leaving)) {
  Deno.test(`the signal is aborted when a client ${how} while an app is pending`, async () => {
    await Promise.all(
      Object.entries(requests).map(async ([what, request]) => {
        const begun = Promise.withResolvers<void>();
        const told = Promise.withResolvers<unknown>();
        await using serving = serve(async ({ body }, session) => {
          begun.resolve();
          told.resolve(await aborted(session));
          await body?.cancel();
          return [400, "Bad Request", {}, null];
        });
        using peer = await RawPeer.connect(serving.address);
        await peer.send(request);
        await within(begun.promise, `the app works on ${what}`);
        await leave(peer);
        assertInstanceOf(await within(told.promise, what), ConnectionClosedError, what);
      }),
    );
  });
}

Deno.test("the signal is aborted when the server is closed, and when the session ends", async () => {
  const sessions: Session[] = [];
  const serving = serve((_request, session) => {
    sessions.push(session);
    return [200, "OK", {}, null];
  });
  const peers = [await RawPeer.connect(serving.address), await RawPeer.connect(serving.address)];
  for (const peer of peers) {
    await peer.send(get);
    await peer.readPreamble();
  }
  const [first, second] = sessions;
  assert(!first!.signal.aborted && !second!.signal.aborted);
  const over = aborted(first!);
  peers[0]!.close();
  await over;
  await serving[Symbol.asyncDispose]();
  assertInstanceOf(await aborted(second!), ConnectionClosedError);
  peers[1]!.close();
});

Deno.test("the signal is already aborted if it is first read after the session has ended", async () => {
  const sessions: Session[] = [];
  await using serving = serve((_request, session) => {
    sessions.push(session);
    return [500, "Internal Server Error", {}, null];
  });
  using peer = await RawPeer.connect(serving.address);
  await peer.send(get);
  await peer.readToEnd();
  peer.close();
  await within(
    (async () => {
      while (sessions[0]!.message === null) await Promise.resolve();
    })(),
    "the session ends",
  );
  await aborted(sessions[0]!);
});

Deno.test("the signal is aborted when a client leaves while onConnect is pending", async () => {
  await Promise.all(
    Object.entries(leaving).map(async ([how, leave]) => {
      const connecting = Promise.withResolvers<void>();
      const told = Promise.withResolvers<unknown>();
      let handled = 0;
      await using serving = serve({
        async onConnect(session) {
          connecting.resolve();
          told.resolve(await aborted(session));
          return false;
        },
        handle: () => {
          handled++;
          return [200, "OK", {}, null];
        },
      });
      using peer = await RawPeer.connect(serving.address);
      await peer.send(get);
      await within(connecting.promise, "onConnect is called");
      await leave(peer);
      assertInstanceOf(await within(told.promise, how), ConnectionClosedError, how);
      await serving.logger.waitFor("info");
      assertEquals(handled, 0);
    }),
  );
});

Deno.test("the signal is aborted when a client leaves while a response is idle", async () => {
  let ended = Promise.withResolvers<unknown>();
  await using serving = serve((_request, session) => {
    async function* pieces() {
      yield new TextEncoder().encode("hello");
      ended.resolve(await aborted(session));
      yield new TextEncoder().encode("world");
    }
    return [200, "OK", {}, new BodyIter(pieces(), 10)];
  });
  for (const leave of Object.values(leaving)) {
    ended = Promise.withResolvers();
    using peer = await RawPeer.connect(serving.address);
    await peer.send(get);
    await peer.readUntil("hello");
    await leave(peer);
    assertInstanceOf(await within(ended.promise, "the app is told"), ConnectionClosedError);
    // Who has ended only its writing side gets the rest.
    if (leave === leaving["ends its writing side"]) await peer.readUntil("world");
  }
});

for (const { name, available, start } of endpointKinds) {
  Deno.test({
    name: `${name}: each end notices how the other ends a request, a session or all of them`,
    ignore: !available,
    async fn() {
      const arrived = Promise.withResolvers<void>();
      const told = Promise.withResolvers<unknown>();
      await using endpoint = await start(async ({ uri }, session) => {
        if (uri !== "/slow") return [200, "OK", {}, null];
        arrived.resolve();
        told.resolve(await aborted(session));
        return [200, "OK", {}, null];
      });
      const { server, client } = endpoint;
      const aborter = new AbortController();
      using first = await client.connect();
      const answer = rejectionOf(first.get("/slow", {}, { signal: aborter.signal }), "the request");
      await within(arrived.promise, "the app works");
      aborter.abort();
      assertInstanceOf(await within(told.promise, "the app is told"), ConnectionClosedError);
      assert(await answer === aborter.signal.reason && first.closed);

      for (const close of ["session", "shutdown"] as const) {
        using second = await client.connect();
        assertEquals((await second.get("/")).status, 200);
        const session = [...server.sessions].at(-1)!;
        if (close === "session") session.close();
        else await server.shutdown();
        await rejectionOf(second.get("/"), close);
        assertEquals([server.sessions.has(session), session.signal.aborted], [false, true]);
      }
    },
  });
}

Deno.test("the reason of the signal is that the server was closed, even while an app is pending", async () => {
  const begun = Promise.withResolvers<Session>();
  const serving = serve((_request, session) => {
    begun.resolve(session);
    return new Promise(() => {});
  });
  using peer = await RawPeer.connect(serving.address);
  await peer.send(get);
  const session = await within(begun.promise, "the app works");
  const over = aborted(session);
  await serving[Symbol.asyncDispose]();
  const why = await over;
  assertInstanceOf(why, ConnectionClosedError);
  assertEquals(why.message, "the session has ended: closed by the server");
  assertEquals(session.message, "closed by the server");
});

Deno.test("an app that rethrows the signal's reason is not logged as an error", async () => {
  await using serving = serve(async (_request, session) => {
    throw await aborted(session);
  });
  using peer = await RawPeer.connect(serving.address);
  await peer.send(get);
  await peer.closeWrite();
  await peer.assertClosedSilently();
  await serving.logger.waitFor("debug");
  assertEquals(serving.logger.at("error"), []);
});

Deno.test("the reason of the signal is an EmptyPreambleError if the client left between two requests", async () => {
  for (const isReadBefore of [true, false]) {
    const sessions: Session[] = [];
    await using serving = serve((_request, session) => {
      sessions.push(session);
      return [200, "OK", {}, null];
    });
    const peer = await RawPeer.connect(serving.address);
    await peer.send(get);
    await peer.readPreamble();
    const [session] = sessions;
    assert(session !== undefined);
    const early = isReadBefore ? aborted(session) : null;
    peer.close();
    const lines = await serving.logger.waitFor("debug");
    const { message } = new EmptyPreambleError();
    assertEquals(lines, [`${session}: ended: ${message}`]);
    assertEquals(session.message, `EmptyPreambleError: ${message}`);
    const reason = await aborted(session);
    assertInstanceOf(reason, EmptyPreambleError);
    assert(early === null || await early === reason);
    assert(session.signal.reason === reason);
  }
});

/** How the source of an endless body may end, or fail, once its viewer has left. */
const sources: Readonly<Record<string, (session: Session) => BodyOut>> = {
  "chunks that just end": (session) =>
    new ChunkedBodyIter((async function* (): AsyncGenerator<Chunk> {
      yield [null, latin1("frame")];
      await aborted(session);
    })()),
  "pieces that end too early": (session) =>
    new BodyIter(
      (async function* () {
        yield latin1("frame");
        await aborted(session);
      })(),
      1000,
    ),
  "a piece that is too long": (session) =>
    new BodyIter(
      (async function* () {
        yield latin1("frame");
        await aborted(session);
        yield new Uint8Array(1000);
      })(),
      10,
    ),
  "the AbortError of a timer": (session) =>
    new ChunkedBodyIter((async function* (): AsyncGenerator<Chunk> {
      yield [null, latin1("frame")];
      await delay(60_000, null, { signal: session.signal });
    })()),
  "a stream that fails": (session) =>
    new Body(
      new ReadableStream({
        async start(controller) {
          controller.enqueue(latin1("frame"));
          controller.error(await aborted(session).then(() => new Error("the camera was closed")));
        },
      }),
      1000,
    ),
  "a time-out of its own": (session) =>
    new ChunkedBodyIter((async function* (): AsyncGenerator<Chunk> {
      yield [null, latin1("frame")];
      await aborted(session);
      throw new Deno.errors.TimedOut("no frame");
    })()),
  "bytes that break a rule": (session) => {
    const encoder = new TransformStream<Uint8Array, Uint8Array>();
    const writer = encoder.writable.getWriter();
    (async () => {
      await writer.write(latin1("5\r\nframe\r\n"));
      await aborted(session);
      await writer.write(latin1("no chunk\r\n"));
    })().catch(() => {});
    return new ChunkedBody(encoder.readable);
  },
};

Deno.test("however the source of a body ends once the client has left, the log says so at level debug only", async (t) => {
  for (const [how, leave] of Object.entries(leaving)) {
    await t.step(`a client that ${how}`, async () => {
      await Promise.all(
        Object.entries(sources).map(async ([what, makeBody]) => {
          const begun = Promise.withResolvers<Session>();
          await using serving = serve((_request, session) => {
            begun.resolve(session);
            return [200, "OK", {}, makeBody(session)];
          });
          using peer = await RawPeer.connect(serving.address);
          await peer.send(get);
          await peer.readUntil("frame");
          await leave(peer);
          await aborted(await begun.promise);
          const [line = ""] = await serving.logger.waitFor("debug");
          assertEquals(serving.logger.lines.filter(([level]) => level !== "debug"), [], what);
          assert(!line.includes("\n"), line);
        }),
      );
    });
  }
});

Deno.test("what an app does wrong stays an error of the app, even once the client has left", async (t) => {
  const wrong: Readonly<Record<string, (session: Session) => Promise<ResponseTuple>>> = {
    "it throws": async (session) => {
      await aborted(session);
      throw new Error("a mistake");
    },
    "its answer is not allowed": async (session) => {
      await aborted(session);
      return [200, "bad reason!", {}, null];
    },
    "its body is no body": async (session) => {
      await aborted(session);
      return [204, "No Content", {}, new Uint8Array(1)];
    },
  };
  for (const [what, app] of Object.entries(wrong)) {
    await t.step(what, async () => {
      await using serving = serve((_request, session) => app(session));
      using peer = await RawPeer.connect(serving.address);
      await peer.send(get);
      await peer.closeWrite();
      await serving.logger.waitFor("error");
    });
  }
  await t.step("its body fails while the client is there", async () => {
    await using serving = serve((_request, session) => {
      assert(!session.signal.aborted);
      return [200, "OK", {}, new BodyIter([latin1("frame")], 1000)];
    });
    using peer = await RawPeer.connect(serving.address);
    await peer.send(get);
    await serving.logger.waitFor("error");
  });
});

Deno.test("watching a client loses none of the bytes that it sends meanwhile", async () => {
  const watched = new Set(["IPv4", "Unix path", "TLS over IPv4", "TLS over a Unix path"]);
  const kinds = endpointKinds.filter(({ name, available }) => available && watched.has(name));
  assertEquals(kinds.length, watched.size);
  await Promise.all(kinds.map(async (kind) => {
    await using endpoint = await kind.start(async ({ uri, body }, session) => {
      // From here on the connection is watched, a few times during this work.
      assert(!session.signal.aborted);
      if (uri === "/slow") await delay(900);
      return [200, "OK", {}, new TextEncoder().encode(uri + (await body?.text() ?? ""))];
    });
    using conn = await endpoint.client.connect();
    for (const [uri, text] of [["/1", "x"], ["/slow", "hello ".repeat(5_000)], ["/2", "y"]]) {
      const response = await conn.post(uri!, {}, new TextEncoder().encode(text));
      assertEquals(await response.body?.text(), `${uri}${text}`);
    }
  }));
});

Deno.test("requests that arrive, whole or in part, while a client is watched are answered in order", async () => {
  const watched = Promise.withResolvers<void>();
  await using serving = serve(async ({ uri, body }, session) => {
    assert(!session.signal.aborted);
    if (uri === "/1") {
      await watched.promise;
      await delay(900);
    }
    return [200, "OK", { uri }, await body?.bytes() ?? null];
  });
  using peer = await RawPeer.connect(serving.address);
  await peer.send("PUT /1 HTTP/1.1\r\ncontent-length: 3\r\n\r\none");
  await peer.send("PUT /2 HTTP/1.1\r\ncontent-length: 3\r\n\r\ntwoPUT /3 HTTP/1.1\r\n");
  watched.resolve();
  const answer = (uri: string, text: string) =>
    `HTTP/1.1 200 OK\r\ncontent-length: ${text.length}\r\nuri: ${uri}\r\n\r\n${text}`;
  assertEquals(await peer.readUntil("two"), answer("/1", "one") + answer("/2", "two"));
  await peer.send("content-length: 5\r\n\r\nthree");
  assertEquals(await peer.readUntil("three"), answer("/3", "three"));
});

Deno.test("a request that arrives after a client was watched behind a large body is not lost", async () => {
  // The large body has made the buffer large; it must not be made small under a read that is under way.
  await using serving = serve(async ({ uri, body }, session) => {
    assert(!session.signal.aborted);
    let left = 2 * 1048576;
    await body?.writeTo({
      pieceBytes: 1048576,
      async write(bytes) {
        left -= bytes.length;
        if (left > 0 || uri !== "/large") return;
        await delay(900);
      },
    });
    return [200, "OK", { uri }, null];
  });
  using peer = await RawPeer.connect(serving.address);
  const chunk = `100000\r\n${"x".repeat(1048576)}\r\n`;
  await peer.send("PUT /large HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n");
  await peer.send(chunk, chunk, "0\r\n\r\n");
  for (const uri of ["/large", "/next"]) {
    const answer = `HTTP/1.1 200 OK\r\nuri: ${uri}\r\n\r\n`;
    assertEquals(await peer.readExactly(answer.length), answer);
    if (uri === "/large") await peer.send("GET /next HTTP/1.1\r\n\r\n");
  }
});

Deno.test("watching a client while onConnect is pending loses nothing that it sends", async () => {
  const waited = Promise.withResolvers<void>();
  await using serving = serve({
    async onConnect({ signal }) {
      assert(!signal.aborted);
      await waited.promise;
      return true;
    },
    handle: async ({ body }) => [200, "OK", {}, await body!.bytes()],
  });
  using peer = await RawPeer.connect(serving.address);
  await peer.send("PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhe");
  // Until then it has been looked at, with what is here and with what is not yet.
  await delay(900);
  await peer.send("l");
  waited.resolve();
  await peer.send("lo");
  assertEquals(
    await peer.readUntil("hello"),
    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
  );
});

Deno.test("reading ahead keeps the time limit of the wait for a body", async () => {
  const framings = ["content-length: 5", "transfer-encoding: chunked"];
  await Promise.all(framings.map(async (framing) => {
    const begun = Promise.withResolvers<void>();
    await using serving = serve(async ({ body }, session) => {
      assert(!session.signal.aborted);
      // Long enough for the connection to be watched.
      await delay(600);
      begun.resolve();
      await body?.bytes();
      return [200, "OK", {}, null];
    }, { timeout: 0.5 });
    using peer = await RawPeer.connect(serving.address);
    await peer.send(`PUT / HTTP/1.1\r\n${framing}\r\n\r\n`);
    await within(begun.promise, "the body is read");
    await peer.assertClosedSilently(framing);
    const [message] = await serving.logger.waitFor("info");
    assert(message?.includes("TimedOut"), `${framing}: ${message}`);
  }));
});

Deno.test("a reset aborts the signal even after a read was abandoned", async () => {
  const reasons: unknown[] = [];
  const ended = Promise.withResolvers<void>();
  const cancelled = Promise.withResolvers<void>();
  await using serving = serve(async ({ body }, session) => {
    const reading = body?.read().catch(() => {});
    await body?.cancel();
    await reading;
    cancelled.resolve();
    reasons.push(await aborted(session));
    ended.resolve();
    return [400, "Bad Request", {}, null];
  });
  using peer = await RawPeer.connect(serving.address);
  await peer.send("PUT / HTTP/1.1\r\ncontent-length: 100\r\n\r\n");
  await within(cancelled.promise, "the body is canceled");
  peer.close();
  await within(ended.promise, "the app ends");
  assertEquals(reasons.length, 1);
});
