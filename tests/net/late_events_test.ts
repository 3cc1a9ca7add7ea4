/** Events after the end of an exchange or of its connection, which have no effect. */
import { assertEquals, assertStrictEquals } from "@std/assert";
import { bodies, Body } from "@degu/degu/base";
import type { Connection } from "@degu/degu/client";
import { connect } from "@degu/testing/connected.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
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

Deno.test("client: a call rejects with the error of a body's constructor, also if the constructor has used the body", async (t) => {
  const bodyError = new Error("no body");
  const sink = makeSlowSink();
  let conn: Connection;
  let next: Promise<unknown> | null = null;
  let writing: Promise<number> | null = null;
  const rows: [label: string, use: (body: Body) => void][] = [
    ["reads the whole body", (body) => void body.bytes()],
    ["makes the next request", (body) => {
      void body.bytes();
      next = catchRejection(conn.get("/"), "the next request");
    }],
    ["has a slow sink that takes the last bytes", (body) => writing = body.writeTo(sink)],
  ];
  await testEachRow(t, rows, async (_label, use) => {
    class OwnBody extends Body {
      constructor(...args: ConstructorParameters<typeof Body>) {
        super(...args);
        use(this);
        throw bodyError;
      }
    }
    using pair = await connect({ bodies: { ...bodies, Body: OwnBody } });
    conn = pair.conn;
    const response = pair.answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    assertStrictEquals(await catchRejection(response, "the request"), bodyError);
    assertEquals(conn.closed, true);
  });
  assertStrictEquals(await withTimeout(next!, "the next request rejects"), bodyError);
  sink.release();
  assertEquals(await withTimeout(writing!, "the body is written"), 5);
});
