/** PATCH and OPTIONS from a client to an app, through each app and bridge; and preflight requests. */
import {
  type App,
  type AppFunction,
  Client,
  ConnectionPool,
  createFetch,
  fromFetchHandler,
  ProxyApp,
  reply,
  routes,
} from "@degu/degu";
import { ChunkedBodyIter } from "@degu/degu/base";
import { callApp, mkreq } from "@degu/degu/misc";
import { exchange, RawPeer, RawServer } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { assert, assertEquals } from "@std/assert";

const encoder = new TextEncoder();

const echo: AppFunction = async (request) => {
  return reply(200, `${request.method} ${request.uri} ${await request.text()}`);
};

const echoFetch = async (request: Request) =>
  new Response(`${request.method} ${new URL(request.url).pathname} ${await request.text()}`);

const APPS: Record<string, App> = {
  "a function": echo,
  routes: routes({ "PATCH /a": echo, "OPTIONS /a": echo }),
  "a mount of routes": routes({ "/a/": (request) => echo(request, undefined!, undefined!) }),
  fromFetchHandler: fromFetchHandler(echoFetch),
};

for (const [name, app] of Object.entries(APPS)) {
  Deno.test(`PATCH with each body, and OPTIONS without one, reach ${name}, also through a proxy and by fetch`, async () => {
    const uri = name === "a mount of routes" ? "/a/" : "/a";
    await using serving = serve(app);
    await using proxy = serve(new ProxyApp(serving.makeClient()));
    for (const { makeClient } of [serving, proxy]) {
      const client = makeClient();
      await using pool = new ConnectionPool(client);
      using conn = await client.connect();
      const makeChunks = () =>
        new ChunkedBodyIter([[null, encoder.encode("data")], [null, encoder.encode("")]]);
      for (const requester of [client, pool, conn]) {
        assertEquals(await (await requester.patch(uri, {}, "data")).text(), `PATCH ${uri} data`);
        assertEquals(await (await requester.patch(uri)).text(), `PATCH ${uri} `);
        const chunked = await requester.request("PATCH", uri, {}, makeChunks());
        assertEquals(await chunked.text(), `PATCH ${uri} data`);
        assertEquals(await (await requester.request("OPTIONS", uri)).text(), `OPTIONS ${uri} `);
      }
      assertEquals(await (await conn.options(uri, { a: "b" })).text(), `OPTIONS ${uri} `);
      const fetch = createFetch(client);
      const patched = await fetch(uri, { method: "PATCH", body: "data" });
      assertEquals(await patched.text(), `PATCH ${uri} data`);
      const options = await fetch(uri, { method: "options" });
      assertEquals(await options.text(), `OPTIONS ${uri} `);
    }
    const called = await callApp(app, mkreq("PATCH", uri, { host: "a" }, "data"));
    assertEquals(await called.text(), `PATCH ${uri} data`);
    assertEquals(await (await callApp(app, mkreq("OPTIONS", uri))).text(), `OPTIONS ${uri} `);
  });
}

Deno.test("routes answers OPTIONS and PATCH of another method's path with 405, and doesn't invent an answer", async () => {
  const app = routes({ "GET /a": echo, "PATCH /b": echo });
  for (
    const [method, uri, status] of [
      ["OPTIONS", "/a", 405],
      ["PATCH", "/a", 405],
      ["OPTIONS", "/b", 405],
      ["OPTIONS", "/c", 404],
    ] as const
  ) {
    assertEquals((await callApp(app, mkreq(method, uri))).status, status, `${method} ${uri}`);
  }
});

Deno.test("an OPTIONS with a body that isn't empty gets 400, and an empty body counts as none", async () => {
  await using serving = serve(({ body }) => reply(200, `${body}`));
  const rows = [
    ["content-length: 0\r\n\r\n", true],
    ["transfer-encoding: chunked\r\n\r\n0\r\n\r\n", true],
    ["content-length: 1\r\n\r\nx", false],
    ["transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", false],
  ] as const;
  for (const [text, isAccepted] of rows) {
    const { received } = await exchange(serving.address, `OPTIONS / HTTP/1.1\r\n${text}`);
    assertEquals(received.endsWith("null"), isAccepted, text);
    assert(received.startsWith(`HTTP/1.1 ${isAccepted ? 200 : 400} `), received);
  }
});

// ───────────────────────── max-forwards

Deno.test("a proxy counts max-forwards of OPTIONS down, and answers at 0 itself; other methods pass it on", async (t) => {
  const rows: [method: "OPTIONS" | "GET", sent: string, forwarded: string | null][] = [
    ["OPTIONS", "0", null],
    ["OPTIONS", "000", null],
    ["OPTIONS", "1", "0"],
    ["OPTIONS", "10", "9"],
    ["OPTIONS", "99999999999999999999", "2147483647"],
    // These are no numbers, so they are no limit.
    ["OPTIONS", "-1", "-1"],
    ["OPTIONS", "0, 1", "0, 1"],
    ["OPTIONS", "0x0", "0x0"],
    ["GET", "0", "0"],
  ];
  await testEachRow(
    t,
    rows.map((row) => [row.join(" "), ...row] as const),
    async (_label, ...row) => {
      const [method, sent, forwarded] = row;
      using upstream = new RawServer();
      await using proxy = serve(new ProxyApp(new Client(upstream.address, { host: null })));
      using peer = await RawPeer.connect(proxy.address);
      await peer.send(`${method} / HTTP/1.1\r\nmax-forwards: ${sent}\r\n\r\n`);
      if (forwarded === null) {
        const allow = "GET, HEAD, DELETE, PUT, POST, PATCH, OPTIONS";
        const response = `HTTP/1.1 200 OK\r\nallow: ${allow}\r\ncontent-length: 0\r\n\r\n`;
        return assertEquals(await peer.readPreamble(), response);
      }
      using upstreamPeer = await upstream.accept();
      const request = `${method} / HTTP/1.1\r\nmax-forwards: ${forwarded}\r\n\r\n`;
      assertEquals(await upstreamPeer.readPreamble(), request);
      await upstreamPeer.send("HTTP/1.1 204 No Content\r\n\r\n");
      assertEquals(await peer.readPreamble(), "HTTP/1.1 204 No Content\r\n\r\n");
    },
  );
});

// ───────────────────────── CORS

Deno.test("no app of this package allows a web page of another origin to send PUT, PATCH or DELETE", async (t) => {
  await using upstream = serve(routes({ "PUT /a": echo }));
  await using proxyApp = new ProxyApp(upstream.makeClient());
  const apps: Record<string, App> = {
    routes: routes({ "PUT /a": echo, "PATCH /a": echo, "DELETE /a": echo }),
    "a mount of routes": routes({ "/a/": routes({ "PUT /": echo }) }),
    fromFetchHandler: fromFetchHandler(() => new Response(null, { status: 404 })),
    ProxyApp: proxyApp,
  };
  await testEachRow(t, Object.entries(apps), async (_name, app) => {
    await using serving = serve(app);
    for (const method of ["PUT", "PATCH", "DELETE"]) {
      for (const forwards of ["", "max-forwards: 0\r\n"]) {
        const preflight = "OPTIONS /a HTTP/1.1\r\norigin: http://evil.example\r\n" +
          `access-control-request-method: ${method}\r\n` +
          `access-control-request-headers: content-type\r\n${forwards}\r\n`;
        const { received } = await exchange(serving.address, preflight);
        assert(received.startsWith("HTTP/1.1 "), received);
        assertEquals(received.includes("access-control-"), false, received);
      }
    }
  });
});
