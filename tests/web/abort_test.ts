/** Aborts and cancellation through the bridge: each side learns that the other has stopped, and why. */
import { assert, assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
import { type Chunk, ChunkedBodyIter, ProtocolError } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import type { AppFunction } from "@degu/degu/server";
import { createFetch, fromFetchHandler, toFetchHandler } from "@degu/degu";
import { rejectionOf as unboundedRejectionOf } from "@degu/testing/expectations.ts";
import { RawPeer, RawServer, within } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";

const PIECE = new Uint8Array(65536);

/** What a promise rejects with, soon. */
function rejectionOf(promise: Promise<unknown>, what: string): Promise<unknown> {
  return within(unboundedRejectionOf(promise, what), `${what} rejects`);
}

/** A stream without an end, and what it is told about being canceled. */
function endless(): { stream: ReadableStream<Uint8Array>; cancelled: Promise<unknown> } {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  const stream = new ReadableStream({
    pull: (controller) => controller.enqueue(PIECE),
    cancel: resolve,
  });
  return { stream, cancelled: within(promise, "the stream is canceled") };
}

/** A stream that gives one piece and then never another, nor an end. */
function stuck(): { stream: ReadableStream<Uint8Array>; cancelled: Promise<unknown> } {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  const stream = new ReadableStream({
    start: (controller) => controller.enqueue(PIECE),
    cancel: resolve,
  });
  return { stream, cancelled: within(promise, "the stream is canceled") };
}

const streams = [["that goes on", endless], ["that is stuck", stuck]] as const;

/** An application that reads whatever it gets. */
const reads: AppFunction = async (request) => {
  await request.body?.writeTo({ write: () => Promise.resolve() });
  return [200, "OK", {}, null];
};

Deno.test("fetch rejects with the reason of a signal that is already aborted", async (t) => {
  const reason = new Error("not now");
  const { stream, cancelled } = stuck();
  // Nobody listens there: a fetch that began to connect would fail in another way.
  const fetch = createFetch(new Client(["127.0.0.1", 1]));
  const rows: [name: string, start: () => Promise<Response>][] = [
    ["by init", () => fetch("/", { signal: AbortSignal.abort(reason) })],
    ["by Request", () => fetch(new Request("http://a/", { signal: AbortSignal.abort(reason) }))],
    [
      "with a body",
      () => fetch("/", { method: "POST", body: stream, signal: AbortSignal.abort(reason) }),
    ],
  ];
  for (const [name, start] of rows) {
    await t.step(name, async () => assertStrictEquals(await rejectionOf(start(), name), reason));
  }
  assertStrictEquals(await cancelled, reason);
});

Deno.test("an abort while connecting closes the resulting connection", async () => {
  const connected = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<boolean>();
  const aborter = new AbortController();
  const reason = new Error("changed my mind");
  using server = new RawServer();
  const client = new Client(server.address, {
    onConnect: () => {
      connected.resolve();
      return goOn.promise;
    },
  });
  const { stream, cancelled } = stuck();
  const { signal } = aborter;
  const responding = createFetch(client)("/", { method: "POST", body: stream, signal });
  const rejection = rejectionOf(responding, "an aborted fetch");
  await within(connected.promise, "the client connects");
  aborter.abort(reason);
  assertStrictEquals(await rejection, reason);
  assertStrictEquals(await cancelled, reason);
  goOn.resolve(true);
  await (await server.accept()).assertClosedSilently();
});

Deno.test("an abort while waiting for the response", async () => {
  const aborter = new AbortController();
  const reason = new Error("too slow");
  using server = new RawServer();
  const responding = createFetch(new Client(server.address))("/", { signal: aborter.signal });
  const rejection = rejectionOf(responding, "an aborted fetch");
  const peer = await server.accept();
  await peer.readPreamble();
  aborter.abort(reason);
  assertStrictEquals(await rejection, reason);
  await peer.assertClosedSilently();
});

Deno.test("an abort while sending is never mistaken for the end of the body", async (t) => {
  for (const headers of [{}, { "content-length": "70000" }]) {
    await t.step(Object.keys(headers)[0] ?? "chunked", async () => {
      const aborter = new AbortController();
      const { stream, cancelled } = stuck();
      using server = new RawServer();
      const { signal } = aborter;
      const init = { method: "POST", body: stream, headers, signal };
      const responding = createFetch(new Client(server.address))("/", init);
      const rejection = rejectionOf(responding, "an aborted fetch");
      const peer = await server.accept();
      await peer.readPreamble();
      await peer.readExactly(PIECE.length);
      aborter.abort();
      await rejection;
      await cancelled;
      const { received } = await peer.readToEnd();
      assert(received.replaceAll("\0", "").length <= "\r\n".length, JSON.stringify(received));
    });
  }
});

for (const [name, make] of streams) {
  Deno.test(`an abort while sending a body ${name}`, async () => {
    const aborter = new AbortController();
    const reason = new Error("enough");
    const started = Promise.withResolvers<void>();
    const failed = Promise.withResolvers<unknown>();
    await using serving = serve(fromFetchHandler(async (request) => {
      const reader = request.body!.getReader();
      request.signal.addEventListener("abort", () => failed.resolve(request.signal.reason));
      await reader.read();
      started.resolve();
      while (!(await reader.read()).done);
      return new Response("complete");
    }));
    const { stream, cancelled } = make();
    const fetch = createFetch(serving.makeClient());
    const responding = fetch("/", { method: "POST", body: stream, signal: aborter.signal });
    const rejection = rejectionOf(responding, "an aborted fetch");
    await within(started.promise, "the body arrives");
    aborter.abort(reason);
    assertStrictEquals(await rejection, reason);
    assertStrictEquals(await cancelled, reason);
    const seen = await within(failed.promise, "the handler's signal is aborted");
    assert(seen instanceof ProtocolError || seen instanceof Deno.errors.ConnectionReset, `${seen}`);
    assertEquals(serving.logger.at("error"), []);
  });

  Deno.test(`an abort while reading a response ${name}`, async () => {
    const aborter = new AbortController();
    const reason = new Error("seen enough");
    const { stream, cancelled } = make();
    const signal = Promise.withResolvers<AbortSignal>();
    await using serving = serve(fromFetchHandler((request) => {
      signal.resolve(request.signal);
      return new Response(stream);
    }));
    const fetch = createFetch(serving.makeClient());
    const response = await fetch("/", { signal: aborter.signal });
    const reader = response.body!.getReader();
    await reader.read();
    const reading = rejectionOf(
      (async () => {
        while (!(await reader.read()).done);
      })(),
      "reading goes on",
    );
    aborter.abort(reason);
    assertStrictEquals(await reading, reason);
    // A server learns that its peer has gone when it writes.
    if (make === stuck) serving.server.close();
    await cancelled;
    assert((await signal.promise).aborted);
    assertEquals(serving.logger.at("error"), []);
  });

  Deno.test(`canceling a response ${name} ends its source`, async () => {
    const { stream, cancelled } = make();
    await using serving = serve(fromFetchHandler(() => new Response(stream)));
    const response = await createFetch(serving.makeClient())("/");
    await response.body!.cancel("enough");
    if (make === stuck) serving.server.close();
    await cancelled;
    assertEquals(serving.logger.at("error"), []);
  });
}

Deno.test("an abort after the end of a response changes nothing", async () => {
  const aborter = new AbortController();
  await using serving = serve(() => [200, "OK", {}, new Uint8Array(5)]);
  const fetch = createFetch(serving.makeClient());
  const response = await fetch("/", { signal: aborter.signal });
  assertEquals((await response.bytes()).length, 5);
  aborter.abort();
  assertEquals((await (await fetch("/")).bytes()).length, 5);
});

Deno.test("the client's own signal aborts its fetches", async () => {
  const aborter = new AbortController();
  const reason = new Error("shutting down");
  using server = new RawServer();
  const fetch = createFetch(new Client(server.address, { signal: aborter.signal }));
  const rejection = rejectionOf(fetch("/"), "an aborted fetch");
  await (await server.accept()).readPreamble();
  aborter.abort(reason);
  assertStrictEquals(await rejection, reason);
  assertStrictEquals(await rejectionOf(fetch("/"), "an aborted client"), reason);
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
  const error = await within(failure.promise, "reading fails");
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
      const error = await rejectionOf(response.bytes(), "a body that is cut");
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
  await using serving = serve(reads);
  const responding = createFetch(serving.makeClient())("/", { method: "POST", body: stream });
  const rejection = await rejectionOf(responding, "a body that fails");
  assertInstanceOf(rejection, TypeError);
  assertStrictEquals(rejection.cause, error);
  assertEquals(serving.logger.at("error"), []);
});

Deno.test("toFetchHandler: a client that leaves ends the body of the response", async () => {
  const left = Promise.withResolvers<void>();
  const items: AsyncIterable<Chunk> = {
    [Symbol.asyncIterator]: () => ({
      next: () => Promise.resolve({ done: false, value: [null, PIECE] as const }),
      return: () => {
        left.resolve();
        return Promise.resolve({ done: true, value: undefined });
      },
    }),
  };
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    toFetchHandler(() => [200, "OK", {}, new ChunkedBodyIter(items)]),
  );
  const fetch = createFetch(new Client(["127.0.0.1", server.addr.port]));
  const response = await fetch("/");
  await response.body!.cancel();
  await within(left.promise, "the iterator is left");
  await within(server.shutdown(), "Deno's server shuts down");
});

Deno.test("toFetchHandler: canceling a response cancels a body that waits for its source", async () => {
  const left = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  const items: AsyncIterable<Chunk> = {
    [Symbol.asyncIterator]: () => ({
      next: () => {
        asked.resolve();
        return new Promise<never>(() => {});
      },
      return: () => {
        left.resolve();
        return Promise.resolve({ done: true, value: undefined });
      },
    }),
  };
  const handler = toFetchHandler(() => [200, "OK", {}, new ChunkedBodyIter(items)]);
  const response = await handler(new Request("http://localhost/"));
  const reader = response.body!.getReader();
  const reading = reader.read();
  await asked.promise;
  await reader.cancel("enough");
  assertEquals((await reading).done, true);
  await within(left.promise, "the iterator is left");
});
