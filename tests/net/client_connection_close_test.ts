/** How closing a connection, or aborting its client, affects pending operations. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { Body, ConnectionClosedError } from "@degu/degu/base";
import { Connection, type Socket } from "@degu/degu/client";
import { connect } from "@degu/testing/connected.ts";
import { within } from "@degu/testing/raw_peer.ts";

/** A request body whose source has nothing to give yet. */
function waitingBody(): { body: Body; cancelled: Promise<void> } {
  const cancelled = Promise.withResolvers<void>();
  const stream = new ReadableStream<Uint8Array>({ cancel: () => cancelled.resolve() });
  return { body: new Body(stream, 5), cancelled: cancelled.promise };
}

Deno.test("close() ends a request whose body waits for its source, and cancels the source", async () => {
  using ends = await connect();
  const { body, cancelled } = waitingBody();
  const responding = ends.conn.post("/", {}, body);
  await ends.peer.readPreamble();
  ends.conn.close();
  await assertRejects(() => within(responding, "the request rejects", 2), ConnectionClosedError);
  await within(cancelled, "the source is canceled", 2);
});

Deno.test("signal ends a request whose body waits for its source, with its reason", async () => {
  const controller = new AbortController();
  using ends = await connect({ signal: controller.signal });
  const { body, cancelled } = waitingBody();
  const responding = ends.conn.post("/", {}, body);
  await ends.peer.readPreamble();
  const reason = new Error("no longer wanted");
  controller.abort(reason);
  const error = await assertRejects(() => within(responding, "the request rejects", 2));
  assertStrictEquals(error, reason);
  await within(cancelled, "the source is canceled", 2);
  assertEquals(ends.conn.closed, true);
});

Deno.test("a connection that is closed while a read completes never returns stale bytes of its buffer", async () => {
  const response = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r";
  for (let turns = 0; turns < 60; turns++) {
    const sent = Promise.withResolvers<void>();
    const pieces = [response, "\n5", "\r\nwo", "rld\r", "\n0\r", "\n\r", "\n"];
    const socket: Socket = {
      async read(into) {
        await sent.promise;
        const piece = pieces.shift();
        if (piece === undefined) return null;
        const { written } = new TextEncoder().encodeInto(piece, into);
        if (written < piece.length) pieces.unshift(piece.slice(written));
        return written;
      },
      write(bytes) {
        sent.resolve();
        return Promise.resolve(bytes.length);
      },
      close() {},
    };
    using conn = new Connection(socket, null, undefined, null);
    const { body } = await conn.get("/");
    const seen: string[] = [];
    const reading = (async () => {
      if (body === null || !body.chunked) return;
      for await (const [, data] of body) seen.push(new TextDecoder().decode(data));
    })().catch((error) => assertInstanceOf(error, ConnectionClosedError));
    for (let turn = 0; turn < turns; turn++) await null;
    conn.close();
    await reading;
    assert("helloworld".startsWith(seen.join("")), `after ${turns} turns: ${seen}`);
  }
});
