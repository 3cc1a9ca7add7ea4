/** Exchanges that are aborted, and clients that leave. */
import { createFetch, fromFetchHandler } from "@degu/degu";
import { ConnectionClosedError, ProtocolError } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import type { AppFunction } from "@degu/degu/server";
import { CLOSING_ACTIONS, waitForAbort } from "@degu/testing/aborts.ts";
import { recordIntervals } from "@degu/testing/clock.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { RawPeer, RawServer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { serveHandler } from "@degu/testing/web_serving.ts";
import { assert, assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";

// Aborts and cancellation through the fetch adapters: each side is notified with the reason.

const PIECE = new Uint8Array(65536);
const encode = (text: string) => new TextEncoder().encode(text);

/** Returns the error with which a promise rejects in time. */
function catchSoon(promise: Promise<unknown>, label: string): Promise<unknown> {
  return withTimeout(catchRejection(promise, label), `${label} rejects`);
}

/**
 * Makes a stream that enqueues the bytes once or repeatedly and never ends; `cancelled` resolves to
 * the reason of its cancellation.
 */
function makeSource(bytes: Uint8Array, goesOn = false) {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  const enqueue = (controller: ReadableStreamDefaultController<Uint8Array>) =>
    controller.enqueue(bytes);
  const stream = new ReadableStream({ [goesOn ? "pull" : "start"]: enqueue, cancel: resolve });
  return { stream, cancelled: withTimeout(promise, "the stream is canceled") };
}

const makeEndlessStream = () => makeSource(PIECE, true);
const makeStuckStream = () => makeSource(PIECE);
const makeEventStream = () => makeSource(encode("data: hello\n\n"));
const streams = [["that goes on", makeEndlessStream], ["that is stuck", makeStuckStream]] as const;

/** An app that reads every body. */
const readingApp: AppFunction = async (request) => {
  await request.body?.writeTo({ write: () => Promise.resolve() });
  return [200, "OK", {}, null];
};

Deno.test("fetch rejects with the reason of a signal that is already aborted", async (t) => {
  const reason = new Error("not now");
  const signal = AbortSignal.abort(reason);
  const { stream, cancelled } = makeStuckStream();
  // There is no listener, so a fetch that tries to connect fails with another error.
  const fetch = createFetch(new Client(["127.0.0.1", 1]));
  const rows: [name: string, start: () => Promise<Response>][] = [
    ["by init", () => fetch("/", { signal })],
    ["by Request", () => fetch(new Request("http://127.0.0.1:1/", { signal }))],
    ["with a body", () => fetch("/", { method: "POST", body: stream, signal })],
  ];
  for (const [name, start] of rows) {
    await t.step(name, async () => assertStrictEquals(await catchSoon(start(), name), reason));
  }
  assertStrictEquals(await cancelled, reason);
});

for (const [name, make] of streams) {
  Deno.test(`an abort while sending a body ${name}`, async () => {
    const aborter = new AbortController();
    const reason = new Error("enough");
    const readStarted = Promise.withResolvers<void>();
    const signalReason = Promise.withResolvers<unknown>();
    await using serving = serve(fromFetchHandler(async (request) => {
      const reader = request.body!.getReader();
      request.signal.addEventListener("abort", () => signalReason.resolve(request.signal.reason));
      await reader.read();
      readStarted.resolve();
      while (!(await reader.read()).done);
      return new Response("complete");
    }));
    const { stream, cancelled } = make();
    const fetch = createFetch(serving.makeClient());
    const responding = fetch("/", { method: "POST", body: stream, signal: aborter.signal });
    const rejection = catchSoon(responding, "an aborted fetch");
    await withTimeout(readStarted.promise, "the body arrives");
    aborter.abort(reason);
    assertStrictEquals(await rejection, reason);
    assertStrictEquals(await cancelled, reason);
    const abortReason = await withTimeout(signalReason.promise, "the handler's signal is aborted");
    assert(
      abortReason instanceof ProtocolError ||
        abortReason instanceof Deno.errors.ConnectionReset,
      `${abortReason}`,
    );
    assertEquals(serving.logger.messagesOf("error"), []);
  });

  Deno.test(`an abort while reading a response ${name}, and canceling it, end its source`, async () => {
    const reason = new Error("seen enough");
    for (const isAborted of [true, false]) {
      const aborter = new AbortController();
      const { stream, cancelled } = make();
      const signal = Promise.withResolvers<AbortSignal>();
      await using serving = serve(fromFetchHandler((request) => {
        signal.resolve(request.signal);
        return new Response(stream);
      }));
      const fetch = createFetch(serving.makeClient());
      const reader = (await fetch("/", { signal: aborter.signal })).body!.getReader();
      if (isAborted) {
        await reader.read();
        const readToEnd = async () => {
          while (!(await reader.read()).done);
        };
        const reading = catchSoon(readToEnd(), "reading goes on");
        aborter.abort(reason);
        assertStrictEquals(await reading, reason);
      } else await reader.cancel(reason);
      // A server detects at a write that its peer has gone; a stuck stream doesn't write.
      if (make === makeStuckStream) serving.server.close();
      await cancelled;
      assert((await signal.promise).aborted);
      assertEquals(serving.logger.messagesOf("error"), []);
    }
  });
}

Deno.test("the client's own signal aborts its fetches", async () => {
  const aborter = new AbortController();
  const reason = new Error("shutting down");
  using server = new RawServer();
  const fetch = createFetch(new Client(server.address, { signal: aborter.signal }));
  const rejection = catchSoon(fetch("/"), "an aborted fetch");
  await (await server.accept()).readPreamble();
  aborter.abort(reason);
  // The reason of the client's signal is the cause, like any other failure of a request.
  assertStrictEquals((await rejection as Error).cause, reason);
  const refused = await catchSoon(fetch("/"), "an aborted client");
  assertStrictEquals((refused as Error).cause, reason);
});

Deno.test("a peer that breaks off an upload makes the handler's reads fail", async () => {
  const failure = Promise.withResolvers<unknown>();
  const signal = Promise.withResolvers<AbortSignal>();
  await using serving = serve(fromFetchHandler(async (request) => {
    signal.resolve(request.signal);
    try {
      await request.bytes();
    } catch (error) {
      failure.resolve(error);
      throw error;
    }
    return new Response("complete");
  }));
  using peer = await RawPeer.connect(serving.address);
  await peer.send("POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\n12345");
  await peer.closeWrite();
  await peer.assertClosedSilently();
  const error = await withTimeout(failure.promise, "reading fails");
  assertInstanceOf(error, ProtocolError);
  assertEquals(error.code, "BODY_INCOMPLETE");
  assertStrictEquals((await signal.promise).reason, error);
});

Deno.test("a response whose stream errors is detectably cut", async (t) => {
  const framings = [{}, { "content-length": "100000" }];
  for (const headers of framings) {
    await t.step(Object.keys(headers)[0] ?? "chunked", async () => {
      const stream = new ReadableStream({
        async pull(controller) {
          await new Promise((resolve) => setTimeout(resolve));
          if (pulls++ === 0) controller.enqueue(PIECE);
          else controller.error(new Error("the disk is gone"));
        },
      });
      let pulls = 0;
      await using serving = serve(fromFetchHandler(() => new Response(stream, { headers })));
      const response = await createFetch(serving.makeClient())("/");
      const error = await catchSoon(response.bytes(), "a body that is cut");
      assertInstanceOf(error, ProtocolError);
      assert((await serving.logger.waitFor("error"))[0]?.includes("the disk is gone"));
    });
  }
});

Deno.test("a request whose stream errors rejects the fetch, and is detectably cut", async () => {
  const error = new Error("the disk is gone");
  const stream = new ReadableStream({
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve));
      controller.error(error);
    },
  });
  await using serving = serve(readingApp);
  const responding = createFetch(serving.makeClient())("/", { method: "POST", body: stream });
  const rejection = await catchSoon(responding, "a body that fails");
  assertInstanceOf(rejection, TypeError);
  assertStrictEquals(rejection.cause, error);
  assertEquals(serving.logger.messagesOf("error"), []);
});

