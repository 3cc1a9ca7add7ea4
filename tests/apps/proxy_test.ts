/** ProxyApp: what it relays, unchanged except for headers of a single connection. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type App, ProxyApp } from "@degu/degu";
import { type Address, type Chunk, ChunkedBodyIter, Range } from "@degu/degu/base";
import { Client, type ClientOptions } from "@degu/degu/client";
import { formatChunk, formatRequest, formatResponse, TempPKI } from "@degu/degu/misc";
import * as arbitrary from "@degu/testing/arbitraries.ts";
import { countLines } from "@degu/testing/chunk_lines.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { assertTypeError, constructWith } from "@degu/testing/expectations.ts";
import { connectThrough, echo, endToEnd, REQUESTS, serveProxy } from "@degu/testing/proxies.ts";
import type { RawPeer } from "@degu/testing/raw_peer.ts";
import { serve, type Serving } from "@degu/testing/serving.ts";
import { concat } from "@degu/testing/streams.ts";
import { startTls } from "@degu/testing/tls_endpoints.ts";
import { fromLatin1, latin1 } from "@degu/testing/wire_grammar.ts";

// ───────────────────────── nothing is changed

Deno.test("ProxyApp relays each request byte by byte", async (t) => {
  for (const request of REQUESTS) {
    await t.step(JSON.stringify(request), async () => {
      await using through = await connectThrough();
      await through.near.send(request);
      const far = await through.upstream.accept();
      assertEquals(await far.readExactly(request.length), request);
      await far.send("HTTP/1.1 200 OK\r\n\r\n");
      assertEquals(await through.near.readPreamble(), "HTTP/1.1 200 OK\r\n\r\n");
      assertEquals(far.text, "");
    });
  }
});

const RESPONSES: readonly [request: string, response: string][] = [
  ["GET", "HTTP/1.1 200 OK\r\n\r\n"],
  ["GET", "HTTP/1.1 299 Any reason  at all\r\na: b\r\nserver: it\r\n\r\n"],
  ["GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"],
  ["GET", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nset-cookie: a=b\r\n\r\nhello"],
  [
    "GET",
    "HTTP/1.1 206 Partial Content\r\ncontent-length: 3\r\ncontent-range: bytes 2-4/10\r\n\r\nabc",
  ],
  [
    "GET",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" +
    "1;a=b\r\nx\r\nff\r\n" + "y".repeat(255) + "\r\n0;c=d\r\n\r\n",
  ],
  ["GET", "HTTP/1.1 204 No Content\r\n\r\n"],
  ["GET", 'HTTP/1.1 304 Not Modified\r\ncontent-length: 500\r\netag: "a-b"\r\n\r\n'],
  ["HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n"],
  ["HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"],
  ["HEAD", "HTTP/1.1 204 No Content\r\n\r\n"],
  ["HEAD", "HTTP/1.1 304 Not Modified\r\ncontent-length: 500\r\n\r\n"],
  ["DELETE", "HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnone"],
  ["GET", "HTTP/1.1 503 Service Unavailable\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"],
];

Deno.test("ProxyApp relays each response byte by byte", async (t) => {
  for (const [method, response] of RESPONSES) {
    await t.step(`${method}: ${JSON.stringify(response).slice(0, 70)}`, async () => {
      await using through = await connectThrough();
      await through.near.send(`${method} / HTTP/1.1\r\n\r\n`);
      const far = await through.upstream.accept();
      await far.readPreamble();
      await far.send(response);
      assertEquals(await through.near.readExactly(response.length), response);
      assertEquals(through.near.text, "");
    });
  }
});

/** A body on the wire: none, of known length or in chunks, with the header that it sets. */
const wireBody = fc.oneof(
  fc.constant({ headers: {}, bytes: new Uint8Array(0) }),
  fc.uint8Array({ maxLength: 300 }).map((bytes) => ({
    headers: { "content-length": bytes.length },
    bytes,
  })),
  arbitrary.chunks.map((chunks) => ({
    headers: { "transfer-encoding": "chunked" },
    bytes: concat(chunks.map(formatChunk)),
  })),
);
const framingNames = ["content-length", "transfer-encoding", "range", "content-range"];

