/** Event streams through a ProxyApp, the end of its server, and early responses of the upstream. */
import { type App, Client, ProxyApp, reply } from "@degu/degu";
import { makeProgramCommand } from "@degu/testing/programs.ts";
import { RunningProcess } from "@degu/testing/processes.ts";
import { serve } from "@degu/testing/serving.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { connectThrough } from "@degu/testing/proxies.ts";
import { RawPeer, RawServer } from "@degu/testing/raw_peer.ts";

/** Responds with a stream that never ends; `types` are the content-types by path. */
function makeStreams(types: Record<string, string>): App & { readonly canceled: Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const app: App = ({ path }) => {
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(new TextEncoder().encode("data: 1\n\n")),
      cancel: () => resolve(),
    });
    return reply(200, stream, { "content-type": types[`${path[0]}`]! });
  };
  return Object.assign(app, { canceled: promise });
}

const EVENTS = {
  plain: "text/event-stream",
  charset: "text/event-stream;charset=utf-8",
  capitals: "Text/Event-Stream ; charset=utf-8",
};

async function openStream(client: Client, path: string) {
  const response = await client.request("GET", `/${path}`);
  const reader = response.body!.readable.getReader();
  const { value } = await reader.read();
  assertEquals(new TextDecoder().decode(value), "data: 1\n\n");
  return reader;
}

Deno.test("an aborted signal ends an event stream through a proxy as a complete message, and frees its upstream", async () => {
  for (const path of Object.keys(EVENTS)) {
    const streams = makeStreams(EVENTS);
    await using upstream = serve(streams);
    const stop = new AbortController();
    await using app = new ProxyApp(upstream.makeClient(), { signal: stop.signal });
    await using proxy = serve(app);
    const reader = await openStream(proxy.makeClient(), path);
    stop.abort();
    assertEquals((await reader.read()).done, true);
    await streams.canceled;
    await proxy.server.shutdown();
    const { lines } = proxy.logger;
    assertEquals(lines.filter(([level]) => level === "error" || level === "warn"), []);
    // A stream that begins later ends at once.
    await using later = serve(app);
    const response = await later.makeClient().request("GET", `/${path}`);
    assertEquals(await response.text(), "");
  }
});

Deno.test("an aborted signal doesn't end other responses of unknown length", async () => {
  const more = Promise.withResolvers<void>();
  async function* pieces() {
    yield "a";
    await more.promise;
    yield "b";
  }
  const app: App = () => reply(200, pieces(), { "content-type": "text/event-streams" });
  await using upstream = serve(app);
  const stop = new AbortController();
  await using proxy = serve(new ProxyApp(upstream.makeClient(), { signal: stop.signal }));
  const response = await proxy.makeClient().request("GET", "/");
  const text = response.text();
  stop.abort();
  more.resolve();
  assertEquals(await text, "ab");
});

Deno.test("with a signal, an event stream still breaks off if its upstream breaks off, and ends with its client", async () => {
  const streams = makeStreams(EVENTS);
  await using upstream = serve(streams);
  const { signal } = new AbortController();
  await using proxy = serve(new ProxyApp(upstream.makeClient(), { signal }));
  const reader = await openStream(proxy.makeClient(), "plain");
  await reader.cancel();
  await streams.canceled;
  const broken = await openStream(proxy.makeClient(), "plain");
  upstream.server.close();
  await assertRejects(() => broken.read());
});

Deno.test("an event stream through a proxy keeps its chunks", async () => {
  async function* events() {
    yield "data: 1\n\n";
    await Promise.resolve();
    yield "data: 2\n\n";
  }
  await using upstream = serve(() => reply(200, events(), { "content-type": EVENTS.plain }));
  const { signal } = new AbortController();
  await using proxy = serve(new ProxyApp(upstream.makeClient(), { signal }));
  const { body } = await proxy.makeClient().request("GET", "/");
  assert(body?.chunked);
  const sizes = (await Array.fromAsync(body)).map(([, data]) => data.length);
  assertEquals(sizes, [9, 9, 0]);
});

Deno.test("SIGTERM ends a proxy with an open event stream, without a deadline", async () => {
  const streams = makeStreams(EVENTS);
  await using upstream = serve(streams);
  await using process = new RunningProcess(
    makeProgramCommand("event_stream_proxy.ts", {
      flags: ["--allow-net=127.0.0.1"],
      args: [String(upstream.server.port)],
    }).spawn(),
  );
  const port = Number(await process.waitForStdout(/[0-9]+/));
  const reader = await openStream(new Client(["127.0.0.1", port]), "plain");
  process.child.kill("SIGTERM");
  assertEquals((await reader.read()).done, true);
  assertEquals((await process.waitForEnd()).success, true);
});

// ProxyApp: responses that arrive while the request is being relayed.

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
