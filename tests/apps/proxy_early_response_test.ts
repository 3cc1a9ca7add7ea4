/** ProxyApp: responses that arrive while the request is being relayed. */
import { assertEquals } from "@std/assert";
import { Client, ProxyApp } from "@degu/degu";
import { connectThrough } from "@degu/testing/proxies.ts";
import { RawPeer, RawServer } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";

const CHUNKED = "transfer-encoding: chunked\r\n\r\n";
const PUT = `PUT / HTTP/1.1\r\n${CHUNKED}5\r\nhello\r\n`;

/** Relays the beginning of a request, and the beginning of its response. */
async function relayHalves(early: string) {
  const chain = await connectThrough();
  await chain.clientPeer.send(PUT);
  const upstreamPeer = await chain.upstream.accept();
  await upstreamPeer.readUntil("hello\r\n");
  await upstreamPeer.send(early);
  return { ...chain, upstreamPeer };
}

Deno.test("after an early response, a proxy relays the rest of the request, and both connections stay open", async () => {
  for (
    const early of [
      "HTTP/1.1 204 No Content\r\n\r\n",
      "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
      `HTTP/1.1 200 OK\r\n${CHUNKED}2\r\nhi\r\n0\r\n\r\n`,
    ]
  ) {
    await using chain = await relayHalves(early);
    const { clientPeer, upstreamPeer } = chain;
    assertEquals(await clientPeer.readExactly(early.length), early);
    await clientPeer.send("5\r\nworld\r\n0\r\n\r\n");
    assertEquals(await upstreamPeer.readUntil("0\r\n\r\n"), "5\r\nworld\r\n0\r\n\r\n");
    await clientPeer.send("GET /next HTTP/1.1\r\n\r\n");
    assertEquals(await upstreamPeer.readPreamble(), "GET /next HTTP/1.1\r\n\r\n");
  }
});

Deno.test("an early refusal of the upstream reaches a client that is silent, and ends its session", async () => {
  await using chain = await relayHalves("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
  const { clientPeer, upstreamPeer } = chain;
  assertEquals(
    await clientPeer.readPreamble(),
    "HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 2\r\n\r\n",
  );
  assertEquals(await clientPeer.readExactly(2), "no");
  await upstreamPeer.assertClosedSilently();
});

Deno.test("a reset by the upstream or by the client ends both halves of a relayed two-way stream", async () => {
  for (const side of ["upstream", "client"] as const) {
    await using chain = await relayHalves(`HTTP/1.1 200 OK\r\n${CHUNKED}2\r\nhi\r\n`);
    const { clientPeer, upstreamPeer } = chain;
    await clientPeer.readUntil("hi\r\n");
    if (side === "upstream") {
      upstreamPeer.close();
      assertEquals((await clientPeer.readToEnd()).received, "");
    } else {
      clientPeer.close();
      assertEquals((await upstreamPeer.readToEnd()).received, "");
    }
    assertEquals(chain.proxy.logger.messagesOf("error"), []);
  }
});

Deno.test("a client that breaks the framing of its request after an early response is disconnected, and its request stays incomplete", async () => {
  for (
    const early of [
      "HTTP/1.1 204 No Content\r\n\r\n",
      `HTTP/1.1 200 OK\r\n${CHUNKED}2\r\nhi\r\n0\r\n\r\n`,
    ]
  ) {
    await using chain = await relayHalves(early);
    assertEquals(await chain.clientPeer.readExactly(early.length), early);
    await chain.clientPeer.send("no chunk\r\n");
    assertEquals((await chain.clientPeer.readToEnd()).received, "");
    assertEquals((await chain.upstreamPeer.readToEnd()).received, "");
  }
});

Deno.test("a client that stops in the middle of its request after an early response is disconnected after the time-out", async () => {
  using upstream = new RawServer();
  const proxyApp = new ProxyApp(new Client(upstream.address, { host: null }));
  await using proxy = serve(proxyApp, { timeout: 0.4 });
  using clientPeer = await RawPeer.connect(proxy.address);
  await clientPeer.send(PUT);
  using upstreamPeer = await upstream.accept();
  await upstreamPeer.readUntil("hello\r\n");
  const early = "HTTP/1.1 204 No Content\r\n\r\n";
  await upstreamPeer.send(early);
  assertEquals((await clientPeer.readToEnd()).received, early);
  assertEquals((await upstreamPeer.readToEnd()).received, "");
  assertEquals(proxy.server.sessions.size, 0);
});

Deno.test("an upstream that closes after its early response ends the session of the client, which has the response", async () => {
  for (
    const early of [
      "HTTP/1.1 204 No Content\r\n\r\n",
      "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    ]
  ) {
    await using chain = await relayHalves(early);
    assertEquals(await chain.clientPeer.readExactly(early.length), early);
    chain.upstreamPeer.close();
    assertEquals((await chain.clientPeer.readToEnd()).received, "");
    assertEquals(chain.proxy.logger.messagesOf("error"), []);
  }
});