Deno.test("ProxyApp changes no byte of any exchange", async () => {
  await using through = await connectThrough();
  let far: RawPeer | null = null;
  await fc.assert(
    fc.asyncProperty(
      arbitrary.uri,
      arbitrary.requestHeaders,
      wireBody,
      fc.integer({ min: 200, max: 399 }).filter((status) => status !== 204 && status !== 304),
      arbitrary.reason,
      arbitrary.responseHeaders,
      wireBody,
      async (uri, requestHeaders, upload, status, reason, responseHeaders, download) => {
        const plain = (headers: typeof requestHeaders) =>
          Object.fromEntries(
            Object.entries(endToEnd(headers)).filter(([name]) => !framingNames.includes(name)),
          ) as typeof requestHeaders;
        const request = fromLatin1(concat([
          formatRequest("PUT", uri, { ...plain(requestHeaders), ...upload.headers }),
          upload.bytes,
        ]));
        const response = fromLatin1(concat([
          formatResponse(status, reason, { ...plain(responseHeaders), ...download.headers }),
          download.bytes,
        ]));
        await through.near.send(request);
        far ??= await through.upstream.accept();
        assertEquals(await far.readExactly(request.length), request);
        await far.send(response);
        assertEquals(await through.near.readExactly(response.length), response);
        assertEquals([far.text, through.near.text], ["", ""]);
      },
    ),
    { numRuns: 200 },
  );
});

Deno.test("ProxyApp removes the path components that were shifted to mount", async () => {
  await using upstream = serve(({ uri }) => [200, "OK", { uri }, null]);
  const app = new ProxyApp(upstream.makeClient());
  await using proxy = serve((request, session) => {
    request.shiftPath();
    return app.handle(request, session);
  });
  const client = proxy.makeClient();
  const cases = { "/": "/", "/foo": "/", "/foo/": "/", "/foo/bar/?a=b": "/bar/?a=b" };
  for (const [asked, relayed] of Object.entries(cases)) {
    assertEquals((await client.request("GET", asked)).headers["uri"], relayed, asked);
  }
});

Deno.test("the client's base headers replace those of the request", async () => {
  await using upstream = serve(({ headers }) => [200, "OK", {
    host: `${headers["host"]}`,
    authorization: `${headers["authorization"]}`,
  }, null]);
  const cases: [ClientOptions, host: string, authorization: string][] = [
    [{ host: null }, "its.host", "its authorization"],
    [{ host: "my.host" }, "my.host", "its authorization"],
    [{ host: null, authorization: "mine" }, "its.host", "mine"],
  ];
  for (const [options, host, authorization] of cases) {
    await using proxy = serveProxy(upstream.address, options);
    const response = await proxy.makeClient({ host: "its.host" }).request("GET", "/", {
      authorization: "its authorization",
    });
    assertEquals({ ...response.headers }, { host, authorization });
  }
});

Deno.test("a range is forwarded as a Range, and its response as a ContentRange", async () => {
  await using upstream = serve(({ headers: { range } }) => {
    assert(range instanceof Range);
    return [206, "Partial Content", { "content-range": range.contentRange(10) }, latin1("cde")];
  });
  await using proxy = serveProxy(upstream.address);
  using conn = await proxy.makeClient().connect();
  const response = await conn.getRange("/", {}, 2, 5);
  assertEquals(String(response.headers["content-range"]), "bytes 2-4/10");
  assertEquals(await response.body?.text(), "cde");
});

