/** Bodies that are canceled, or whose peer sends nothing more. */
import {
  Body,
  BodyError,
  type BodyIn,
  BodyIter,
  ChunkedBody,
  ChunkedBodyIter,
} from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { connect } from "@degu/testing/connected.ts";
import { assertBodyError, rejectionOf } from "@degu/testing/expectations.ts";
import { RawPeer, turnOfEventLoop, within } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { StallingSource } from "@degu/testing/streams.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";

const revoked = new Error("revoked");

type Received = Body | ChunkedBody;

/** Everything that waits for more of a body. */
const operations: Readonly<Record<string, (body: Received) => Promise<unknown>>> = {
  read: (body) => body.read(),
  bytes: (body) => body.bytes(),
  text: (body) => body.text(),
  json: (body) => body.json(),
  "read(10)": (body) => body.chunked ? body.readChunk() : body.read(10),
  iterate: async (body) => {
    for await (const _ of body);
  },
  "a default reader": (body) => new Response(body.readable).bytes(),
  "a BYOB reader": async (body) => {
    const reader = body.readable.getReader({ mode: "byob" });
    while (!(await reader.read(new Uint8Array(10))).done);
  },
  writeTo: (body) => body.writeTo({ write: () => Promise.resolve() }),
  "writeTo a stream": (body) => body.writeTo(new WritableStream()),
};

/** A source of some bytes, and then of nothing, for ever. */
function stalling(bytes: string): StallingSource {
  return new StallingSource(latin1(bytes));
}

/** A stream of some bytes that never ends. */
function endless(bytes: string): ReadableStream<Uint8Array> {
  return new ReadableStream({ start: (controller) => controller.enqueue(latin1(bytes)) });
}

const sources: Readonly<Record<string, () => Received>> = {
  "Body over a byte source": () => new Body(stalling("hello"), 10),
  "Body over a stream": () => new Body(endless("hello"), 10),
  "ChunkedBody over a byte source": () => new ChunkedBody(stalling("a\r\nhello")),
  "ChunkedBody over a stream": () => new ChunkedBody(endless("a\r\nhello")),
};

for (const [source, make] of Object.entries(sources)) {
  Deno.test(`${source}: cancel() rejects pending and later operations with the reason`, async (t) => {
    for (const [operation, run] of Object.entries(operations)) {
      await t.step(operation, async () => {
        const body = make();
        const waiting = rejectionOf(run(body), operation);
        await turnOfEventLoop();
        await body.cancel(revoked);
        assertEquals(await within(waiting, "it rejects", 1), revoked);
        for (const again of [body.read(), body.text(), body.writeTo(new WritableStream())]) {
          const error = await rejectionOf(again, "an operation on a canceled body");
          assertInstanceOf(error, BodyError);
          assertEquals(error.cause, revoked);
        }
      });
    }
  });
}

Deno.test("a reason that is not an error becomes the cause of a BodyError", async () => {
  for (const reason of ["revoked", undefined, 7]) {
    const body = new Body(stalling("hello"), 10);
    const waiting = rejectionOf(body.read(), "the read");
    await body.cancel(reason);
    const error = await within(waiting, "it rejects", 1);
    assertInstanceOf(error, BodyError);
    assertEquals(error.cause, reason);
  }
});

Deno.test("a stream with a pending read errors with the reason when its body is canceled", async () => {
  const body = new Body(stalling("hello"), 10);
  const reader = body.readable.getReader();
  assertEquals((await reader.read()).value?.length, 5);
  await body.cancel(revoked);
  assertEquals(await rejectionOf(reader.read(), "the next read"), revoked);
});

Deno.test("an iteration whose body is canceled between two items rejects with the reason", async () => {
  for (const make of Object.values(sources)) {
    const body = make();
    if (body.chunked) continue;
    const iterator = body[Symbol.asyncIterator]();
    assertEquals((await iterator.next()).done, false);
    await body.cancel(revoked);
    assertEquals(await rejectionOf(iterator.next(), "the next item"), revoked);
  }
});

