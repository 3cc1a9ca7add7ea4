/**
 * The messages that a proxy forwards or refuses, over sockets on both sides (RFC 9110 §7.6, RFC
 * 9112), and values of headers from end to end.
 */
import { createFetch, fromFetchHandler, ProxyApp } from "@degu/degu";
import { Client } from "@degu/degu/client";
import { type App, Server } from "@degu/degu/server";
import { connectThrough, removeHopByHop, serveProxy } from "@degu/testing/proxies.ts";
import { RawPeer, RawServer } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { RecordingLogger, serve } from "@degu/testing/serving.ts";
import { assertEquals } from "@std/assert";
import { someResponseRows } from "../base/wire/responses.rows.ts";
import { readOneResponse } from "../fuzz/oracle.ts";
import type { HeadersToSend } from "@degu/degu/base";
import { callApp, mkreq } from "@degu/degu/misc";
import { flatten } from "@degu/testing/expectations.ts";

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

// Values of headers, unchanged from end to end, and values that one of two readers would trim.

const fromCodes = (start: number, end: number) =>
  String.fromCharCode(...Array.from({ length: end - start }, (_, i) => start + i));

/** A header for each byte from 0x20 to 0x7E, some with many bytes, and odd names. */
const EVERY_BYTE: Record<string, string> = {
  ...Object.fromEntries(
    Array.from({ length: 0x7f - 0x20 }, (_, i) => [`x-${i}`, `a${String.fromCharCode(0x20 + i)}b`]),
  ),
  "x-all": `${fromCodes(0x21, 0x7f)} .`,
  "x-above-127": fromCodes(0x80, 0x100),
  "x-tab": "a\tb \t c",
  // Only spaces and tabs are removed from the ends of a value.
  "x-ends": "\x85\xa0 a \xa0\x85",
  "x-empty": "",
  ["x".repeat(256)]: "v",
  cookie: 'theme={"dark":true}; list=[1|2]; mail=a@b; back=`\\`',
};

/** Returns the headers of {@linkcode EVERY_BYTE} among others. */
const pick = (headers: HeadersToSend) =>
  Object.fromEntries(Object.keys(EVERY_BYTE).map((name) => [name, headers[name]]));

const echo: App = ({ headers }) => [200, "OK", pick(headers), null];
const echoFetch: App = fromFetchHandler(({ headers }) =>
  new Response(null, { headers: Object.keys(EVERY_BYTE).map((name) => [name, headers.get(name)!]) })
);

Deno.test("every byte of a value from 0x20 on but 0x7F, and a tab, reaches the other end unchanged, in both directions", async (t) => {
  for (const [name, app] of [["app", echo], ["fetch handler", echoFetch]] as const) {
    await using serving = serve(app);
    await using proxy = serve(new ProxyApp(serving.makeClient()));
    const routes = [["direct", serving], ["proxy", proxy]] as const;
    await testEachRow(
      t,
      routes.map(([route, ends]) => [`${name}, ${route}`, ends] as const),
      async (
        _label,
        ends,
      ) => {
        // The second message finds the names and their order in the caches.
        for (let i = 0; i < 2; i++) {
          const response = await ends.makeClient().request("GET", "/", EVERY_BYTE);
          assertEquals(pick(response.headers), EVERY_BYTE);
          const fetched = await createFetch(ends.makeClient())("/", { headers: EVERY_BYTE });
          assertEquals(pick(Object.fromEntries(fetched.headers)), EVERY_BYTE);
        }
        const lines = Object.entries(EVERY_BYTE).map((line) => `${line.join(": ")}\r\n`).join("");
        using peer = await RawPeer.connect(ends.address);
        await peer.send(...`GET / HTTP/1.1\r\nhost: a\r\n${lines}\r\n`.match(/[^]{1,7}/g)!);
        const received = await peer.readPreamble();
        const sorted = Object.entries(EVERY_BYTE).map((line) => line.join(": ")).toSorted();
        const receivedLines = received.split("\r\n").filter((line) => sorted.includes(line));
        assertEquals(receivedLines.toSorted(), sorted);
      },
    );
    const response = await callApp(app, mkreq("GET", "/", EVERY_BYTE));
    assertEquals(flatten(pick(response.headers)), EVERY_BYTE);
  }
});
