/** ProxyApp: when a client leaves, its upstream connection is closed. */
import { assertEquals } from "@std/assert";
import { ProxyApp } from "@degu/degu";
import { Client, SSLClient } from "@degu/degu/client";
import { TempPKI } from "@degu/degu/misc";
import { RawPeer, RawServer, within } from "@degu/testing/raw_peer.ts";
import { connectThrough } from "@degu/testing/proxies.ts";
import { serve } from "@degu/testing/serving.ts";

const leaving: Readonly<Record<string, (peer: RawPeer) => unknown>> = {
  "closes": (peer) => peer.close(),
  "ends its writing side": (peer) => peer.closeWrite(),
};

for (const [how, leave] of Object.entries(leaving)) {
  Deno.test(`the upstream connection of a client that ${how} is closed while its response is awaited`, async (t) => {
    const requests = {
      "no body": "GET /slow HTTP/1.1\r\n\r\n",
      "a whole body": "PUT /slow HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello",
    };
    for (const [what, request] of Object.entries(requests)) {
      await t.step(what, async () => {
        await using through = await connectThrough();
        await through.near.send(request);
        const far = await through.upstream.accept();
        assertEquals(await far.readExactly(request.length), request);
        await leave(through.near);
        assertEquals((await within(far.readToEnd(), "the upstream ends", 2)).received, "");
      });
    }
  });
}

for (const [how, leave] of Object.entries(leaving)) {
  Deno.test(`the upstream connection of a client that ${how} is closed while the response is idle`, async (t) => {
    const responses = {
      "a Body": "content-length: 100\r\n\r\nhello",
      "a ChunkedBody": "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    };
    for (const [what, response] of Object.entries(responses)) {
      await t.step(what, async () => {
        await using through = await connectThrough();
        await through.near.send("GET /events HTTP/1.1\r\n\r\n");
        const far = await through.upstream.accept();
        await far.readPreamble();
        await far.send(`HTTP/1.1 200 OK\r\n${response}`);
        await through.near.readUntil("hello");
        await leave(through.near);
        assertEquals((await within(far.readToEnd(), "the upstream ends", 2)).received, "");
        // It is the client that has ended it: no mistake of anybody.
        await through.proxy.logger.waitFor("debug");
        assertEquals(through.proxy.server.sessions.size, 0);
        assertEquals(through.proxy.logger.at("error"), []);
      });
    }
  });
}

Deno.test("a connection that an app has stored under the key is also closed when the client leaves", async () => {
  using upstream = new RawServer();
  const client = new Client(upstream.address, { host: null, timeout: 10 });
  const proxy = new ProxyApp(client, "mine");
  await using serving = serve(async (request, session) => {
    session.store.set("mine", await client.connect());
    return await proxy.handle(request, session);
  });
  using near = await RawPeer.connect(serving.address);
  await near.send("GET / HTTP/1.1\r\n\r\n");
  const far = await upstream.accept();
  await far.readPreamble();
  near.close();
  assertEquals((await within(far.readToEnd(), "the upstream ends", 2)).received, "");
});

Deno.test("closing a session closes its upstream connection", async () => {
  for (const idle of [false, true]) {
    await using through = await connectThrough();
    await through.near.send("GET /events HTTP/1.1\r\n\r\n");
    const far = await through.upstream.accept();
    await far.readPreamble();
    if (idle) {
      await far.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello");
      await through.near.readUntil("hello");
    }
    const [session] = through.proxy.server.sessions;
    session!.close(new Error("revoked"));
    assertEquals((await within(far.readToEnd(), "the upstream ends", 2)).received, "");
    await through.near.assertClosedSilently();
    assertEquals(through.proxy.logger.at("error"), []);
  }
});

Deno.test("a request whose client has left is not repeated, and is not a bad gateway", async () => {
  const warnings: string[] = [];
  using upstream = new RawServer();
  const client = new Client(upstream.address, { host: null, timeout: 10 });
  const logger = { warn: (message: string) => void warnings.push(message) };
  const proxy = new ProxyApp(client, "conn", { logger });
  const ended = Promise.withResolvers<unknown>();
  await using serving = serve(async (request, session) => {
    const response = await proxy.handle(request, session);
    if (request.uri === "/2") ended.resolve(response);
    return response;
  });
  using near = await RawPeer.connect(serving.address);
  await near.send("GET /1 HTTP/1.1\r\n\r\n");
  const far = await upstream.accept();
  await far.readPreamble();
  await far.send("HTTP/1.1 204 No Content\r\n\r\n");
  await near.readPreamble();
  // The second request goes over the connection that is there, which is lost with the client.
  await near.send("GET /2 HTTP/1.1\r\n\r\n");
  await far.readPreamble();
  near.close();
  assertEquals((await far.readToEnd()).received, "");
  const [status] = await within(ended.promise, "the proxy gives up") as [number];
  assertEquals(status, 502);
  assertEquals(warnings, []);
});

Deno.test("a client that leaves during a paused download causes no logged error", async () => {
  await using through = await connectThrough();
  await through.near.send("GET / HTTP/1.1\r\n\r\n");
  const far = await through.upstream.accept();
  await far.readPreamble();
  await far.send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhello");
  await through.near.readUntil("hello");
  await through.near.closeWrite();
  assertEquals((await within(far.readToEnd(), "the upstream ends", 2)).received, "");
  await through.near.readToEnd();
  await through.proxy.logger.waitFor("debug");
  assertEquals(through.proxy.logger.at("error"), []);
});

Deno.test("a client that leaves while the upstream is being connected ends its session", async () => {
  await using pki = await TempPKI.create();
  // It accepts, and never answers the handshake.
  using upstream = new RawServer();
  const client = new SSLClient(pki.clientSslconfig, upstream.address, { timeout: 30 });
  await using serving = serve(new ProxyApp(client), { maxConnections: 1 });
  using near = await RawPeer.connect(serving.address);
  await near.send("GET / HTTP/1.1\r\n\r\n");
  const far = await upstream.accept();
  near.close();
  await within(far.readToEnd(), "the connection to the upstream is given up", 2);
  const [message] = await serving.logger.waitFor("debug");
  assertEquals(serving.logger.at("error"), [], message);
  assertEquals(serving.server.sessions.size, 0);
});
