/** One-shot requests: a small body is prefetched, and the connection closed. */
import { Client } from "@degu/degu";
import { BodyError, BodyIter } from "@degu/degu/base";
import { assertProtocolRejection, catchRejection } from "@degu/testing/expectations.ts";
import { runProgram } from "@degu/testing/programs.ts";
import { isBroken, RawServer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { recordUnhandledRejections } from "@degu/testing/rejections.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { assert, assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";

const MAX_PREFETCHED_BYTES = 65_536;

Deno.test("a body of up to 64 KiB with a length is read at once, and any other body on demand", async (t) => {
  const rows: [string, body: () => Uint8Array | BodyIter | null, isClosed: boolean][] = [
    ["none", () => null, true],
    ["the largest", () => new Uint8Array(MAX_PREFETCHED_BYTES), true],
    ["in pieces", () => new BodyIter([new Uint8Array(9), new Uint8Array(9)], 18), true],
    ["one byte more", () => new Uint8Array(MAX_PREFETCHED_BYTES + 1), false],
  ];
  await testEachRow(t, rows, async (_label, make, isClosed) => {
    await using serving = serve(() => [200, "OK", {}, make()]);
    const { sessions } = serving.server;
    const response = await serving.makeClient().get("/");
    if (isClosed) {
      await withTimeout(
        (async () => {
          while (sessions.size > 0) await waitForTick();
        })(),
        "the connection closes",
      );
    } else {
      for (let i = 0; i < 5; i++) await waitForTick();
      assertEquals(sessions.size, 1);
    }
    const { length } = await response.bytes();
    const body = make();
    assertEquals(length, body instanceof BodyIter ? 18 : body?.length ?? 0);
  });
});

Deno.test("the response does not wait for a prefetched body, and an error while reading rejects only the body", async () => {
  using unhandled = recordUnhandledRejections();
  using server = new RawServer();
  const client = new Client(server.address, { timeout: 60 });
  for (const isRead of [true, false]) {
    const responding = client.get("/");
    const peer = await server.respond("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello");
    const { body } = await responding;
    peer.close();
    await waitForTick();
    if (!isRead) continue;
    await assertProtocolRejection(body!.text(), ["BODY_INCOMPLETE"], "a body that is cut");
  }
  assertEquals(unhandled.reasons, []);
});

Deno.test("a peer that sends a byte now and then keeps a connection open only while the program reads the body", async () => {
  using server = new RawServer();
  const seconds = 0.2;
  const client = new Client(server.address, { timeout: seconds });
  const LENGTH = 60_000;
  for (const isRead of [true, false]) {
    const responding = client.get("/");
    const peer = await server.respond(`HTTP/1.1 200 OK\r\ncontent-length: ${LENGTH}\r\n\r\n`);
    const { body } = await responding;
    let sent = 0;
    const drip = async (isEnough: () => boolean) => {
      while (!isEnough()) {
        await peer.send("x");
        sent++;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    };
    if (isRead) {
      const text = body!.text();
      const end = performance.now() + seconds * 3000;
      await drip(() => performance.now() > end);
      await peer.send("x".repeat(LENGTH - sent));
      assertEquals((await text).length, LENGTH);
    } else {
      const error = await catchRejection(
        withTimeout(drip(() => sent === LENGTH), "the connection closes"),
        "a drip",
      );
      assert(isBroken(error), String(error));
      assertInstanceOf(await catchRejection(body!.text(), "later"), Deno.errors.TimedOut);
    }
  }
});

Deno.test("a prefetched body keeps the process alive only while the process waits for it", async () => {
  using server = new RawServer();
  const running = runProgram("unread_body.ts", {
    flags: ["--allow-net"],
    args: [JSON.stringify(server.address)],
  });
  const firstPeer = await server.respond("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe");
  for (let i = 0; i < 20; i++) await waitForTick();
  await firstPeer.send("llo");
  await server.respond("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe");
  assertEquals(await running, "hello\n200\n");
});

Deno.test("an abort, or a cancellation, before the last byte ends a prefetched body, and closes the connection", async () => {
  using server = new RawServer();
  const client = new Client(server.address, { timeout: 60 });
  for (const method of ["abort", "cancel"]) {
    const aborting = new AbortController();
    const responding = client.get("/", {}, { signal: aborting.signal });
    const peer = await server.respond("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello");
    const { body } = await responding;
    const reason = new Error("enough");
    if (method === "abort") aborting.abort(reason);
    else await body!.cancel(reason);
    await peer.assertClosedSilently();
    const error = await catchRejection(body!.text(), method);
    if (method === "cancel") assertInstanceOf(error, BodyError);
    else {
      assertStrictEquals(error, reason);
      assertStrictEquals(await catchRejection(body!.text(), "again"), reason);
    }
  }
});
