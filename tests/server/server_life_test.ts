/** How a server ends: `close()`, `shutdown()`, dispose. */
import { assert, assertEquals } from "@std/assert";
import { Body, type BodyOut } from "@degu/degu/base";
import { type App, Server } from "@degu/degu/server";
import { listenAgain } from "@degu/testing/ports.ts";
import { RawPeer, turnOfEventLoop, untilRefused, within } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

Deno.test("close(): serveForever() settles even if an app never returns", async () => {
  const asked = Promise.withResolvers<void>();
  const never = Promise.withResolvers<void>();
  const serving = serve(async () => {
    asked.resolve();
    await never.promise;
    return [200, "OK", {}, null];
  });
  try {
    using peer = await RawPeer.connect(serving.address);
    await peer.send("GET / HTTP/1.1\r\n\r\n");
    await asked.promise;
    serving.server.close();
    await peer.assertClosedSilently();
    await within(serving.done, "serveForever() settles", 2);
    const again = () => new Server(serving.address, () => [200, "OK", {}, null]);
    (await listenAgain(again)).close();
  } finally {
    never.resolve();
    await serving[Symbol.asyncDispose]();
  }
});

/** A response body whose source has nothing to give yet, and says when it was given up. */
function waitingBody(): { body: BodyOut; cancelled: Promise<void> } {
  const cancelled = Promise.withResolvers<void>();
  const stream = new ReadableStream<Uint8Array>({ cancel: () => cancelled.resolve() });
  return { body: new Body(stream, 5), cancelled: cancelled.promise };
}

Deno.test("close(): a response that waits for its source ends, and the source is canceled", async () => {
  const { body, cancelled } = waitingBody();
  const serving = serve(() => [200, "OK", {}, body]);
  using peer = await RawPeer.connect(serving.address);
  await peer.send("GET / HTTP/1.1\r\n\r\n");
  await peer.readPreamble();
  serving.server.close();
  await peer.assertClosedSilently();
  await within(serving.done, "serveForever() settles", 2);
  await within(cancelled, "the source is canceled", 2);
});

Deno.test("shutdown(): a response that was sent is not lost while the session lingers", async () => {
  const size = 2_000_000;
  await using serving = serve(() => [413, "Too Large", {}, new Uint8Array(size)]);
  using peer = await RawPeer.connect(serving.address);
  await peer.send("POST / HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n");
  await serving.logger.waitFor("debug");
  const down = serving.server.shutdown();
  await peer.sendUntilRefused(new Uint8Array(10_000), 50_000);
  const { received } = await peer.readToEnd();
  assertEquals(
    received.length,
    "HTTP/1.1 413 Too Large\r\ncontent-length: 2000000\r\n\r\n".length + size,
  );
  await down;
});

const get = "GET / HTTP/1.1\r\n\r\n";

/** An application that answers when it is told to, and says when it has been asked. */
function gated(): { app: App; asked: Promise<void>; answer: () => void } {
  const asked = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  const app: App = async ({ uri }) => {
    if (uri === "/idle") return [200, "OK", {}, null];
    asked.resolve();
    await gate.promise;
    return [200, "OK", {}, latin1("finished")];
  };
  return { app, asked: asked.promise, answer: gate.resolve };
}

Deno.test("shutdown(): pending requests finish, idle connections close, and new ones are refused", async () => {
  const { app, asked, answer } = gated();
  await using serving = serve(app);
  using idle = await RawPeer.connect(serving.address);
  await idle.send("GET /idle HTTP/1.1\r\n\r\n");
  await idle.readPreamble();
  using fresh = await RawPeer.connect(serving.address);
  using busy = await RawPeer.connect(serving.address);
  await busy.send(get + "GET /idle HTTP/1.1\r\n\r\n");
  await asked;
  let isDown = false;
  const down = serving.server.shutdown().then(() => isDown = true);
  await idle.assertClosedSilently("an idle connection");
  await fresh.assertClosedSilently("a connection without a request");
  await untilRefused(serving.address);
  assertEquals(isDown, false);
  answer();
  const { received, how } = await busy.readToEnd();
  assertEquals(received, "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nfinished");
  assertEquals(how, "end");
  busy.close();
  await Promise.all([down, serving.done]);
  (await listenAgain(() => new Server(serving.address, app))).close();
});

