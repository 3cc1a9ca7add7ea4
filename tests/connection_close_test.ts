/** What closing a connection, or aborting its client, does to what waits for it. */
import { assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { Body, ConnectionClosedError } from "../base.ts";
import { connect } from "./support/connected.ts";
import { within } from "./support/raw_peer.ts";

/** A request body whose source has nothing to give yet. */
function waitingBody(): { body: Body; cancelled: Promise<void> } {
  const cancelled = Promise.withResolvers<void>();
  const stream = new ReadableStream<Uint8Array>({ cancel: () => cancelled.resolve() });
  return { body: new Body(stream, 5), cancelled: cancelled.promise };
}

Deno.test("close() ends a request whose body waits for its source, which is cancelled", async () => {
  using ends = await connect();
  const { body, cancelled } = waitingBody();
  const responding = ends.conn.post("/", {}, body);
  await ends.peer.readPreamble();
  ends.conn.close();
  await assertRejects(() => within(responding, "the request rejects", 2), ConnectionClosedError);
  await within(cancelled, "the source is cancelled", 2);
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
  await within(cancelled, "the source is cancelled", 2);
  assertEquals(ends.conn.closed, true);
});
