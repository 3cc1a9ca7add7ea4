/**
 * The messages that a proxy forwards or refuses, over sockets on both sides (RFC 9110 §7.6, RFC
 * 9112).
 */
import { ProxyApp } from "@degu/degu";
import { Client } from "@degu/degu/client";
import { Server } from "@degu/degu/server";
import { formatErrorResponse } from "@degu/testing/error_answers.ts";
import { connectThrough, serveProxy } from "@degu/testing/proxies.ts";
import { exchange, RawPeer, RawServer } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { RecordingLogger, serve } from "@degu/testing/serving.ts";
import { assert, assertEquals } from "@std/assert";

const OK = "HTTP/1.1 200 OK\r\n";
const FINAL = `${OK}content-length: 0\r\n\r\n`;
const CHUNKED = "transfer-encoding: chunked\r\n";
const BAD_GATEWAY = "HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/** Responses, by the rule that they break. */
const RESPONSES: readonly (readonly [rule: string, bytes: string])[] = [
  ["a space before a colon", `${OK}a : b\r\ncontent-length: 0\r\n\r\n`],
  ["a folded line", `${OK}a: b\r\n c\r\ncontent-length: 0\r\n\r\n`],
  ["a bare CR", `${OK}a: b\rc\r\ncontent-length: 0\r\n\r\n`],
  ["a length that is no number", `${OK}content-length: five\r\n\r\nhello`],
  ["a list of the same length", `${OK}content-length: 5, 5\r\n\r\nhello`],
  ["two lengths", `${OK}content-length: 5\r\ncontent-length: 6\r\n\r\nhello!`],
  ["a length and chunks", `${OK}content-length: 5\r\n${CHUNKED}\r\n0\r\n\r\n`],
  ["another coding", `${OK}transfer-encoding: gzip\r\n\r\nhello`],
  ["no framing", `${OK}\r\nhello`],
  ["HTTP/1.0 with chunks", `HTTP/1.0 200 OK\r\n${CHUNKED}\r\n0\r\n\r\n`],
  ["an interim response", `HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n${FINAL}`],
];

Deno.test("a proxy replaces a response that breaks a rule by 502, passes no byte of it on, and closes the connection", async (t) => {
  await testEachRow(t, RESPONSES, async (_rule, bytes) => {
    await using chain = await connectThrough();
    const { clientPeer, upstream } = chain;
    await clientPeer.send("GET / HTTP/1.1\r\n\r\n");
    const upstreamPeer = await upstream.accept();
    await upstreamPeer.readPreamble();
    await upstreamPeer.send(bytes);
    assertEquals((await clientPeer.readToEnd()).received, BAD_GATEWAY);
    await upstreamPeer.assertClosedSilently();
  });
});

const ABSOLUTE = "http://127.0.0.1:1/a";
/** Requests that break a rule, and the status of the response. */
const REQUESTS: readonly (readonly [request: string, status: 400 | 501 | 505])[] = [
  [`GET ${ABSOLUTE} HTTP/1.1\r\nhost: b\r\n\r\n`, 400],
  ["GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n", 505],
  [`PUT / HTTP/1.0\r\n${CHUNKED}\r\n0\r\n\r\n`, 505],
  ["OPTIONS * HTTP/1.1\r\nmax-forwards: 0\r\n\r\n", 501],
  [`OPTIONS ${ABSOLUTE} HTTP/1.1\r\nmax-forwards: 5\r\n\r\n`, 501],
  ["TRACE / HTTP/1.1\r\nmax-forwards: 5\r\n\r\n", 501],
  ["CONNECT a:80 HTTP/1.1\r\n\r\n", 501],
  ["CONNECT a: HTTP/1.1\r\n\r\n", 501],
  ["GET / HTTP/1.1\r\nx: 1\r\nx: 2\r\n\r\n", 400],
  ["GET / HTTP/1.1\r\nx : 1\r\n\r\n", 400],
  [`PUT / HTTP/1.1\r\ncontent-length: 5\r\n${CHUNKED}\r\n0\r\n\r\n`, 400],
  ["PUT / HTTP/1.1\r\ncontent-length: 5, 5\r\n\r\nhello", 400],
];

