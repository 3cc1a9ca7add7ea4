/**
 * What `timeout` bounds, at both ends. It fires between 1.0 and 1.25 times its value; the upper bound is tested with room for a machine
 * that is busy. The scenarios of a test run at the same time.
 */
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { BodyIter } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { type App, Server } from "@degu/degu/server";
import { connect } from "@degu/testing/connected.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";

const TIMEOUT = 0.3;
const MEBIBYTE = 1048576;

/** Waits, as the time itself is what is tested here. */
function seconds(count: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, count * 1000));
}

/** Asserts that something takes as long as a time-out, from the start of the call. */
async function assertTimedOut(what: string, event: () => Promise<unknown>): Promise<void> {
  const start = performance.now();
  await event();
  const elapsed = (performance.now() - start) / 1000;
  assert(elapsed >= TIMEOUT, `${what}: after ${elapsed} s`);
  assert(elapsed < TIMEOUT * 1.25 + 1, `${what}: after ${elapsed} s`);
}

/** Each piece after a while, until the peer does not take them any more. */
async function drip(peer: RawPeer, pieces: Iterable<string>, pause: number): Promise<void> {
  try {
    for (const piece of pieces) {
      await peer.send(piece);
      await seconds(pause);
    }
  } catch {
    // It has been closed, which is what the test waits for.
  }
}

const reader: App = async ({ body }) => {
  const length = (await body?.bytes())?.length ?? 0;
  return [200, "OK", { length: `${length}` }, null];
};

/** One server and one raw client of it, and what happens between them. */
async function atServer(
  what: string,
  begin: string,
  then: (peer: RawPeer) => Promise<void> = async () => {},
  app: App = reader,
): Promise<void> {
  await using serving = serve(app, { timeout: TIMEOUT });
  using peer = await RawPeer.connect(serving.address);
  await peer.send(begin);
  await assertTimedOut(what, async () => {
    const doing = then(peer);
    await peer.assertClosedSilently(what);
    await doing;
  });
  assertEquals(serving.logger.at("info").length, 1, what);
  assertEquals(serving.logger.at("error"), [], what);
}

Deno.test("a server waits for a peer as long as its timeout", async () => {
  await Promise.all([
    atServer("nothing", ""),
    atServer("half a preamble", "GET / HT"),
    atServer("a whole preamble but its end", "GET / HTTP/1.1\r\n\r"),
    atServer("a body of which nothing comes", "PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\n"),
    atServer("half a body", "PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhe"),
    atServer("half a chunk", "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe"),
    atServer("half a chunk line", "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5;a=b"),
    atServer("no last chunk", "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n"),
    atServer("between two requests", "GET / HTTP/1.1\r\n\r\n", async (peer) => {
      await peer.readPreamble();
    }),
    atServer(
      "a preamble that drips",
      "G",
      (peer) => drip(peer, `ET / HTTP/1.1\r\na: ${"b".repeat(100)}`, 0.05),
    ),
  ]);
});

Deno.test("the time for a preamble begins with its first byte", async () => {
  await using serving = serve(reader, { timeout: TIMEOUT });
  using peer = await RawPeer.connect(serving.address);
  await seconds(TIMEOUT * 0.7);
  await peer.send("G");
  await seconds(TIMEOUT * 0.7);
  await peer.send("ET / HTTP/1.1\r\n\r\n");
  assertEquals(await peer.readPreamble(), "HTTP/1.1 200 OK\r\nlength: 0\r\n\r\n");
});

Deno.test("within a body each wait has its own time limit, and an app has none", async () => {
  const slow: App = async ({ body }) => {
    const first = await body?.read();
    await seconds(TIMEOUT * 1.5);
    return [200, "OK", {}, first ?? null];
  };
  await using serving = serve(slow, { timeout: TIMEOUT });
  using peer = await RawPeer.connect(serving.address);
  await peer.send("PUT / HTTP/1.1\r\ncontent-length: 3\r\n\r\n");
  await drip(peer, "hey", TIMEOUT * 0.5);
  assertEquals(await peer.readPreamble(), "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n");
  assertEquals(await peer.readExactly(3), "hey");
});

