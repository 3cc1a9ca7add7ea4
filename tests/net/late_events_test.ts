/** Events after the end of an exchange or of its connection, which have no effect. */
import { assertEquals } from "@std/assert";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { connectRawPeer, type ServedRawPeer } from "@degu/testing/serving.ts";

const PUT = "PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello";

/** Makes a sink whose writes wait until it is released. */
function makeSlowSink() {
  const writeStarted = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  const write = () => (writeStarted.resolve(), released.promise);
  return { write, begun: writeStarted.promise, release: released.resolve };
}

Deno.test("server: a body may end after its connection was closed, if a slow sink still writes its last bytes", async (t) => {
  const rows: [label: string, close: (pair: ServedRawPeer) => void, message: string][] = [
    ["by the app", ({ session }) => session.close(), "closed by the app"],
    ["by the server", ({ serving }) => serving.server.close(), "closed by the server"],
  ];
  await testEachRow(t, rows, async (_label, close, message) => {
    const sink = makeSlowSink();
    const writing = Promise.withResolvers<number>();
    await using pair = await connectRawPeer(async ({ body }) => {
      const count = body!.writeTo(sink);
      writing.resolve(count);
      await count;
      return [200, "OK", {}, null];
    }, PUT);
    await sink.begun;
    close(pair);
    sink.release();
    assertEquals(await withTimeout(writing.promise, "the body is written"), 5);
    await pair.sessionEnded;
    assertEquals(pair.session.message?.startsWith(message), true, `${pair.session.message}`);
    assertEquals(pair.logger.messagesOf("error"), []);
    assertEquals((await pair.peer.readToEnd()).received, "");
  });
});
