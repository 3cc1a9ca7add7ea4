/** How a server ends: `close()`, `shutdown()`, dispose. */
import { assertEquals } from "@std/assert";
import { Body, type BodyOut } from "../base.ts";
import { Server } from "../server.ts";
import { RawPeer, within } from "./support/raw_peer.ts";
import { serve } from "./support/serving.ts";

Deno.test("close(): serveForever() settles although an application never returns", async () => {
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
    new Server(serving.address, () => [200, "OK", {}, null]).close();
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

Deno.test("close(): a response that waits for its source ends, and the source is cancelled", async () => {
  const { body, cancelled } = waitingBody();
  const serving = serve(() => [200, "OK", {}, body]);
  using peer = await RawPeer.connect(serving.address);
  await peer.send("GET / HTTP/1.1\r\n\r\n");
  await peer.readPreamble();
  serving.server.close();
  await peer.assertClosedSilently();
  await within(serving.done, "serveForever() settles", 2);
  await within(cancelled, "the source is cancelled", 2);
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