/** Resolves once a server has given up a peer; it does not matter how the peer sees it. */
async function untilTimedOut(what: string, app: App, request: string, late = ""): Promise<void> {
  await using serving = serve(app, { timeout: TIMEOUT });
  using peer = await RawPeer.connect(serving.address);
  await peer.send(request);
  await peer.readExactly(1);
  await peer.send(late);
  await assertTimedOut(what, async () => {
    const [line = ""] = await serving.logger.waitFor("info");
    assert(line.includes("TimedOut"), line);
  });
}

Deno.test("a server closes the connection of a peer that never reads", async () => {
  const zeros = new Uint8Array(16 * MEBIBYTE);
  const get = "GET / HTTP/1.1\r\n\r\n";
  const put = "PUT / HTTP/1.1\r\ncontent-length: 3\r\n\r\n";
  function* endless() {
    for (;;) yield zeros;
  }
  await Promise.all([
    untilTimedOut("a Uint8Array", () => [200, "OK", {}, zeros], get),
    untilTimedOut("a BodyIter", () => [200, "OK", {}, new BodyIter(endless(), 2 ** 40)], get),
    untilTimedOut(
      "while the application still reads",
      ({ body }) => {
        body?.read().catch(() => {});
        return [413, "Content Too Large", {}, zeros];
      },
      put,
      "abc",
    ),
  ]);
});

Deno.test("a client waits for a peer as long as its timeout", async () => {
  const scenario = async (
    what: string,
    begin: string,
    drips: string = "",
  ) => {
    using ends = await connect({ timeout: TIMEOUT });
    const request = ends.conn.get("/").then(({ body }) => body?.read());
    await ends.peer.readPreamble();
    const rejection = rejectionOf(request, what);
    await ends.peer.send(begin);
    await assertTimedOut(what, async () => {
      const dripping = drip(ends.peer, drips, 0.05);
      assertInstanceOf(await rejection, Deno.errors.TimedOut, what);
      assertEquals(ends.conn.closed, true, what);
      await dripping;
    });
  };
  await Promise.all([
    scenario("a preamble that never comes", ""),
    scenario("half a preamble", "HTTP/1.1 200 O"),
    scenario("a preamble that drips", "H", `TTP/1.1 200 OK\r\na: ${"b".repeat(100)}`),
    scenario("half a body", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe"),
    scenario("half a chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe"),
  ]);
});

Deno.test("a client closes the connection to a peer that never reads", async () => {
  using ends = await connect({ timeout: TIMEOUT });
  await assertTimedOut("an upload", async () => {
    const upload = ends.conn.put("/", {}, new Uint8Array(16 * MEBIBYTE));
    assertInstanceOf(await rejectionOf(upload, "an upload"), Deno.errors.TimedOut);
  });
  assertEquals(ends.conn.closed, true);
});

Deno.test("a client's own body has no time limit, and neither has a wait that the peer does not cause", async () => {
  await using serving = serve(reader, { timeout: 10 });
  using conn = await serving.makeClient({ timeout: TIMEOUT }).connect();
  async function* slow() {
    yield new Uint8Array(1);
    await seconds(TIMEOUT * 1.5);
    yield new Uint8Array(1);
  }
  assertEquals((await conn.put("/", {}, new BodyIter(slow(), 2))).headers["length"], "2");
  await seconds(TIMEOUT * 1.5);
  assertEquals((await conn.get("/")).status, 200);
});

Deno.test("timeout null waits indefinitely", async () => {
  await using serving = serve(async () => {
    await seconds(0.4);
    return [200, "OK", {}, null];
  });
  using conn = await serving.makeClient({ timeout: null }).connect();
  assertEquals((await conn.get("/")).status, 200);
});

Deno.test("a timeout beyond the longest timer has no effect", async () => {
  const far = 1e9;
  const server = new Server(["127.0.0.1", 0], reader, { timeout: far });
  const serving = server.serveForever();
  assertEquals(
    (await new Client(server.address, { timeout: far }).request("GET", "/")).status,
    200,
  );
  server.close();
  await serving;
});