Deno.test("a body from an iterable rejects at once if it is canceled while it waits for an item", async (t) => {
  const bodies = {
    BodyIter: () => new BodyIter(endless(""), 10),
    ChunkedBodyIter: () => new ChunkedBodyIter(new ReadableStream()),
  };
  for (const [name, make] of Object.entries(bodies)) {
    await t.step(name, async () => {
      const body = make();
      const writing = rejectionOf(body.writeTo(new WritableStream()), "writeTo");
      await within(body.cancel(revoked), "cancel() resolves", 1);
      assertEquals(await within(writing, "it rejects", 1), revoked);
      const error = await rejectionOf(body.writeTo(new WritableStream()), "writeTo again");
      assertInstanceOf(error, BodyError);
      assertEquals(error.cause, revoked);
    });
  }
});

Deno.test("a body from an iterable rejects if it is canceled while its sink is busy, and the iterator returns", async () => {
  let returned = 0;
  const items: AsyncIterableIterator<Uint8Array> = {
    [Symbol.asyncIterator]: () => items,
    next: () => Promise.resolve({ done: false, value: new Uint8Array(5) }),
    return: () => {
      returned++;
      return Promise.resolve({ done: true, value: undefined });
    },
  };
  const body = new BodyIter(items, 10);
  const busy = Promise.withResolvers<void>();
  const writing = rejectionOf(
    body.writeTo({
      write() {
        busy.resolve();
        return new Promise(() => {});
      },
    }),
    "writeTo",
  );
  await within(busy.promise, "the sink is written to");
  await body.cancel(revoked);
  assertEquals(await within(writing, "it rejects", 1), revoked);
  assertEquals(returned, 1);
});

Deno.test("an upload whose body is canceled by the app rejects at once, and the error response is sent", async (t) => {
  for (const [operation, run] of Object.entries(operations)) {
    for (const framing of ["content-length: 100", "transfer-encoding: chunked"]) {
      await t.step(`${operation}, ${framing}`, async () => {
        const found: unknown[] = [];
        const waiting = Promise.withResolvers<void>();
        await using serving = serve(async ({ body }) => {
          if (body === null) return [400, "Bad Request", {}, null];
          const pending = rejectionOf(run(body), operation);
          waiting.promise.then(() => body.cancel(revoked));
          found.push(await pending);
          const after = await rejectionOf(body.read(), "a read of a canceled body");
          found.push(after instanceof BodyError && after.cause);
          return [403, "Forbidden", {}, latin1("revoked")];
        });
        using peer = await RawPeer.connect(serving.address);
        const start = framing.includes("chunked") ? "32\r\nhello" : "hello";
        await peer.send(`PUT / HTTP/1.1\r\n${framing}\r\n\r\n${start}`);
        await turnOfEventLoop();
        waiting.resolve();
        // The peer is still sending: nothing of it is waited for.
        const { received, how } = await peer.readToEnd();
        assertEquals(received, "HTTP/1.1 403 Forbidden\r\ncontent-length: 7\r\n\r\nrevoked");
        assertEquals(how, "end");
        assertEquals(found, [revoked, revoked]);
        assertEquals(serving.logger.at("error"), []);
      });
    }
  }
});

Deno.test("bytes that arrive after a body was canceled are not read as a request, and delay no answer", async () => {
  const uris: string[] = [];
  await using serving = serve(async ({ uri, body }) => {
    uris.push(uri);
    const reading = body?.read().catch(() => {});
    await body?.cancel(revoked);
    await reading;
    return [409, "Conflict", {}, null];
  });
  using peer = await RawPeer.connect(serving.address);
  await peer.send("PUT /1 HTTP/1.1\r\ncontent-length: 100\r\n\r\n");
  assertEquals(await peer.readPreamble(), "HTTP/1.1 409 Conflict\r\n\r\n");
  await peer.send("GET /2 HTTP/1.1\r\n\r\n".repeat(10));
  await peer.closeWrite();
  assertEquals((await peer.readToEnd()).received, "");
  assertEquals(uris, ["/1"]);
});

Deno.test("a response whose body the app cancels is cut short, and the reason is logged", async (t) => {
  const bodies: Record<string, () => Body | BodyIter | ChunkedBody | ChunkedBodyIter> = {
    ...sources,
    BodyIter: () => new BodyIter(endless("hello"), 10),
    "ChunkedBodyIter over items": () =>
      new ChunkedBodyIter(
        async function* () {
          yield [null, latin1("hello")] as const;
          await new Promise(() => {});
        }(),
      ),
  };
  for (const [name, make] of Object.entries(bodies)) {
    await t.step(name, async () => {
      const body = make();
      await using serving = serve(() => [200, "OK", {}, body]);
      using peer = await RawPeer.connect(serving.address);
      await peer.send("GET / HTTP/1.1\r\n\r\n");
      await peer.readPreamble();
      await body.cancel(revoked);
      const { received } = await peer.readToEnd();
      assert(!received.includes("0\r\n\r\n") && received.length < 15, received);
      const [message] = await serving.logger.waitFor("error");
      assert(message?.includes("Error: revoked"), message);
    });
  }
});

