/** ProxyApp: which connection a request uses, and what happens to it. */
import { assertEquals, assertRejects, assertStrictEquals, assertStringIncludes } from "@std/assert";
import { type App, type AppFunction, ProxyApp } from "@degu/degu";
import { Client, type Connection } from "@degu/degu/client";
import { mkreq } from "@degu/degu/misc";
import { makeSession } from "@degu/testing/calling.ts";
import { RawPeer, turnOfEventLoop } from "@degu/testing/raw_peer.ts";
import { connectThrough, echo, REQUESTS, serveProxy } from "@degu/testing/proxies.ts";
import { serve } from "@degu/testing/serving.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

const BAD_GATEWAY = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";

// ───────────────────────── connections

/** An app that tells which session and which request of it this is. */
function countSessions(): AppFunction {
  const sessions: unknown[] = [];
  return (_request, session) => {
    if (!sessions.includes(session)) sessions.push(session);
    return [200, "OK", {
      session: `${sessions.indexOf(session)}`,
      request: `${session.requests}`,
    }, null];
  };
}

/** A connection through a proxy, both of whose far ends speak bytes. */
type Through = Awaited<ReturnType<typeof connectThrough>>;

/** Makes the first exchange; returns the upstream's end of its connection, which stays open. */
async function exchange({ near, upstream }: Through): Promise<RawPeer> {
  await near.send("GET /first HTTP/1.1\r\n\r\n");
  const far = await upstream.accept();
  assertEquals(await far.readPreamble(), "GET /first HTTP/1.1\r\n\r\n");
  await far.send("HTTP/1.1 200 OK\r\n\r\n");
  assertEquals(await near.readPreamble(), "HTTP/1.1 200 OK\r\n\r\n");
  return far;
}

Deno.test("each session has one upstream connection", async () => {
  await using upstream = serve(countSessions());
  await using proxy = serveProxy(upstream.address);
  using first = await proxy.makeClient().connect();
  using second = await proxy.makeClient().connect();
  const seen: unknown[] = [];
  for (let i = 0; i < 3; i++) {
    for (const conn of [first, second]) seen.push({ ...(await conn.get("/")).headers });
  }
  assertEquals(
    seen,
    [0, 0, 1, 1, 2, 2].map((request, i) => ({
      session: `${i % 2}`,
      request: `${request}`,
    })),
  );
});

Deno.test("the upstream connection is in session.store, and closed when the session ends", async () => {
  await using upstream = serve(echo);
  const app = new ProxyApp(upstream.makeClient(), "upstream");
  let connection: Connection | undefined;
  await using proxy = serve(async (request, session) => {
    const response = await app.handle(request, session);
    connection = session.store.get("upstream") as Connection;
    return response;
  });
  using conn = await proxy.makeClient().connect();
  await conn.get("/");
  const first = connection;
  assertEquals(first?.closed, false);
  await conn.get("/");
  assertStrictEquals(connection, first);
  conn.close();
  await upstream.logger.waitFor("debug");
  assertEquals(first?.closed, true);
});

Deno.test("an upstream connection is closed with its session, even if the session fails", async () => {
  await using through = await connectThrough();
  const far = await exchange(through);
  await through.near.send("nonsense\r\n\r\n");
  await through.near.assertClosedSilently();
  assertEquals((await far.readToEnd()).received, "");
});

/** Makes the upstream close its idle connection after an answer, and waits until that is known. */
async function exchangeAndClose(through: Through): Promise<void> {
  (await exchange(through)).close();
  await turnOfEventLoop();
}

Deno.test("an idle connection that the upstream has closed is replaced", async (t) => {
  for (const request of REQUESTS) {
    await t.step(JSON.stringify(request), async () => {
      await using through = await connectThrough();
      await exchangeAndClose(through);
      await through.near.send(request);
      const far = await through.upstream.accept();
      assertEquals(await far.readExactly(request.length), request);
      await far.send("HTTP/1.1 201 Created\r\n\r\n");
      assertEquals(await through.near.readPreamble(), "HTTP/1.1 201 Created\r\n\r\n");
      assertEquals(through.proxy.logger.at("error"), []);
    });
  }
});