Deno.test("a proxy itself refuses a request that breaks a rule, and doesn't connect to the upstream", async (t) => {
  const rows = REQUESTS.map((row) => [JSON.stringify(row[0]), ...row] as const);
  await testEachRow(t, rows, async (_label, request, status) => {
    await using chain = await connectThrough();
    const { clientPeer, proxy, upstream } = chain;
    await clientPeer.send(`${request}GET /behind HTTP/1.1\r\n\r\n`);
    assertEquals((await clientPeer.readToEnd()).received, formatErrorResponse(status));
    // The proxy first connects to the upstream for the next client.
    using next = await RawPeer.connect(proxy.address);
    await next.send("GET /next HTTP/1.1\r\n\r\n");
    const upstreamPeer = await upstream.accept();
    assertEquals(await upstreamPeer.readPreamble(), "GET /next HTTP/1.1\r\n\r\n");
    await upstreamPeer.send(FINAL);
    assertEquals(await next.readPreamble(), FINAL);
  });
});

Deno.test("a proxy that forwards to itself responds with 502 once its slots are in use", async () => {
  const logger = new RecordingLogger();
  let calls = 0;
  let proxyApp: ProxyApp | undefined;
  await using server = await Server.start(["127.0.0.1", 0], (...args) => {
    calls++;
    return proxyApp!.handle(...args);
  }, { logger, maxConnections: 3 });
  await using ownProxyApp = proxyApp = new ProxyApp(new Client(server.address));
  using peer = await RawPeer.connect(server.address);
  await peer.send("POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n");
  assertEquals((await peer.readToEnd()).received, BAD_GATEWAY);
  assertEquals([calls, ownProxyApp], [3, proxyApp]);
  await logger.waitFor("info", "no slot became free");
});

const VIA = "via: 1.0 a, 1.1 b, 1.1 c";

Deno.test("a proxy adds no via, and passes a received via on unchanged, unless options.headers replaces it", async (t) => {
  await testEachRow(t, [["none", ""], ["one", `${VIA}\r\n`]], async (_label, line) => {
    await using chain = await connectThrough();
    await chain.clientPeer.send(`GET / HTTP/1.1\r\n${line}\r\n`);
    const upstreamPeer = await chain.upstream.accept();
    assertEquals(await upstreamPeer.readPreamble(), `GET / HTTP/1.1\r\n${line}\r\n`);
    await upstreamPeer.send(`HTTP/1.1 204 No Content\r\n${line}\r\n`);
    assertEquals(await chain.clientPeer.readPreamble(), `HTTP/1.1 204 No Content\r\n${line}\r\n`);
  });
  await t.step("headers", async () => {
    await using upstream = serve(({ headers }) => [200, "OK", {}, `${headers["via"]}`]);
    const client = upstream.makeClient({ host: null });
    const headers = () => ({ via: "1.1 proxy" });
    await using proxy = serve(new ProxyApp(client, { headers }));
    assertEquals(await (await proxy.makeClient().get("/")).text(), "1.1 proxy");
  });
});

Deno.test("a proxy sends HTTP/1.1 on both sides, and refuses HTTP/1.0", async () => {
  using upstream = new RawServer();
  await using proxy = serveProxy(upstream.address);
  using clientPeer = await RawPeer.connect(proxy.address);
  await clientPeer.send("GET / HTTP/1.1\r\n\r\n");
  const upstreamPeer = await upstream.accept();
  assert((await upstreamPeer.readPreamble()).startsWith("GET / HTTP/1.1\r\n"));
  await upstreamPeer.send(FINAL);
  assertEquals(await clientPeer.readPreamble(), FINAL);
  await clientPeer.send("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
  assertEquals((await clientPeer.readToEnd()).received, formatErrorResponse(505));
  const { received } = await exchange(proxy.address, "GET / HTTP/1.0\r\n\r\n");
  assertEquals(received, formatErrorResponse(505));
});