Deno.test("five proxies in a row preserve every chunk, its extension, and every byte", async () => {
  const servings: Serving[] = [serve(echo)];
  try {
    for (let i = 0; i < 5; i++) servings.push(serveProxy(servings.at(-1)!.address));
    using conn = await servings.at(-1)!.makeClient().connect();
    await fc.assert(
      fc.asyncProperty(arbitrary.chunks, async (chunks) => {
        const { body } = await conn.put("/", {}, new ChunkedBodyIter(chunks));
        assert(body?.chunked);
        assertEquals(await Array.fromAsync(body), chunks);
      }),
      { numRuns: 30 },
    );
    const large = [1, 65535, 65536, 65537, 3_000_000].map((size, i): Chunk => [
      i % 2 === 0 ? ["size", `${size}`] : null,
      Uint8Array.from({ length: size }, (_, at) => at * 7 + i),
    ]);
    const sent: Chunk[] = [...large, [null, new Uint8Array(0)]];
    const { body } = await conn.put("/", {}, new ChunkedBodyIter(sent));
    assert(body?.chunked);
    const received = await Array.fromAsync(body);
    assertEquals(received.map(([extension]) => extension), sent.map(([extension]) => extension));
    for (const [i, [, data]] of received.entries()) {
      assertEquals(data.length, sent[i]![1].length);
      assert(data.every((byte, at) => byte === sent[i]![1][at]));
    }
  } finally {
    for (const serving of servings.reverse()) await serving[Symbol.asyncDispose]();
  }
});

/** A server of one kind of address, and a client of it. */
interface Endpoint extends AsyncDisposable {
  readonly client: Client;
}

Deno.test("ProxyApp connects every kind of address with every other", async (t) => {
  await using dir = await tempDir();
  await using pki = await TempPKI.create();
  const plain = (app: App, address: Address): Endpoint => {
    const serving = serve(app, {}, address);
    return { client: serving.makeClient(), [Symbol.asyncDispose]: serving[Symbol.asyncDispose] };
  };
  const trust = {
    serverSslconfig: pki.serverSslconfig,
    clientSslconfig: { ...pki.clientSslconfig, checkHostname: false },
  };
  const makePath = () => `${dir.path}/${crypto.randomUUID()}`;
  const kinds: Record<string, (app: App) => Endpoint | Promise<Endpoint>> = {
    "TCP": (app) => plain(app, ["127.0.0.1", 0]),
    "Unix": (app) => plain(app, makePath()),
    "abstract": (app) => plain(app, latin1(`\0degu-${crypto.randomUUID()}`)),
    "TLS": (app) => startTls(trust, app),
    "TLS over Unix": (app) => startTls(trust, app, {}, makePath()),
  };
  for (const [near, startNear] of Object.entries(kinds)) {
    for (const [far, startFar] of Object.entries(kinds)) {
      await t.step(`${near} → ${far}`, async () => {
        await using upstream = await startFar(echo);
        await using proxy = await startNear(new ProxyApp(upstream.client));
        using conn = await proxy.client.connect();
        for (const text of ["hello", "world"]) {
          const { body } = await conn.post("/", {}, latin1(text));
          assertEquals(await body?.text(), text);
        }
        const content = new Uint8Array(1_000_000).fill(7);
        const { body } = await conn.put("/", {}, content);
        assertEquals((await body?.bytes())?.length, content.length);
      });
    }
  }
});

// ───────────────────────── arguments

Deno.test("ProxyApp refuses arguments of a wrong type", () => {
  const client = new Client(["127.0.0.1", 1]);
  for (const wrong of [undefined, null, 5, ["127.0.0.1", 1], {}, { connect: 5 }]) {
    assertTypeError(() => constructWith(ProxyApp, wrong), Deno.inspect(wrong));
  }
  for (const wrong of [null, 5, {}]) {
    assertTypeError(() => constructWith(ProxyApp, client, wrong), Deno.inspect(wrong));
  }
  for (const wrong of [{ log: console }, { logger: null }, { logger: {} }]) {
    assertTypeError(() => constructWith(ProxyApp, client, "conn", wrong), Deno.inspect(wrong));
  }
});

Deno.test("ProxyApp scans each chunk once, in requests and in responses", async () => {
  const chunks = "3;key=value\r\nabc\r\n".repeat(50) + "0\r\n\r\n";
  const lines = 51;
  const request = `POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n${chunks}`;
  const response = `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${chunks}`;
  await using through = await connectThrough();
  const uploading = await countLines(async () => {
    await through.near.send(request);
    const far = await through.upstream.accept();
    assertEquals(await far.readExactly(request.length), request);
    assertEquals(
      await countLines(async () => {
        await far.send(response);
        assertEquals(await through.near.readExactly(response.length), response);
      }),
      lines,
    );
  });
  assertEquals(uploading, 2 * lines);
});