Deno.test("a connection is replaced once, and a new connection never", async () => {
  {
    await using through = await connectThrough();
    await exchangeAndClose(through);
    await through.near.send("GET / HTTP/1.1\r\n\r\n");
    const far = await through.upstream.accept();
    await far.readPreamble();
    far.close();
    assertEquals((await through.near.readToEnd()).received, BAD_GATEWAY);
  }
  await using through = await connectThrough();
  await through.near.send("GET / HTTP/1.1\r\n\r\n");
  const far = await through.upstream.accept();
  await far.readPreamble();
  far.close();
  assertEquals((await through.near.readToEnd()).received, BAD_GATEWAY);
});

Deno.test("a request is not repeated after a byte of its body has been used", async () => {
  await using through = await connectThrough();
  const far = await exchange(through);
  await through.near.send("PUT / HTTP/1.1\r\ncontent-length: 10\r\n\r\nhello");
  await far.readUntil("hello");
  far.close();
  await through.near.send("world");
  const { received } = await through.near.readToEnd();
  assertEquals(received, BAD_GATEWAY);
  // The next that connects to the upstream is not the proxy.
  using probe = await RawPeer.connect(through.upstream.address);
  await probe.send("probe");
  assertEquals(await (await through.upstream.accept()).readExactly(5), "probe");
});

Deno.test("a POST without a body is never sent twice: it uses a new connection", async () => {
  await using through = await connectThrough();
  const first = await exchange(through);
  await through.near.send("POST / HTTP/1.1\r\n\r\n");
  const second = await through.upstream.accept();
  assertEquals(await second.readPreamble(), "POST / HTTP/1.1\r\n\r\n");
  second.close();
  const { received } = await through.near.readToEnd();
  assertEquals(received, BAD_GATEWAY);
  assertEquals((await first.readToEnd()).received, "");
});

Deno.test("a response that a middleware has dropped does not affect the next one", async () => {
  await using upstream = serve(() => [200, "OK", {}, latin1("hello")]);
  const app = new ProxyApp(upstream.makeClient());
  await using proxy = serve(async (request, session) => {
    const response = await app.handle(request, session);
    return request.path[0] === "dropped" ? [200, "OK", {}, null] : response;
  });
  using conn = await proxy.makeClient().connect();
  assertEquals((await conn.get("/dropped")).body, null);
  assertEquals(await (await conn.get("/")).body?.text(), "hello");
  // The connection of the dropped response has been closed.
  await upstream.logger.waitFor("debug");
  assertEquals(proxy.logger.at("error"), []);
});

Deno.test("a connection that an app has stored in session.store is used", async () => {
  await using upstream = serve(countSessions());
  const app = new ProxyApp(new Client(["127.0.0.1", 1]), "given");
  await using proxy = serve(async (request, session) => {
    if (session.requests === 0) {
      session.store.set("given", await upstream.makeClient().connect());
    }
    return app.handle(request, session);
  });
  using conn = await proxy.makeClient().connect();
  assertEquals((await conn.get("/")).headers["request"], "0");
  assertEquals((await conn.get("/")).headers["request"], "1");
});

Deno.test("two proxies do not use each other's connections", async () => {
  await using one = serve(() => [200, "OK", { from: "one" }, null]);
  await using other = serve(() => [200, "OK", { from: "other" }, null]);
  const apps: Record<string, App & { handle: AppFunction }> = {
    one: new ProxyApp(one.makeClient()),
    other: new ProxyApp(other.makeClient(), "other"),
    clash: new ProxyApp(other.makeClient()),
  };
  await using proxy = serve((request, session, api) =>
    apps[request.shiftPath()!]!.handle(request, session, api)
  );
  using conn = await proxy.makeClient().connect();
  assertEquals((await conn.get("/one")).headers["from"], "one");
  assertEquals((await conn.get("/other")).headers["from"], "other");
  await assertRejects(() => conn.get("/clash"));
  const [error = ""] = await proxy.logger.waitFor("error");
  assertStringIncludes(error, "give each ProxyApp a key of its own");
});

Deno.test("any other value in place of the connection is an error", async () => {
  for (const value of [null, 5, "conn", {}, { request() {} }]) {
    const session = makeSession();
    session.store.set("conn", value);
    const app = new ProxyApp(new Client(["127.0.0.1", 1]));
    await assertRejects(() => app.handle(mkreq("GET", "/"), session), Error, "session.store");
    assertStrictEquals(session.store.get("conn"), value);
  }
});