Deno.test("a request whose body is canceled rejects with the reason", async (t) => {
  for (const [name, make] of Object.entries(sources)) {
    await t.step(name, async () => {
      using connected = await connect();
      const body = make();
      const requesting = rejectionOf(connected.conn.put("/", {}, body), "the request");
      await connected.peer.readPreamble();
      await body.cancel(revoked);
      assertEquals(await within(requesting, "the request rejects", 1), revoked);
      assert(connected.conn.closed);
    });
  }
});

Deno.test("a client that cancels a response's body rejects its readers, and closes the connection", async (t) => {
  for (const [operation, run] of Object.entries(operations)) {
    await t.step(operation, async () => {
      using connected = await connect();
      const { body } = await connected.answer("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello");
      assert(body !== null);
      const waiting = rejectionOf(run(body), operation);
      await turnOfEventLoop();
      await body.cancel(revoked);
      assertEquals(await within(waiting, "it rejects", 1), revoked);
      assert(connected.conn.closed);
      const error = await rejectionOf(body.read(), "a read");
      assertEquals((error as Error).cause, revoked);
    });
  }
});

Deno.test("a failed body reports the failure to its next user", async () => {
  const failure = new Error("the disk is gone");
  const body = new Body({ read: () => Promise.reject(failure) }, 10);
  assertEquals(await rejectionOf(body.read(), "the read"), failure);
  const error = await rejectionOf(body.read(), "the next read");
  assertInstanceOf(error, BodyError);
  assertEquals(error.cause, failure);
});

Deno.test("canceling a consumed body does nothing", async () => {
  await using serving = serve(async ({ body }) => {
    const text = await body?.text();
    await body?.cancel(revoked);
    return [200, "OK", {}, latin1(text ?? "")];
  });
  using conn = await new Client(serving.address, { timeout: 10 }).connect();
  for (const text of ["one", "two"]) {
    const { status, body } = await conn.put("/", {}, latin1(text));
    assertEquals([status, await body?.text()], [200, text]);
    await body?.cancel(revoked);
    await assertBodyError(body!.writeTo(new WritableStream()), "writing a consumed body");
  }
});

const TIMEOUT = 0.2;
const CODING = "5;k=v\r\nhello\r\n0\r\n\r\n";

const waysOfReading: Record<string, (body: ChunkedBody) => Promise<unknown>> = {
  "read": (body) => body.read(),
  "readChunk": async (body) => {
    while ((await body.readChunk())[1].length > 0);
  },
  "readable": (body) => new Response(body.readable).bytes(),
  "writeTo": (body) => body.writeTo(new WritableStream()),
};

function chunked(body: BodyIn): ChunkedBody {
  if (!(body instanceof ChunkedBody)) throw new TypeError("need a chunked body");
  return body;
}

for (const [name, read] of Object.entries(waysOfReading)) {
  Deno.test(`server: ${name} of a body times out wherever the peer stops`, async () => {
    const errors: unknown[] = [];
    await using serving = serve(async (request) => {
      await read(chunked(request.body)).catch((error) => errors.push(error));
      return [200, "OK", {}, null];
    }, { timeout: TIMEOUT });
    const stops = Array.from(CODING, (_, length) => CODING.slice(0, length));
    await Promise.all(stops.map(async (start) => {
      using peer = await RawPeer.connect(serving.address);
      await peer.send(`PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n${start}`);
      await peer.assertClosedSilently();
    }));
    assertEquals(errors.length, CODING.length);
    assertEquals(errors.every((error) => error instanceof Deno.errors.TimedOut), true);
  });

  Deno.test(`client: ${name} of a body times out wherever the peer stops`, async () => {
    const stops = Array.from(CODING, (_, length) => CODING.slice(0, length));
    await Promise.all(stops.map(async (start) => {
      using connected = await connect({ timeout: TIMEOUT });
      const { body } = await connected.answer(
        `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${start}`,
      );
      await assertRejects(() => read(chunked(body)), Deno.errors.TimedOut);
      assertEquals(connected.conn.closed, true);
    }));
  });
}