// Ends of sessions through fromFetchHandler.

const get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

// ───────────────────────── fromFetchHandler

for (const [closing, leave] of Object.entries(CLOSING_ACTIONS)) {
  Deno.test(`request.signal is aborted when a client ${closing} while a handler is pending`, async () => {
    using _intervals = recordIntervals(10);
    const handlerCalled = Promise.withResolvers<void>();
    const signalReason = Promise.withResolvers<unknown>();
    await using serving = serveHandler(async ({ signal }) => {
      handlerCalled.resolve();
      signalReason.resolve(await waitForAbort(signal));
      return new Response("too late");
    });
    using peer = await RawPeer.connect(serving.address, get);
    await withTimeout(handlerCalled.promise, "the handler works");
    await leave(peer);
    assertInstanceOf(
      await withTimeout(signalReason.promise, "the handler goes on"),
      ConnectionClosedError,
    );
    if (leave === CLOSING_ACTIONS["ends its writing side"]) await peer.readUntil("too late");
  });

  Deno.test(`an idle stream is canceled when a client ${closing}`, async () => {
    using _intervals = recordIntervals(10);
    const { stream, cancelled } = makeEventStream();
    const signals: AbortSignal[] = [];
    await using serving = serveHandler(({ signal }) => {
      signals.push(signal);
      return new Response(stream);
    });
    using peer = await RawPeer.connect(serving.address, get);
    await peer.readUntil("hello");
    const [session] = serving.server.sessions;
    await leave(peer);
    const cancelReason = await cancelled;
    assertInstanceOf(cancelReason, ConnectionClosedError);
    assertStrictEquals(signals[0]!.reason, cancelReason);
    assertStrictEquals(session!.signal.reason, cancelReason);
    while (serving.server.sessions.size > 0) await waitForTick();
    assertEquals(serving.logger.messagesOf("error"), []);
  });
}

Deno.test("a stream that a handler creates after its client has left is canceled", async () => {
  using _intervals = recordIntervals(10);
  const { stream, cancelled } = makeEventStream();
  await using serving = serveHandler(async ({ signal }) => {
    await waitForAbort(signal);
    return new Response(stream);
  });
  using peer = await RawPeer.connect(serving.address, get);
  await peer.closeWrite();
  assertInstanceOf(await cancelled, ConnectionClosedError);
  assertEquals(serving.logger.messagesOf("error"), []);
});
