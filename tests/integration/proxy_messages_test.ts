/**
 * The messages that a proxy forwards or refuses, over sockets on both sides (RFC 9110 §7.6, RFC
 * 9112).
 */
import { ProxyApp } from "@degu/degu";
import { Client } from "@degu/degu/client";
import { Server } from "@degu/degu/server";
import { connectThrough, removeHopByHop, serveProxy } from "@degu/testing/proxies.ts";
import { RawPeer, RawServer } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { RecordingLogger, serve } from "@degu/testing/serving.ts";
import { assertEquals } from "@std/assert";
import { someResponseRows } from "../base/wire/responses.rows.ts";
import { readOneResponse } from "../fuzz/oracle.ts";

const formatBadGateway = (method: string) =>
  `HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\n${
    method === "HEAD" ? "" : "content-length: 0\r\n"
  }\r\n`;

Deno.test("a proxy passes on each valid response, and replaces a response that breaks a rule by 502", async (t) => {
  using upstream = new RawServer();
  await using proxy = serveProxy(upstream.address);
  for (const { name, method, bytes, codes } of someResponseRows) {
    await t.step(name, async () => {
      // A new proxy has no connection to the upstream.
      await using ownProxy = codes.length === 0 ? serveProxy(upstream.address) : null;
      using clientPeer = await RawPeer.connect((ownProxy ?? proxy).address);
      await clientPeer.send(`${method} / HTTP/1.1\r\nconnection: close\r\n\r\n`);
      const upstreamPeer = await upstream.respond(bytes);
      const sent = readOneResponse(method, bytes);
      const endsWithConnection = sent?.endsWithConnection === true;
      if (endsWithConnection || codes.includes("BODY_INCOMPLETE")) await upstreamPeer.closeWrite();
      const { received } = await clientPeer.readToEnd();
      const badGateway = formatBadGateway(method);
      if (sent === null) assertEquals(received, badGateway);
      else if (received !== badGateway || sent.body !== undefined) {
        const { status, reason, headers, body } = sent;
        const relayed = readOneResponse(method, received)!;
        // A body that ends with the connection is relayed in chunks.
        const framing = endsWithConnection ? { "transfer-encoding": "chunked" } : {};
        assertEquals([relayed.status, relayed.reason, relayed.excess], [status, reason, 0]);
        assertEquals(removeHopByHop(relayed.headers), { ...removeHopByHop(headers), ...framing });
        const relayedBody = endsWithConnection
          ? (relayed.body as [unknown, string][]).map(([, data]) => data).join("")
          : relayed.body;
        assertEquals(relayedBody, body);
      }
      if (codes.length > 0) await upstreamPeer.assertClosedSilently();
    });
  }
  assertEquals(proxy.logger.messagesOf("error"), []);
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
  assertEquals((await peer.readToEnd()).received, formatBadGateway("POST"));
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