Deno.test("shutdown(): a request whose first bytes have arrived is answered", async () => {
  await using serving = serve(() => [200, "OK", {}, null]);
  using peer = await RawPeer.connect(serving.address);
  await peer.send("GET / HT");
  await turnOfEventLoop();
  await turnOfEventLoop();
  const down = serving.server.shutdown();
  await peer.send("TP/1.1\r\n\r\n");
  await peer.closeWrite();
  assertEquals((await peer.readToEnd()).received, "HTTP/1.1 200 OK\r\n\r\n");
  await down;
});

Deno.test("shutdown(): a response that is being written is completed", async () => {
  const total = 8_000_000;
  await using serving = serve(() => [200, "OK", {}, new Uint8Array(total)]);
  using peer = await RawPeer.connect(serving.address);
  await peer.send(get);
  await peer.readExactly(1000);
  const down = serving.server.shutdown();
  await peer.closeWrite();
  const { received, how } = await peer.readToEnd();
  const preamble = `HTTP/1.1 200 OK\r\ncontent-length: ${total}\r\n\r\n`;
  assertEquals([received.length + 1000, how], [preamble.length + total, "end"]);
  await down;
});

Deno.test("shutdown() and then close(): pending responses are cut detectably", async () => {
  const { app, asked, answer } = gated();
  const serving = serve(app);
  using peer = await RawPeer.connect(serving.address);
  await peer.send(get);
  await asked;
  const down = serving.server.shutdown();
  serving.server.close();
  await Promise.all([down, serving.done]);
  await peer.assertClosedSilently();
  answer();
  assertEquals(serving.logger.at("error"), []);
});

Deno.test("close(): every connection ends at once, and a response is cut detectably", async () => {
  const { app, asked, answer } = gated();
  const serving = serve(({ uri }, session, api) => {
    if (uri === "/large") return [200, "OK", {}, new Uint8Array(16_000_000)];
    return typeof app === "function"
      ? app({ uri } as never, session, api)
      : app.handle({ uri } as never, session, api);
  });
  using idle = await RawPeer.connect(serving.address);
  await idle.send("GET /idle HTTP/1.1\r\n\r\n");
  await idle.readPreamble();
  using partial = await RawPeer.connect(serving.address);
  await partial.send("GET / HT");
  using waiting = await RawPeer.connect(serving.address);
  await waiting.send(get);
  using large = await RawPeer.connect(serving.address);
  await large.send("GET /large HTTP/1.1\r\n\r\n");
  await large.readExactly(100);
  await asked;
  serving.server.close();
  await serving.done;
  for (const peer of [idle, partial, waiting]) await peer.assertClosedSilently();
  const { received } = await large.readToEnd();
  assert(received.length < 16_000_000, "a response that was not written is complete");
  answer();
  assertEquals(serving.logger.at("error"), []);
  (await listenAgain(() => new Server(serving.address, app))).close();
});

Deno.test("every response under load is complete, whenever shutdown() is called", async () => {
  const body = new Uint8Array(100_000).fill(0x61);
  for (let round = 0; round < 5; round++) {
    const serving = serve(() => [200, "OK", {}, body], { maxConnections: 20 });
    const client = serving.makeClient();
    let answered = 0;
    let cut = 0;
    const enough = Promise.withResolvers<void>();
    const workers = Array.from({ length: 20 }, async () => {
      try {
        using conn = await client.connect();
        for (;;) {
          const response = await conn.get("/");
          try {
            assertEquals((await response.body?.bytes())?.length, body.length);
          } catch {
            cut++;
          }
          if (++answered === 40) enough.resolve();
        }
      } catch {
        // No further request is answered.
      }
    });
    await enough.promise;
    await within(serving.server.shutdown(), "shutdown() resolves");
    await Promise.all([...workers, serving.done]);
    assertEquals(cut, 0, `of ${answered}`);
  }
});
